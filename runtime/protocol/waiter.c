/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A record's life: taken from the free stack (its sequence number moves on, so
 * that a CAS meant for an earlier life fails), WRITTEN as pending and linked
 * by the object's code, slept on, put back. The arena is read on a hint and
 * once a second: a lost hint costs time, never the wake-up.
 */
#include "runtime/protocol/waiter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/log.h"

#define RELOOK    DIPC_SEC
#define FULL_WAIT (100 * DIPC_MSEC)

struct dipc_waiters {
	struct dipc_fabric *fabric; /* borrowed */
	struct dipc_waitq is_free;  /* fibers that want a record */
	struct dipc_timer relook;   /* armed while anybody sleeps */
	unsigned nr_sleeping;
	unsigned nr_free;
	uint16_t free[DIPC_WAITERS_PER_NODE];
	/* sequence of the last life; UINT32_MAX: an earlier incarnation's,
	   still to be read */
	uint32_t seq[DIPC_WAITERS_PER_NODE];
	struct dipc_waiter *sleeping[DIPC_WAITERS_PER_NODE]; /* borrowed */
	/* a hint for this life came before its sleep */
	bool is_early[DIPC_WAITERS_PER_NODE];
};

uint64_t dipc_waiter_off(const struct dipc_arena_super *super, unsigned node,
			 uint32_t index)
{
	uint64_t nr = (uint64_t)(node - 1) * DIPC_WAITERS_PER_NODE + index;

	return super->waiters_off + nr * sizeof(struct dipc_arena_waiter);
}

static void look_again(struct dipc_timer *timer)
{
	struct dipc_waiters *ws =
		dipc_container_of(timer, struct dipc_waiters, relook);

	dipc_waiters_hint(ws, UINT32_MAX);
	if (ws->nr_sleeping)
		dipc_timer_set(dipc_fabric_sched(ws->fabric), timer,
			       dipc_fabric_now(ws->fabric) + RELOOK);
}

int dipc_waiters_create(struct dipc_fabric *f, struct dipc_waiters **ws_out)
{
	struct dipc_waiters *ws = calloc(1, sizeof(*ws));
	unsigned i;

	if (!ws)
		return -ENOMEM;
	ws->fabric = f;
	dipc_waitq_init(&ws->is_free);
	dipc_timer_init(&ws->relook, look_again);
	/* low indices first: few records stay warm */
	for (i = 0; i < DIPC_WAITERS_PER_NODE; i++) {
		ws->free[i] = (uint16_t)(DIPC_WAITERS_PER_NODE - 1 - i);
		ws->seq[i] = UINT32_MAX;
	}
	ws->nr_free = DIPC_WAITERS_PER_NODE;
	*ws_out = ws;
	return 0;
}

void dipc_waiters_destroy(struct dipc_waiters *ws)
{
	if (!ws)
		return;
	dipc_timer_cancel(&ws->relook);
	free(ws);
}

void dipc_waiters_hint(struct dipc_waiters *ws, uint32_t index)
{
	uint32_t i, end = index + 1;

	if (index == UINT32_MAX) {
		index = 0;
		end = DIPC_WAITERS_PER_NODE;
	} else if (index >= DIPC_WAITERS_PER_NODE) {
		return; /* a peer's word: not to be trusted */
	}
	for (i = index; i < end; i++) {
		struct dipc_waiter *w = ws->sleeping[i];

		if (!w) {
			ws->is_early[i] = true;
			continue;
		}
		w->is_hinted = true;
		dipc_fiber_wake(w->fiber);
	}
}

void dipc_cancel_set(struct dipc_cancel *cancel)
{
	cancel->is_set = true;
	if (cancel->fiber)
		dipc_fiber_wake(cancel->fiber);
}

/* ---- taking and giving back --------------------------------------------- */

static int wait_for_free(struct dipc_waiters *ws, uint64_t deadline,
			 const struct dipc_cancel *cancel)
{
	while (!ws->nr_free) {
		uint64_t now = dipc_fabric_now(ws->fabric);
		uint64_t until = now + FULL_WAIT;

		if (cancel && cancel->is_set)
			return -EINTR;
		if (now >= deadline)
			return -EAGAIN;
		/* a short wait, since a cancel does not reach this queue */
		(void)dipc_waitq_wait(&ws->is_free,
				      until < deadline ? until : deadline);
	}
	return 0;
}

int dipc_waiter_get(struct dipc_waiters *ws, uint64_t deadline,
		    struct dipc_cancel *cancel, struct dipc_waiter *w_out)
{
	uint64_t state;
	uint16_t index;
	uint64_t off;
	int ret;

