/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * makecontext() only starts a fiber; every later switch is a pair of
 * _setjmp/_longjmp, which unlike swapcontext() makes no system call.
 *
 * Deadlines are kept in one unsorted list: few fibers sleep with a deadline,
 * and `next_due` (a lower bound) spares walking the list before any is due.
 */
#undef _FORTIFY_SOURCE /* its longjmp refuses to change stacks */
#include "runtime/base/fiber.h"

#include <errno.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#elif defined(__SANITIZE_THREAD__)
#define FIBER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#elif __has_feature(thread_sanitizer)
#define FIBER_TSAN 1
#endif
#endif
#ifdef FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FIBER_TSAN
#include <sanitizer/tsan_interface.h>
typedef ucontext_t fiber_env;
#else
typedef jmp_buf fiber_env;
#endif

#define FIBER_STACK (64 * 1024) /* guard page below; touched lazily */
#define FIBER_CACHE 64          /* stacks kept for reuse */

struct dipc_fiber {
	struct dipc_list node;     /* on ready or on free */
	struct dipc_list sleeping; /* on sched->sleeping while a deadline runs
				    */
	struct dipc_list waiting;  /* on the wait queue it sleeps in */
	struct dipc_sched *sched;  /* borrowed */
	void (*fn)(void *);
	void *arg;
	void *stack; /* owned; mapping of FIBER_STACK with its guard */
	uint64_t deadline;
	bool is_ready;   /* on the ready list, or running */
	bool is_pending; /* a wake came while running */
	bool has_timed_out;
	bool is_done;
	fiber_env env;
#ifdef FIBER_ASAN
	void *asan_fake;
#endif
#ifdef FIBER_TSAN
	void *tsan;
#endif
};

/* From a fiber to the stack that entered it. */
struct way_back {
	fiber_env env;
#ifdef FIBER_ASAN
	void *asan_fake;
	const void *asan_stack;
	size_t asan_size;
#endif
#ifdef FIBER_TSAN
	void *tsan;
#endif
};

struct dipc_sched {
	struct dipc_clock *clock; /* borrowed */
	struct dipc_list ready;
	struct dipc_list sleeping;
	struct dipc_list timers;
	struct dipc_list free;
	unsigned nr_free, nr_alive;
	uint64_t next_due; /* no deadline or timer is earlier */
	struct way_back back;
};

static _Thread_local struct dipc_fiber *current;
static _Thread_local struct dipc_sched *current_sched; /* being run */

/*
 * ThreadSanitizer follows contexts, not jumps from one stack to another. Its
 * note and the switch itself must have no instrumented call between them.
 */
#ifdef FIBER_TSAN
static inline void env_switch(fiber_env *from, fiber_env *to)
{
	swapcontext(from, to);
}

static inline void env_start(fiber_env *from, ucontext_t *to)
{
	swapcontext(from, to);
}
#else
static inline void env_switch(fiber_env *from, fiber_env *to)
{
	if (_setjmp(*from) == 0)
		_longjmp(*to, 1);
}

static inline void env_start(fiber_env *from, ucontext_t *to)
{
	if (_setjmp(*from) == 0)
		setcontext(to);
}
#endif

/* ---- stack switching ---------------------------------------------------- */

static void note_switch_to_fiber(struct dipc_fiber *f)
{
#ifdef FIBER_ASAN
	__sanitizer_start_switch_fiber(&f->sched->back.asan_fake, f->stack,
				       FIBER_STACK);
#elif defined(FIBER_TSAN)
	f->sched->back.tsan = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(f->tsan, 0);
#else
	(void)f;
#endif
}

static void note_switch_to_sched(struct dipc_fiber *f)
{
#ifdef FIBER_ASAN
	__sanitizer_start_switch_fiber(&f->asan_fake, f->sched->back.asan_stack,
				       f->sched->back.asan_size);
#elif defined(FIBER_TSAN)
	__tsan_switch_to_fiber(f->sched->back.tsan, 0);
#else
	(void)f;
#endif
}

static void note_arrived_in_fiber(struct dipc_fiber *f)
{
#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(f->asan_fake,
					&f->sched->back.asan_stack,
					&f->sched->back.asan_size);
