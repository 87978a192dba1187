/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The event loop of a daemon: one thread that runs fibers, polls its sources
 * while there is traffic, and sleeps in epoll when there is none.
 */
#ifndef DIPC_BASE_LOOP_H
#define DIPC_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/fiber.h"

struct dipc_loop;

/* A file descriptor's events; EVENTS are epoll's. Runs on the loop's stack. */
struct dipc_watch {
	int fd;
	void (*fn)(struct dipc_watch *watch, uint32_t events);
};

/*
 * Something polled in every round while the loop is busy. poll() returns how
 * much it found. arm() asks for an event on some watched fd when there is work
 * again: 0 may sleep, > 0 work is there already. disarm() (may be NULL) is
 * called after a sleep.
 */
struct dipc_poller {
	struct dipc_list node; /* private */
	unsigned (*poll)(struct dipc_poller *poller);
	int (*arm)(struct dipc_poller *poller);
	void (*disarm)(struct dipc_poller *poller);
};

/* SPIN_NS: how long to poll on after the last work before going to sleep. */
int dipc_loop_create(struct dipc_clock *clock, uint64_t spin_ns,
		     struct dipc_loop **loop_out);
void dipc_loop_destroy(struct dipc_loop *loop);
struct dipc_sched *dipc_loop_sched(struct dipc_loop *loop);

/* WATCH stays the caller's and must live until removed. 0 or -errno. */
int dipc_loop_watch(struct dipc_loop *loop, struct dipc_watch *watch,
		    uint32_t events);
int dipc_loop_rewatch(struct dipc_loop *loop, struct dipc_watch *watch,
		      uint32_t events);
/* Call before closing the fd. Safe inside any callback. */
void dipc_loop_unwatch(struct dipc_loop *loop, struct dipc_watch *watch);
void dipc_loop_add_poller(struct dipc_loop *loop, struct dipc_poller *poller);
void dipc_loop_del_poller(struct dipc_loop *loop, struct dipc_poller *poller);

/* Has the loop given up spinning for now, since its processor is wanted? */
bool dipc_loop_is_crowded(const struct dipc_loop *loop);

/* Until dipc_loop_stop(). 0 or -errno of epoll. */
int dipc_loop_run(struct dipc_loop *loop);
/* One round; sleeps at most TIMEOUT_NS when idle (0: never). For tests. */
int dipc_loop_once(struct dipc_loop *loop, uint64_t timeout_ns);
/*
 * Poll, and run what is ready: a round that looks at no file descriptor and
 * never sleeps, for a simulation in virtual time. How much there was to do.
 */
unsigned dipc_loop_turn(struct dipc_loop *loop);
void dipc_loop_stop(struct dipc_loop *loop);

#endif
