/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/base/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define LOOP_EVENTS         64
#define LOOP_LOOK_NS        (200 * DIPC_USEC)
#define LOOP_NO_SPIN_MIN_NS DIPC_MSEC
#define LOOP_NO_SPIN_MAX_NS (32 * DIPC_MSEC)
#define LOOP_CALM_NS        (20 * DIPC_MSEC)
/*
 * While it polls the loop looks at its descriptors this often: a look is a
 * system call, and what is in a hurry has a poller.
 */
#define LOOP_FDS_NS (4 * DIPC_USEC)

struct dipc_loop {
	struct dipc_sched *sched; /* owned */
	struct dipc_list pollers;
	uint64_t spin_ns;
	uint64_t busy_until;    /* poll without sleeping until then */
	uint64_t no_spin_until; /* somebody else needs this processor */
	uint64_t no_spin_ns;    /* how long we last gave it up for */
	uint64_t next_look;     /* when to look for that again */
	uint64_t next_fds;      /* when to look at descriptors again */
	long nr_preempted;
	int epfd;
	bool must_stop;
	/* events being delivered, so that unwatch can void later ones */
	struct epoll_event events[LOOP_EVENTS];
	int nr_events;
};

int dipc_loop_create(struct dipc_clock *clock, uint64_t spin_ns,
		     struct dipc_loop **loop_out)
{
	struct dipc_loop *loop = calloc(1, sizeof(*loop));
	int ret;

	if (!loop)
		return -ENOMEM;
	dipc_list_init(&loop->pollers);
	loop->spin_ns = spin_ns;
	loop->no_spin_ns = LOOP_NO_SPIN_MIN_NS;
	loop->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epfd < 0) {
		ret = -errno;
		goto err_loop;
	}
	ret = dipc_sched_create(clock, &loop->sched);
	if (ret)
		goto err_epfd;
	*loop_out = loop;
	return 0;

err_epfd:
	close(loop->epfd);
err_loop:
	free(loop);
	return ret;
}

void dipc_loop_destroy(struct dipc_loop *loop)
{
	if (!loop)
		return;
	dipc_sched_destroy(loop->sched);
	close(loop->epfd);
	free(loop);
}

struct dipc_sched *dipc_loop_sched(struct dipc_loop *loop)
{
	return loop->sched;
}

static int loop_ctl(struct dipc_loop *loop, int op, struct dipc_watch *watch,
		    uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = watch};

	return epoll_ctl(loop->epfd, op, watch->fd, &ev) ? -errno : 0;
}

int dipc_loop_watch(struct dipc_loop *loop, struct dipc_watch *watch,
		    uint32_t events)
{
	return loop_ctl(loop, EPOLL_CTL_ADD, watch, events);
}

int dipc_loop_rewatch(struct dipc_loop *loop, struct dipc_watch *watch,
		      uint32_t events)
{
	return loop_ctl(loop, EPOLL_CTL_MOD, watch, events);
}

void dipc_loop_unwatch(struct dipc_loop *loop, struct dipc_watch *watch)
{
	int i;

	loop_ctl(loop, EPOLL_CTL_DEL, watch, 0);
	for (i = 0; i < loop->nr_events; i++)
		if (loop->events[i].data.ptr == watch)
			loop->events[i].data.ptr = NULL;
}

void dipc_loop_add_poller(struct dipc_loop *loop, struct dipc_poller *poller)
{
	dipc_list_add_tail(&loop->pollers, &poller->node);
}

void dipc_loop_del_poller(struct dipc_loop *loop, struct dipc_poller *poller)
{
	(void)loop;
	dipc_list_del(&poller->node);
}

static unsigned loop_poll(struct dipc_loop *loop)
{
	struct dipc_list *pos, *tmp;
	unsigned nr = 0;

	dipc_list_for_each_safe (pos, tmp, &loop->pollers) {
		struct dipc_poller *p =
			dipc_container_of(pos, struct dipc_poller, node);

		nr += p->poll(p);
	}
	return nr;
}

/* True when every source promised to signal an fd for new work. */
static bool loop_arm(struct dipc_loop *loop)
{
	struct dipc_list *pos;
	bool may_sleep = true;

	dipc_list_for_each (pos, &loop->pollers) {
		struct dipc_poller *p =
			dipc_container_of(pos, struct dipc_poller, node);

		if (p->arm && p->arm(p) != 0)
			may_sleep = false;
	}
	return may_sleep;
}

