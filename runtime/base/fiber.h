/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fibers: cooperative tasks on one thread, so that a protocol reads like its
 * text (lock; read; check; write; unlock) while thousands of them run.
 *
 * A scheduler belongs to one thread; no function here may be called from
 * another. A fiber runs until it parks or returns.
 */
#ifndef DIPC_BASE_FIBER_H
#define DIPC_BASE_FIBER_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/clock.h"
#include "runtime/base/list.h"

struct dipc_sched;
struct dipc_fiber;

int dipc_sched_create(struct dipc_clock *clock, struct dipc_sched **sched_out);
/* All fibers must have ended. Takes NULL. */
void dipc_sched_destroy(struct dipc_sched *sched);
struct dipc_clock *dipc_sched_clock(struct dipc_sched *sched);
uint64_t dipc_sched_now(struct dipc_sched *sched);
/* Fires due timers, runs fibers until none is ready. Returns how many ran. */
unsigned dipc_sched_run(struct dipc_sched *sched);
/* When the next parked fiber's deadline or timer is due; DIPC_NEVER if none. */
uint64_t dipc_sched_next(struct dipc_sched *sched);
/* Fibers that have not returned yet. */
unsigned dipc_sched_alive(struct dipc_sched *sched);

/*
 * Make a fiber that runs FN(ARG) from the next dipc_sched_run() on; its stack
 * is freed when FN returns. 0 or -ENOMEM.
 */
int dipc_fiber_spawn(struct dipc_sched *sched, void (*fn)(void *), void *arg);
/* The running fiber, NULL on the scheduler's own stack. */
struct dipc_fiber *dipc_fiber_self(void);
/*
 * Sleep until dipc_fiber_wake() or DEADLINE (monotonic ns, DIPC_NEVER: none).
 * 0, or -ETIMEDOUT. A wake that came before is not lost: park then returns at
 * once. Spurious returns of 0 are possible: callers re-check their condition.
 */
int dipc_fiber_park(uint64_t deadline);
/* May be called from a fiber or from the scheduler's thread outside one. */
void dipc_fiber_wake(struct dipc_fiber *fiber);
/* Sleep for NS nanoseconds whatever wakes come. */
void dipc_fiber_sleep(uint64_t ns);
/* Let every other ready fiber run once. */
void dipc_fiber_yield(void);

/* Fibers waiting for one thing, first come first served. */
struct dipc_waitq {
	struct dipc_list waiters;
};

void dipc_waitq_init(struct dipc_waitq *wq);
/* 0 when woken, -ETIMEDOUT. */
int dipc_waitq_wait(struct dipc_waitq *wq, uint64_t deadline);
void dipc_waitq_wake_one(struct dipc_waitq *wq);
void dipc_waitq_wake_all(struct dipc_waitq *wq);

/* A lock between fibers, fair; zero-cost when free. */
struct dipc_fmutex {
	struct dipc_waitq wq;
	bool is_held;
};

void dipc_fmutex_init(struct dipc_fmutex *mutex);
void dipc_fmutex_lock(struct dipc_fmutex *mutex);
void dipc_fmutex_unlock(struct dipc_fmutex *mutex);

/* A callback at a time, run on the scheduler's stack; it must not park. */
struct dipc_timer {
	struct dipc_list node; /* private */
	uint64_t due;          /* private; 0: not armed */
	void (*fn)(struct dipc_timer *timer);
};

void dipc_timer_init(struct dipc_timer *timer,
		     void (*fn)(struct dipc_timer *timer));
/* Arm, or move an armed timer. */
void dipc_timer_set(struct dipc_sched *sched, struct dipc_timer *timer,
		    uint64_t due);
void dipc_timer_cancel(struct dipc_timer *timer);

#endif