#else
	(void)f;
#endif
}

static void note_arrived_in_sched(struct dipc_sched *sched)
{
#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(sched->back.asan_fake, NULL, NULL);
#else
	(void)sched;
#endif
}

static void switch_to_sched(struct dipc_fiber *f)
{
	note_switch_to_sched(f);
	env_switch(&f->env, &f->sched->back.env);
	note_arrived_in_fiber(f);
}

/*
 * A stack's life: born by fiber_prepare(), which returns once the stack waits
 * here; then entered once for each fiber that uses it.
 */
static void fiber_main(unsigned hi, unsigned lo)
{
	uintptr_t bits = (uintptr_t)hi << 32 | lo;
	struct dipc_fiber *f = (struct dipc_fiber *)bits;

	note_arrived_in_fiber(f);
	for (;;) {
		switch_to_sched(f);
		f->fn(f->arg);
		f->is_done = true;
	}
}

/* Run F until it parks or ends. */
static void fiber_enter(struct dipc_fiber *f)
{
	note_switch_to_fiber(f);
	env_switch(&f->sched->back.env, &f->env);
	note_arrived_in_sched(current_sched);
}

/* Leave a new stack waiting at the head of fiber_main(). */
static int fiber_prepare(struct dipc_fiber *f)
{
	uintptr_t bits = (uintptr_t)f;
	ucontext_t uc;

	if (getcontext(&uc))
		return -errno;
	uc.uc_stack.ss_sp = f->stack;
	uc.uc_stack.ss_size = FIBER_STACK;
	uc.uc_link = NULL;
	makecontext(&uc, (void (*)(void))fiber_main, 2, (unsigned)(bits >> 32),
		    (unsigned)bits);
	note_switch_to_fiber(f);
	env_start(&f->sched->back.env, &uc);
	note_arrived_in_sched(current_sched);
	return 0;
}

static struct dipc_fiber *fiber_create(struct dipc_sched *sched)
{
	size_t page = 4096;
	struct dipc_fiber *f = calloc(1, sizeof(*f));
	char *map;

	if (!f)
		return NULL;
	map = mmap(NULL, FIBER_STACK + page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1,
		   0);
	if (map == MAP_FAILED)
		goto err_fiber;
	if (mprotect(map, page, PROT_NONE))
		goto err_map;
	f->stack = map + page;
	f->sched = sched;
	dipc_list_init(&f->node);
	dipc_list_init(&f->sleeping);
	dipc_list_init(&f->waiting);
#ifdef FIBER_TSAN
	f->tsan = __tsan_create_fiber(0);
#endif
	if (fiber_prepare(f))
		goto err_map;
	return f;

err_map:
	munmap(map, FIBER_STACK + page);
err_fiber:
	free(f);
	return NULL;
}

static void fiber_destroy(struct dipc_fiber *f)
{
#ifdef FIBER_TSAN
	__tsan_destroy_fiber(f->tsan);
#endif
	munmap((char *)f->stack - 4096, FIBER_STACK + 4096);
	free(f);
}

/* ---- scheduler ---------------------------------------------------------- */

int dipc_sched_create(struct dipc_clock *clock, struct dipc_sched **sched_out)
{
	struct dipc_sched *sched = calloc(1, sizeof(*sched));

	if (!sched)
		return -ENOMEM;
	sched->clock = clock;
	dipc_list_init(&sched->ready);
	dipc_list_init(&sched->sleeping);
	dipc_list_init(&sched->timers);
	dipc_list_init(&sched->free);
	sched->next_due = DIPC_NEVER;
	*sched_out = sched;
	return 0;
}

void dipc_sched_destroy(struct dipc_sched *sched)
{
	struct dipc_list *node;

	if (!sched)
		return;
	while ((node = dipc_list_pop(&sched->free)))
		fiber_destroy(dipc_container_of(node, struct dipc_fiber, node));
	free(sched);
}

struct dipc_clock *dipc_sched_clock(struct dipc_sched *sched)
{
	return sched->clock;
}

uint64_t dipc_sched_now(struct dipc_sched *sched)
{
	return dipc_now(sched->clock);
}

