/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Address spaces of local processes, as their userfaultfds show them: which
 * segments each has mapped where, its faults, and what becomes of it by fork,
 * munmap, mremap, exec and exit.
 *
 * A space appears with the descriptor that a client sends (dipc_space_create)
 * or with a fork event, and ends when an ioctl says that the address space is
 * gone (ESRCH): neither a closed socket nor a dead pid tells as much, since a
 * vforked or cloned child may go on in it.
 *
 * Loop thread only; nothing here parks.
 */
#ifndef DIPC_NODE_SPACE_H
#define DIPC_NODE_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/loop.h"
#include "runtime/node/keeper.h"

struct dipc_segment;
struct dipc_space;
struct dipc_spaces;

struct dipc_spaces_events {
	/*
	 * FD of this kind (a memfd's id is the segment's, a userfaultfd's its
	 * own) is about to be used (keep), or will be closed (unkeep).
	 */
	void (*keep)(void *arg, enum dipc_keep_kind kind, uint32_t id, int fd);
	void (*unkeep)(void *arg, enum dipc_keep_kind kind, uint32_t id);
	/*
	 * Mappings of SEG came (+1: a fork copied one, or one was cut in two)
	 * or went (-1: munmap, mremap, exec, exit). Not told for
	 * dipc_space_map(). PID is the process that did it; 0: not known. SEG's
	 * reference of the attachment is put after this.
	 */
	void (*attached)(void *arg, struct dipc_segment *seg, uint32_t pid,
			 int delta);
	/* SPACE ends now: forget the pointer. Its attachments are gone. */
	void (*gone)(void *arg, struct dipc_space *space);
};

/* EVENTS is borrowed. 0 or -ENOMEM. */
int dipc_spaces_create(struct dipc_loop *loop,
		       const struct dipc_spaces_events *events, void *arg,
		       struct dipc_spaces **spaces_out);
/*
 * End all spaces, told as usual. What is mapped must have been killed before
 * (dipc_pages_stop), or its processes read zeros.
 */
void dipc_spaces_stop(struct dipc_spaces *spaces);
/* Stops what is left. Pagers may outlive it. Takes NULL. */
void dipc_spaces_destroy(struct dipc_spaces *spaces);

/* A thread that waits for a fault of its own to be served: see below. */
struct dipc_space_wait {
	struct dipc_list node; /* private, as what follows */
	uint64_t addr;
	void (*done)(struct dipc_space_wait *wait, int status);
};

/*
 * UFFD, just made by process PID and sent here, becomes ours (closed on
 * failure too). NAME_PAGE: a page there, present, that the child of a fork
 * writes so that we learn its pid; 0: none. 0; -EINVAL: not a userfaultfd
 * without UFFDIO_API, or no such page; -EPERM: this kernel does not let us
 * follow forks (CAP_SYS_PTRACE); -errno.
 */
int dipc_space_create(struct dipc_spaces *spaces, int uffd, uint32_t pid,
		      uint64_t name_page, struct dipc_space **space_out);
/*
 * The same for a process that posts its faults itself (docs/design/faults.md).
 * TAG_PAGE: an absent page, where children of forks find their tags.
 */
int dipc_space_create_signal(struct dipc_spaces *spaces, int uffd, uint32_t pid,
			     uint64_t tag_page, struct dipc_space **space_out);
/* The child that was given TAG is process PID. 0 or -ESRCH. */
int dipc_spaces_name(struct dipc_spaces *spaces, uint64_t tag, uint32_t pid,
		     struct dipc_space **space_out);
/*
 * A thread of process PID met ADDR absent, or protected (IS_WRITE), and waits.
 * WAIT->done is set; done() is called once, perhaps before this returns, with
 * 0 (try again) or -EFAULT (lost), if 0 is returned. -ESRCH: no segment is
 * there. SPACE: where to look first, or NULL.
 */
int dipc_spaces_fault(struct dipc_spaces *spaces, struct dipc_space *space,
		      uint32_t pid, uint64_t addr, bool is_write,
		      struct dipc_space_wait *wait);
/*
 * Segment ID, if process PID has it attached; NULL. A space whose pid is not
 * known (0) counts for everybody.
 */
struct dipc_segment *dipc_spaces_find(struct dipc_spaces *spaces, uint32_t pid,
				      int32_t id);
/* Has process PID segment ID attached so that it may write? */
bool dipc_spaces_may_write(struct dipc_spaces *spaces, uint32_t pid,
			   int32_t id);
uint32_t dipc_space_pid(const struct dipc_space *space);

/*
 * The client mapped SEG's descriptor, all LEN bytes (rounded up to pages) of
 * it, at ADDR, PROT_NONE. Registers the range and protects what is populated:
 * from now on faults there are served. Takes a reference of SEG for as long as
 * the attachment lasts. 0, -EINVAL (bad range, or nothing of ours is mapped
 * there), -ENOMEM, -ESRCH (the space is gone).
 */
int dipc_space_map(struct dipc_space *space, struct dipc_segment *seg,
		   uint64_t addr, uint64_t len, bool is_readonly);

/*
 * Find spaces that are gone, tell events->attached and gone for them. Once a
 * second, and when a process ended.
 */
void dipc_spaces_sweep(struct dipc_spaces *spaces);

/* The same for SPACE alone. */
void dipc_space_check(struct dipc_space *space);
/*
 * The same, now, and only for those with a mapping of segment ID (< 0: any):
 * what has ended is counted before this returns.
 */
void dipc_spaces_settle(struct dipc_spaces *spaces, int32_t id);

struct dipc_spaces_counters {
	uint64_t nr_events;  /* other than faults */
	uint64_t nr_retries; /* ioctls that met a waiting event */
	uint64_t nr_strays;  /* pages found where none was installed */
	unsigned nr_spaces;
};
const struct dipc_spaces_counters *
dipc_spaces_counters(const struct dipc_spaces *spaces);

#endif