static void loop_disarm(struct dipc_loop *loop)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &loop->pollers) {
		struct dipc_poller *p =
			dipc_container_of(pos, struct dipc_poller, node);

		if (p->disarm)
			p->disarm(p);
	}
}

/* Deliver fd events, waiting at most WAIT_NS for the first. */
static int loop_epoll(struct dipc_loop *loop, uint64_t wait_ns)
{
	struct timespec limit = {
		.tv_sec = (time_t)(wait_ns / DIPC_SEC),
		.tv_nsec = (long)(wait_ns % DIPC_SEC),
	};
	int i, n;

	n = epoll_pwait2(loop->epfd, loop->events, LOOP_EVENTS,
			 wait_ns == DIPC_NEVER ? NULL : &limit, NULL);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	loop->nr_events = n;
	for (i = 0; i < n; i++) {
		struct dipc_watch *watch = loop->events[i].data.ptr;

		if (watch)
			watch->fn(watch, loop->events[i].events);
	}
	loop->nr_events = 0;
	return n;
}

/*
 * Spinning pays while a processor is free and costs a time slice when none is:
 * a client that we wait for may be waiting for our processor. Being preempted
 * is the sign. Once may be chance, so the first pause is short; each further
 * preemption that comes soon after doubles it.
 */
static void loop_note_preempted(struct dipc_loop *loop, uint64_t now)
{
	if (now > loop->no_spin_until + LOOP_CALM_NS)
		loop->no_spin_ns = LOOP_NO_SPIN_MIN_NS;
	else if (loop->no_spin_ns < LOOP_NO_SPIN_MAX_NS)
		loop->no_spin_ns *= 2;
	loop->no_spin_until = now + loop->no_spin_ns;
}

static bool loop_may_spin(struct dipc_loop *loop, uint64_t now)
{
	struct rusage usage;

	if (now >= loop->next_look) {
		loop->next_look = now + LOOP_LOOK_NS;
		if (getrusage(RUSAGE_THREAD, &usage) == 0 &&
		    usage.ru_nivcsw != loop->nr_preempted) {
			loop->nr_preempted = usage.ru_nivcsw;
			loop_note_preempted(loop, now);
		}
	}
	return now >= loop->no_spin_until;
}

bool dipc_loop_is_crowded(const struct dipc_loop *loop)
{
	return dipc_sched_now(loop->sched) < loop->no_spin_until;
}

unsigned dipc_loop_turn(struct dipc_loop *loop)
{
	unsigned work = loop_poll(loop);

	return work + dipc_sched_run(loop->sched);
}

int dipc_loop_once(struct dipc_loop *loop, uint64_t timeout_ns)
{
	uint64_t now, due, wait = 0;
	unsigned work;
	int n;

	work = dipc_loop_turn(loop);
	now = dipc_sched_now(loop->sched);
	if (work)
		loop->busy_until = now + loop->spin_ns;
	if (timeout_ns && !loop->must_stop &&
	    (now >= loop->busy_until || !loop_may_spin(loop, now))) {
		due = dipc_sched_next(loop->sched);
		wait = due <= now ? 0 : due - now;
		if (due == DIPC_NEVER)
			wait = DIPC_NEVER;
		if (wait > timeout_ns)
			wait = timeout_ns;
		if (wait && !loop_arm(loop)) {
			loop_disarm(loop);
			wait = 0;
		}
	}
	if (wait == 0 && timeout_ns && now < loop->next_fds && !loop->must_stop)
		return 0;
	n = loop_epoll(loop, wait);
	if (wait)
		loop_disarm(loop);
	now = dipc_sched_now(loop->sched);
	loop->next_fds = now + LOOP_FDS_NS;
	if (n > 0)
		loop->busy_until = now + loop->spin_ns;
	return n < 0 ? n : 0;
}

int dipc_loop_run(struct dipc_loop *loop)
{
	int ret = 0;

	loop->must_stop = false;
	while (!loop->must_stop && ret == 0)
		ret = dipc_loop_once(loop, DIPC_NEVER);
	return ret;
}

void dipc_loop_stop(struct dipc_loop *loop)
{
	loop->must_stop = true;
}