uint64_t dipc_sched_next(struct dipc_sched *sched)
{
	return sched->next_due;
}

unsigned dipc_sched_alive(struct dipc_sched *sched)
{
	return sched->nr_alive;
}

static void sched_note_due(struct dipc_sched *sched, uint64_t due)
{
	if (due < sched->next_due)
		sched->next_due = due;
}

static void sched_fire_sleepers(struct dipc_sched *sched, uint64_t now)
{
	struct dipc_list *pos, *tmp;

	dipc_list_for_each_safe (pos, tmp, &sched->sleeping) {
		struct dipc_fiber *f =
			dipc_container_of(pos, struct dipc_fiber, sleeping);

		if (f->deadline > now) {
			sched_note_due(sched, f->deadline);
			continue;
		}
		f->has_timed_out = true;
		dipc_fiber_wake(f);
	}
}

static void sched_fire_timers(struct dipc_sched *sched, uint64_t now)
{
	struct dipc_list due = DIPC_LIST_INIT(due);
	struct dipc_list *pos, *tmp;

	dipc_list_for_each_safe (pos, tmp, &sched->timers) {
		struct dipc_timer *timer =
			dipc_container_of(pos, struct dipc_timer, node);

		if (timer->due > now) {
			sched_note_due(sched, timer->due);
			continue;
		}
		dipc_list_del(&timer->node);
		dipc_list_add_tail(&due, &timer->node);
	}
	/* a callback may cancel another due timer: pop, do not walk */
	while ((pos = dipc_list_pop(&due))) {
		struct dipc_timer *timer =
			dipc_container_of(pos, struct dipc_timer, node);

		timer->due = 0;
		timer->fn(timer);
	}
}

static void sched_fire_due(struct dipc_sched *sched)
{
	uint64_t now;

	if (sched->next_due == DIPC_NEVER)
		return;
	now = dipc_now(sched->clock);
	if (now < sched->next_due)
		return;
	sched->next_due = DIPC_NEVER;
	sched_fire_sleepers(sched, now);
	sched_fire_timers(sched, now);
}

static void sched_retire(struct dipc_sched *sched, struct dipc_fiber *f)
{
	sched->nr_alive--;
	if (sched->nr_free >= FIBER_CACHE) {
		fiber_destroy(f);
		return;
	}
	/* newest first: its stack is warm */
	dipc_list_add_head(&sched->free, &f->node);
	sched->nr_free++;
}

unsigned dipc_sched_run(struct dipc_sched *sched)
{
	struct dipc_list *node;
	unsigned nr = 0;

	sched_fire_due(sched);
	while ((node = dipc_list_pop(&sched->ready))) {
		struct dipc_fiber *f =
			dipc_container_of(node, struct dipc_fiber, node);

		current = f;
		current_sched = sched;
		fiber_enter(f);
		f = current; /* locals may be stale after the jump back */
		current = NULL;
		if (f->is_done)
			sched_retire(sched, f);
		nr++;
	}
	return nr;
}

/* ---- fibers ------------------------------------------------------------- */

int dipc_fiber_spawn(struct dipc_sched *sched, void (*fn)(void *), void *arg)
{
	struct dipc_list *node = dipc_list_pop(&sched->free);
	struct dipc_sched *outer = current_sched;
	struct dipc_fiber *outer_fiber = current;
	struct dipc_fiber *f;

	if (node) {
		f = dipc_container_of(node, struct dipc_fiber, node);
		sched->nr_free--;
	} else {
		struct way_back saved;

		/* a fiber may spawn: keep the way back to its own scheduler */
		memcpy(&saved, &sched->back, sizeof(saved));
		current_sched = sched;
		f = fiber_create(sched);
		memcpy(&sched->back, &saved, sizeof(saved));
		current_sched = outer;
		current = outer_fiber;
		if (!f)
			return -ENOMEM;
	}
	f->fn = fn;
	f->arg = arg;
	f->is_done = false;
	f->is_ready = true;
	f->is_pending = false;
	f->has_timed_out = false;
	dipc_list_add_tail(&sched->ready, &f->node);
	sched->nr_alive++;
	return 0;
}

