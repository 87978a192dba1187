/* SPDX-License-Identifier: BSD-2-Clause */
/* One process of a litmus run: what its parts share. */
#ifndef DIPC_TESTS_LITMUS_LITMUS_H
#define DIPC_TESTS_LITMUS_LITMUS_H

#include "tests/litmus/notebook.h"

#define PAGE_BYTES    4096u
#define LITMUS_BROKEN 3 /* exit status: something forbidden was seen */

struct run {
	struct notebook *nb;
	unsigned me; /* 0 to nr - 1; one a node */
	unsigned nr;
	unsigned limit; /* seconds that a wait may take */
	uint64_t random;
	uint8_t *base; /* the segment */
	/* litmus tests so far, and those seen to end in several ways */
	unsigned nr_run, nr_met;
};

/*
 * The compiler keeps the order of a program's accesses, the processor is free
 * to do what it likes: no fence.
 */
static inline void as_written(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

static inline uint32_t load(_Atomic uint32_t *at)
{
	uint32_t value = atomic_load_explicit(at, memory_order_relaxed);

	as_written();
	return value;
}

static inline void store(_Atomic uint32_t *at, uint32_t value)
{
	atomic_store_explicit(at, value, memory_order_relaxed);
	as_written();
}

/* Mutual exclusion in plain memory. All of them; true: nobody broke in. */
bool exclusion_run(struct run *run, const char *name, bool is_apart,
		   uint32_t nr_rounds);

#endif
