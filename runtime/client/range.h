/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where this process has segments of dipcd's mapped. Asked before the kernel
 * or libc is let at a piece of memory, so what is in no attachment costs two
 * loads.
 *
 * A range may outlive its mapping (the program called the kernel past us);
 * one that is missing may not be: who asks believes that memory is plain.
 * A forked child has what its parent had.
 */
#ifndef DIPC_CLIENT_RANGE_H
#define DIPC_CLIENT_RANGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A piece of an attachment: contiguous, whole pages. */
struct dipc_range {
	char *start;
	size_t len;
	uint64_t offset;       /* in the segment: of start, or of the address
				  that was asked for */
	uint64_t segment_size; /* as shmget was told */
	uint64_t dev, ino;     /* of what is mapped, as in struct stat */
	int32_t id;
	uint32_t attach; /* which shmat of this process */
	bool is_readonly;
};

/* ---- asking: any thread, any signal handler, no lock ---------------------- */

/* Has this process an attachment? */
bool dipc_range_any(void);
/* All ranges lie in [low, high); with none, high is 0. */
extern _Atomic uintptr_t dipc_range_low, dipc_range_high;
/* Can ADDR be in one? For callers that others call all the time. */
static inline bool dipc_range_may_hold(const void *addr)
{
	return (uintptr_t)addr < atomic_load_explicit(&dipc_range_high,
						      memory_order_relaxed) &&
	       (uintptr_t)addr >= atomic_load_explicit(&dipc_range_low,
						       memory_order_relaxed);
}
/* Is a byte of [ADDR, ADDR + LEN) in one? */
bool dipc_range_overlaps(const void *addr, size_t len);
/* The range that ADDR is in; offset is ADDR's own. 0 or -ENOENT. */
int dipc_range_find(const void *addr, struct dipc_range *range_out);
/* The first range that ends above ADDR; offset is its start's. 0, -ENOENT. */
int dipc_range_next(const void *addr, struct dipc_range *range_out);

/* ---- changing: with the connection's lock --------------------------------- */

/* RANGE is mapped from now on, and whatever was there is not. 0, -ENOMEM. */
int dipc_range_add(const struct dipc_range *range);
/*
 * Make room for NR more ranges: so many of the calls below, or dipc_range_add,
 * then cannot fail. 0 or -ENOMEM.
 */
int dipc_range_reserve(unsigned nr);
/* [START, START + LEN) is ours no more. Needs room for one. */
void dipc_range_remove(const void *start, size_t len);
/*
 * mremap moved LEN bytes at FROM to TO; whatever was at TO is not. Needs room
 * for two, and one more for each range in [FROM, FROM + LEN).
 */
void dipc_range_move(const void *from, size_t len, const void *to);
/* Ranges that [START, START + LEN) touches. */
unsigned dipc_range_count(const void *start, size_t len);

#endif