struct dipc_fiber *dipc_fiber_self(void)
{
	return current;
}

int dipc_fiber_park(uint64_t deadline)
{
	struct dipc_fiber *f = current;
	int ret;

	if (f->is_pending) {
		f->is_pending = false;
		return 0;
	}
	f->is_ready = false;
	f->has_timed_out = false;
	f->deadline = deadline;
	if (deadline != DIPC_NEVER) {
		dipc_list_add_tail(&f->sched->sleeping, &f->sleeping);
		sched_note_due(f->sched, deadline);
	}
	switch_to_sched(f);
	ret = f->has_timed_out ? -ETIMEDOUT : 0;
	f->has_timed_out = false;
	return ret;
}

void dipc_fiber_wake(struct dipc_fiber *fiber)
{
	dipc_list_del(&fiber->sleeping);
	if (fiber->is_ready) {
		fiber->is_pending = true;
		return;
	}
	fiber->is_ready = true;
	dipc_list_add_tail(&fiber->sched->ready, &fiber->node);
}

void dipc_fiber_sleep(uint64_t ns)
{
	uint64_t due = dipc_now(current->sched->clock) + ns;

	while (dipc_fiber_park(due) != -ETIMEDOUT) {
		/* somebody else's wake */
	}
}

void dipc_fiber_yield(void)
{
	struct dipc_fiber *f = current;

	dipc_list_add_tail(&f->sched->ready, &f->node);
	switch_to_sched(f);
}

/* ---- wait queues, locks, timers ----------------------------------------- */

void dipc_waitq_init(struct dipc_waitq *wq)
{
	dipc_list_init(&wq->waiters);
}

int dipc_waitq_wait(struct dipc_waitq *wq, uint64_t deadline)
{
	struct dipc_fiber *f = current;
	int ret = 0;

	dipc_list_add_tail(&wq->waiters, &f->waiting);
	/* woken means taken off the list, so stray wakes are told apart */
	while (!dipc_list_is_empty(&f->waiting)) {
		ret = dipc_fiber_park(deadline);
		if (ret == -ETIMEDOUT)
			break;
	}
	if (dipc_list_is_empty(&f->waiting))
		return 0;
	dipc_list_del(&f->waiting);
	return ret;
}

void dipc_waitq_wake_one(struct dipc_waitq *wq)
{
	struct dipc_list *node = dipc_list_pop(&wq->waiters);

	if (node)
		dipc_fiber_wake(
			dipc_container_of(node, struct dipc_fiber, waiting));
}

void dipc_waitq_wake_all(struct dipc_waitq *wq)
{
	while (!dipc_list_is_empty(&wq->waiters))
		dipc_waitq_wake_one(wq);
}

void dipc_fmutex_init(struct dipc_fmutex *mutex)
{
	dipc_waitq_init(&mutex->wq);
	mutex->is_held = false;
}

void dipc_fmutex_lock(struct dipc_fmutex *mutex)
{
	if (!mutex->is_held) {
		mutex->is_held = true;
		return;
	}
	/* unlock hands the lock over, so being woken means holding it */
	(void)dipc_waitq_wait(&mutex->wq, DIPC_NEVER);
}

void dipc_fmutex_unlock(struct dipc_fmutex *mutex)
{
	if (dipc_list_is_empty(&mutex->wq.waiters))
		mutex->is_held = false;
	else
		dipc_waitq_wake_one(&mutex->wq);
}

void dipc_timer_init(struct dipc_timer *timer,
		     void (*fn)(struct dipc_timer *timer))
{
	dipc_list_init(&timer->node);
	timer->due = 0;
	timer->fn = fn;
}

void dipc_timer_set(struct dipc_sched *sched, struct dipc_timer *timer,
		    uint64_t due)
{
	dipc_list_del(&timer->node);
	timer->due = due;
	dipc_list_add_tail(&sched->timers, &timer->node);
	sched_note_due(sched, due);
}

void dipc_timer_cancel(struct dipc_timer *timer)
{
	dipc_list_del(&timer->node);
	timer->due = 0;
}