	ret = wait_for_free(ws, deadline, cancel);
	if (ret)
		return ret;
	index = ws->free[--ws->nr_free];
	off = dipc_waiter_off(dipc_fabric_super(ws->fabric),
			      dipc_fabric_node(ws->fabric), index);
	if (ws->seq[index] == UINT32_MAX) {
		ret = dipc_arena_read(ws->fabric, off, &state, sizeof(state));
		if (ret) {
			ws->free[ws->nr_free++] = index;
			return ret;
		}
		ws->seq[index] = dipc_waiter_seq(state);
	}
	ws->seq[index] = (ws->seq[index] + 1) & 0xffffffu;
	ws->is_early[index] = false;
	w_out->ws = ws;
	w_out->index = index;
	w_out->seq = ws->seq[index];
	w_out->off = off;
	w_out->fiber = NULL;
	w_out->is_hinted = false;
	return 0;
}

void dipc_waiter_put(struct dipc_waiter *w)
{
	struct dipc_waiters *ws = w->ws;

	ws->free[ws->nr_free++] = (uint16_t)w->index;
	dipc_waitq_wake_one(&ws->is_free);
}

uint64_t dipc_waiter_pending(const struct dipc_waiter *w)
{
	return dipc_waiter_state(DIPC_WAITER_PENDING, w->seq, 0);
}

/* ---- sleeping ----------------------------------------------------------- */

/* 1: done, with the result; 0: pending. */
static int waiter_look(struct dipc_waiter *w, int32_t *result_out)
{
	uint64_t state;
	int ret;

	ret = dipc_arena_read(w->ws->fabric, w->off, &state, sizeof(state));
	if (ret)
		return ret;
	if (dipc_waiter_status(state) != DIPC_WAITER_DONE ||
	    dipc_waiter_seq(state) != w->seq)
		return 0;
	*result_out = (int32_t)(uint32_t)(state >> 32);
	return 1;
}

/* The same, but 0 means cancelled now. */
static int waiter_cancel(struct dipc_waiter *w, int32_t *result_out)
{
	uint64_t pending = dipc_waiter_pending(w), old = 0;
	int ret;

	ret = dipc_arena_cas(
		w->ws->fabric, w->off, pending,
		dipc_waiter_state(DIPC_WAITER_CANCELLED, w->seq, 0), &old);
	if (ret || old == pending)
		return ret;
	*result_out = (int32_t)(uint32_t)(old >> 32);
	return 1;
}

/*
 * One round of the sleeper: what it is to return, or 0 to go on sleeping, or 1
 * when done. LOST_SINCE: when the arena went out of reach, 0 while it is not.
 */
static int sleep_round(struct dipc_waiter *w, uint64_t deadline,
		       const struct dipc_cancel *cancel, uint64_t *lost_since,
		       int32_t *result_out)
{
	uint64_t now = dipc_fabric_now(w->ws->fabric);
	int why = 0, ret = 0;

	if (cancel && cancel->is_set)
		why = -EINTR;
	else if (now >= deadline)
		why = -EAGAIN;
	if (why) {
		ret = waiter_cancel(w, result_out);
	} else if (w->is_hinted) {
		w->is_hinted = false;
		ret = waiter_look(w, result_out);
	}
	if (ret >= 0) {
		*lost_since = 0;
		return ret ? ret : why;
	}
	if (!*lost_since)
		*lost_since = now;
	/* out of reach: it may come back, and with it the answer */
	return why || now - *lost_since >= DIPC_PATIENCE ? -ENOLINK : 0;
}

int dipc_waiter_sleep(struct dipc_waiter *w, uint64_t deadline,
		      struct dipc_cancel *cancel, int32_t *result_out)
{
	struct dipc_waiters *ws = w->ws;
	uint64_t lost_since = 0;
	int ret;

	w->fiber = dipc_fiber_self();
	if (cancel)
		cancel->fiber = w->fiber;
	ws->sleeping[w->index] = w;
	/* linked by a chain that was waited for: somebody may have been quick */
	w->is_hinted |= ws->is_early[w->index];
	if (ws->nr_sleeping++ == 0)
		dipc_timer_set(dipc_fabric_sched(ws->fabric), &ws->relook,
			       dipc_fabric_now(ws->fabric) + RELOOK);
	while ((ret = sleep_round(w, deadline, cancel, &lost_since,
				  result_out)) == 0)
		if (!w->is_hinted)
			(void)dipc_fiber_park(deadline);
	ws->sleeping[w->index] = NULL;
	if (--ws->nr_sleeping == 0)
		dipc_timer_cancel(&ws->relook);
	if (cancel)
		cancel->fiber = NULL;
	return ret == 1 ? 0 : ret;
}

int dipc_waiter_complete(struct dipc_fabric *f, uint64_t off,
			 const struct dipc_arena_waiter *record, int32_t result)
{
	uint32_t seq = dipc_waiter_seq(record->state);
	uint64_t pending = dipc_waiter_state(DIPC_WAITER_PENDING, seq, 0);
	uint64_t done = dipc_waiter_state(DIPC_WAITER_DONE, seq, result);
	uint64_t old = 0;
	int ret;

	ret = dipc_arena_cas(f, off, pending, done, &old);
	return ret ? ret : old == pending;
}
