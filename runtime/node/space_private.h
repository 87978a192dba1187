/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shared by space*.c and pager_uffd.c only.
 *
 * Lists under iteration. An ioctl that meets a waiting event reads it and goes
 * on; so a list of mappings may change while it is being walked. Entries are
 * therefore only ever added at the tail, and only marked as gone: reap(), a
 * timer's callback and so never inside a walk, takes them off.
 */
#ifndef DIPC_NODE_SPACE_PRIVATE_H
#define DIPC_NODE_SPACE_PRIVATE_H

#include <linux/userfaultfd.h>

#include "runtime/node/space.h"
#include "runtime/protocol/pages.h"

#define BLOCK_PAGES 512u /* 2 MiB: one page of page table entries */

/* A space whose userfaultfd is read in every round of the loop. */
struct hot {
	struct dipc_space *space; /* borrowed; NULL: free */
	unsigned nr_empty;        /* reads since the last event */
};

#define HOT_MAX 4u

struct dipc_spaces {
	struct dipc_loop *loop; /* borrowed */
	const struct dipc_spaces_events *events;
	void *arg;
	struct dipc_list spaces;
	bool must_reap; /* `reap` is armed */
	struct dipc_timer reap;
	struct dipc_poller hot_poller;
	struct hot hot[HOT_MAX];
	struct dipc_spaces_counters counters;
	uint32_t last_id;
	unsigned nr_refs; /* the creator, and every pager */
};

struct dipc_space {
	struct dipc_list node; /* spaces->spaces */
	struct dipc_spaces *spaces;
	struct dipc_watch watch; /* the userfaultfd; owned */
	struct dipc_list maps;   /* struct map, by in_space */
	uint32_t id;             /* what protocols call WHO */
	uint32_t pid;            /* 0: a child that has not said yet */
	struct dipc_watch end;   /* pidfd of a child of a fork; fd -1: none */
	uint64_t name_page;      /* 0: none */
	bool is_named;           /* the name page can be written */
	bool is_signal;          /* its threads post their faults themselves */
	uint64_t tag;            /* of an is_signal child without a pid */
	struct dipc_list waits;  /* struct dipc_space_wait: those threads */
	bool can_poison;
	bool is_dead; /* an ioctl said ESRCH */
	bool has_complained;
};

/* One shmat; lives as long as a piece of it. */
struct attach {
	struct dipc_segment *seg; /* a reference */
	struct attach *copy;      /* during a fork: the child's */
	unsigned nr_maps;
	bool is_readonly;
	bool is_silent; /* its end is not told */
};

/* A piece of an attachment: contiguous, page aligned. */
struct map {
	struct dipc_list in_space;
	struct dipc_list in_pager;
	struct dipc_space *space;
	struct uffd_pager *pager;
	struct attach *attach;
	uint64_t addr;
	uint64_t first; /* page of the segment at addr */
	uint64_t nr;    /* pages */
	bool is_gone;
};

struct uffd_pager {
	struct dipc_pager base;
	struct dipc_segment *seg; /* borrowed, outlives us */
	struct dipc_spaces *spaces;
	struct dipc_list maps; /* struct map, by in_pager */
	uint64_t *populated;   /* owned; a bit a block */
	uint64_t nr_pages;
	uint32_t id;
	int memfd;
	int rofd;
	bool is_dead;
};

/* space.c */
void dipc_space_event(struct dipc_space *space, const struct uffd_msg *msg);
void dipc_space_set_dead(struct dipc_space *space);
void dipc_map_set_gone(struct map *map);
void dipc_spaces_put(struct dipc_spaces *spaces);

/* Owns UFFD from here on, which is ready for events. 0 or -errno. */
int dipc_space_new(struct dipc_spaces *spaces, int uffd, uint32_t pid,
		   bool can_poison, struct dipc_space **space_out);
/* Tell that SPACE has one mapping of ATTACH more, or less. As Linux counts:
   pieces and copies are mappings too. */
void dipc_map_count(struct dipc_space *space, const struct attach *attach,
		    int delta);

/* Read what waits and see to it: how many events. Not inside a walk over the
   lists; SPACE may be gone after it. */
unsigned dipc_space_serve(struct dipc_space *space);

/* space_signal.c */
/* The child of PARENT's fork: a tag for it, where it finds it. */
void dipc_space_tag(struct dipc_space *child);
/* Threads of SPACE that wait for [ADDR, ADDR + LEN) need not any more. */
void dipc_space_end_waits(struct dipc_space *space, uint64_t addr, uint64_t len,
			  int status);

/* space_hot.c */
void dipc_spaces_hot_init(struct dipc_spaces *spaces);
void dipc_spaces_hot_fini(struct dipc_spaces *spaces);
/* It faulted: expect more of that. */
void dipc_space_set_hot(struct dipc_space *space);
void dipc_space_forget_hot(struct dipc_space *space);

/* space_fork.c */
/* UFFD is that of a child that PARENT forked just now. */
void dipc_space_on_fork(struct dipc_space *parent, int uffd);
/* A child of a fork is known to be process PID. */
void dipc_space_set_pid(struct dipc_space *space, uint32_t pid);
/* The name page was written, by thread TID. */
void dipc_space_on_name(struct dipc_space *space, uint32_t tid);
int dipc_space_protect_name(struct dipc_space *space);
void dipc_space_forget_end(struct dipc_space *space);

/* space_map.c */
struct map *dipc_map_new(struct dipc_space *space, struct attach *attach,
			 struct uffd_pager *pager);
/* A new piece of MAP's attachment. NULL: no memory, the segment is killed. */
struct map *dipc_map_clone(struct map *map, uint64_t addr, uint64_t first,
			   uint64_t nr);
/* Write-protect (ON) or not what MAP has of NR pages from FIRST on. 0; -errno:
   the protection is not what it should be. */
int dipc_map_protect(struct map *map, uint64_t first, uint64_t nr, bool on);
void dipc_map_wake(struct map *map, uint64_t first, uint64_t nr);
/*
 * UFFDIO_COPY. How many pages from FIRST on, 1 at least; -errno: none; -ENOENT:
 * it cannot be done through this one.
 */
int dipc_map_copy(struct map *map, uint64_t first, unsigned nr,
		  const void *data, bool wp);
int dipc_map_poison(struct map *map, uint64_t page);
/* Does MAP live and show PAGE? */
bool dipc_map_has(const struct map *map, uint64_t page);

/* The mapping of SPACE that ADDR is in, or NULL. */
struct map *dipc_space_find(struct dipc_space *space, uint64_t addr);

/* pager_uffd.c */
struct uffd_pager *dipc_uffd_pager(struct dipc_pager *pager);
/* Write-protect what is populated in a new MAP. */
int dipc_uffd_pager_protect_new(struct uffd_pager *p, struct map *map);

#endif
