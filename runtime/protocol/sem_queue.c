/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The waiters of a set. All of it with the set held.
 *
 * QUEUE-TRUTH: `first` and the records' `next` are the list; `prev`, `last`,
 * the counts and `is_linked` follow from them and are repaired after a crash.
 *
 * REDO-FIRST: a waiter is completed in one chain: commit what was decided so
 * far; a redo record with what the waiter gets; the record out of the list;
 * the CAS pending -> done. When the CAS was won the waiter may be gone, and its
 * record in use again, at once: nothing reads or writes it after that.
 */
#include "runtime/protocol/sem_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/log.h"

#define QUEUE_MAX (DIPC_NODES_MAX * DIPC_WAITERS_PER_NODE)

bool dipc_sem_ops_alter(const struct dipc_arena_sembuf *ops, unsigned nr)
{
	unsigned i;

	for (i = 0; i < nr; i++)
		if (ops[i].op)
			return true;
	return false;
}

static bool ops_are_complex(const struct dipc_arena_sembuf *ops, unsigned nr)
{
	return nr > 1 || !ops[0].op;
}

/* ---- reading ------------------------------------------------------------ */

/* The rest of the operations, from OFF (a record's more_ops) on. */
static int queued_read_more(struct sem_hold *h, struct sem_queued *q,
			    unsigned nr, uint64_t off)
{
	struct dipc_arena_waiter rec;
	int ret;

	while (nr < q->nr && off) {
		unsigned part = q->nr - nr;

		if (part > DIPC_WAITER_OPS)
			part = DIPC_WAITER_OPS;
		ret = dipc_arena_read(h->sems->fabric, off, &rec, sizeof(rec));
		if (ret)
			return ret;
		memcpy(&q->ops[nr], rec.ops, part * sizeof(rec.ops[0]));
		nr += part;
		off = rec.more_ops;
	}
	return nr == q->nr ? 0 : -EPROTO;
}

static int queued_read_ops(struct sem_hold *h, struct sem_queued *q,
			   const struct dipc_arena_waiter *rec)
{
	unsigned nr = q->nr < SEM_PEEK_OPS ? q->nr : SEM_PEEK_OPS;
	unsigned i;
	int ret;

	memcpy(q->ops, rec->ops, nr * sizeof(rec->ops[0]));
	if (q->nr > nr) {
		unsigned part =
			q->nr < DIPC_WAITER_OPS ? q->nr : DIPC_WAITER_OPS;

		ret = dipc_arena_read(
			h->sems->fabric,
			q->off + offsetof(struct dipc_arena_waiter, ops),
			q->ops, part * sizeof(rec->ops[0]));
		if (ret == 0)
			ret = queued_read_more(h, q, part, rec->more_ops);
		if (ret)
			return ret;
	}
	for (i = 0; i < q->nr; i++)
		if (q->ops[i].num >= h->set->nr)
			return -EPROTO;
	return 0;
}

/* The record at OFF; a peer wrote it, so it is checked. */
static int queued_read(struct sem_hold *h, uint64_t off,
		       struct sem_queued **q_out)
{
	union {
		struct dipc_arena_waiter rec;
		uint8_t raw[SEM_PEEK];
	} buf;
	struct sem_queued *q;
	int ret = 0;

	if (h->has_peek && h->peek_off == off)
		memcpy(buf.raw, h->peek.raw, SEM_PEEK);
	else
		ret = dipc_arena_read(h->sems->fabric, off, buf.raw, SEM_PEEK);
	if (ret)
		return ret;
	if (buf.rec.id != h->set->id || !buf.rec.nr_ops ||
	    buf.rec.nr_ops > dipc_fabric_super(h->sems->fabric)->semopm)
		return -EPROTO;
	q = calloc(1, sizeof(*q) + buf.rec.nr_ops * sizeof(q->ops[0]));
	if (!q)
		return -ENOMEM;
	q->off = off;
	q->next = buf.rec.next;
	q->seq = dipc_waiter_seq(buf.rec.state);
	q->node = buf.rec.node;
	q->index = buf.rec.index;
	q->who = dipc_who(buf.rec.node, buf.rec.pid);
	q->nr = buf.rec.nr_ops;
	q->refused = buf.rec.flags ? buf.rec.flags - 1 : q->nr;
	ret = queued_read_ops(h, q, &buf.rec);
	if (ret) {
		free(q);
		return ret;
	}
	q->is_alter = dipc_sem_ops_alter(q->ops, q->nr);
	q->is_complex = ops_are_complex(q->ops, q->nr);
	*q_out = q;
	return 0;
}

static int queue_grow(struct sem_hold *h)
{
	unsigned room = h->room_queued ? 2 * h->room_queued : 16;
	struct sem_queued **queue;

	if (h->nr_queued < h->room_queued)
		return 0;
	queue = realloc(h->queue, room * sizeof(struct sem_queued *));
	if (!queue)
		return -ENOMEM;
	h->queue = queue;
	h->room_queued = room;
	return 0;
}

int dipc_sem_queue_at(struct sem_hold *h, unsigned i, struct sem_queued **q_out)
{
	int ret = 0;

	while (i >= h->nr_queued && h->next_unread) {
		struct sem_queued *q;

		ret = h->nr_queued < QUEUE_MAX ? queue_grow(h) : -EPROTO;
		if (ret == 0)
			ret = queued_read(h, h->next_unread, &q);
		if (ret == -EPROTO || ret == -ENOMEM)
			dipc_error("set %d: cannot read the waiter at 0x%llx: "
				   "%s",
				   h->set->id,
				   (unsigned long long)h->next_unread,
				   strerror(-ret));
		if (ret)
			return ret;
		h->queue[h->nr_queued++] = q;
		h->next_unread = q->next;
	}
	*q_out = i < h->nr_queued ? h->queue[i] : NULL;
	return 0;
}

void dipc_sem_queue_free(struct sem_hold *h)
{
	unsigned i;

	for (i = 0; i < h->nr_queued; i++)
		free(h->queue[i]);
	free(h->queue);
	h->queue = NULL;
	h->nr_queued = 0;
	h->room_queued = 0;
}

static bool queued_touches(const struct sem_queued *q, uint32_t num)
{
	unsigned i;

	for (i = 0; i < q->nr; i++)
		if (q->ops[i].num == num)
			return true;
	return false;
}

bool dipc_sem_queue_touches(const struct sem_hold *h, uint32_t num)
{
	unsigned i;

	for (i = 0; i < h->nr_queued; i++)
		if (!h->queue[i]->is_gone && queued_touches(h->queue[i], num))
			return true;
	return false;
}

/* ---- unlinking ---------------------------------------------------------- */

static void record_write(struct sem_batch *b, uint64_t off, size_t field,
			 const void *src, size_t len)
{
	dipc_sem_batch_write(b, off + field, src, len);
}

/*
 * The neighbours' links and ours. PREV, NEXT: 0 at the ends. The write of
 * `first` or of prev's `next` is what takes the record out; it comes first.
 */
static void unlink_in(struct sem_hold *h, struct sem_batch *b, uint64_t off,
		      uint64_t prev, uint64_t next, bool is_complex)
{
	struct dipc_arena_sem *sem = &h->obj.sem;
	const uint32_t is_linked = 0;

	sem->nr_waiters -= sem->nr_waiters > 0;
	if (is_complex)
		sem->nr_complex -= sem->nr_complex > 0;
	if (!next)
		sem->last = prev;
	h->is_queue_changed = true;
	if (prev) {
		record_write(b, prev, offsetof(struct dipc_arena_waiter, next),
			     &next, 8);
	} else {
		sem->first = next;
		dipc_sem_batch_write(
			b,
			sem_slot_off(h->sems->fabric, h->set) +
				offsetof(struct dipc_arena_object, sem.first),
			&next, 8);
	}
	if (next)
		record_write(b, next, offsetof(struct dipc_arena_waiter, prev),
			     &prev, 8);
	record_write(b, off, offsetof(struct dipc_arena_waiter, is_linked),
		     &is_linked, sizeof(is_linked));
}

void dipc_sem_queue_unlink(struct sem_hold *h, struct sem_batch *b,
			   struct sem_queued *q)
{
	uint64_t prev = 0, next = h->next_unread;
	bool is_before = true;
	unsigned i;

	for (i = 0; i < h->nr_queued; i++) {
		if (h->queue[i] == q) {
			is_before = false;
		} else if (h->queue[i]->is_gone) {
			continue;
		} else if (is_before) {
			prev = h->queue[i]->off;
		} else {
			next = h->queue[i]->off;
			break;
		}
	}
	unlink_in(h, b, q->off, prev, next, q->is_complex);
	q->is_gone = true;
}

/* ---- completing --------------------------------------------------------- */

int dipc_sem_queue_complete(struct sem_hold *h, struct sem_queued *q,
			    int32_t result)
{
	uint64_t pending = dipc_waiter_state(DIPC_WAITER_PENDING, q->seq, 0);
	uint64_t done = dipc_waiter_state(DIPC_WAITER_DONE, q->seq,
					  sem_told(h, result));
	const uint64_t *old;
	struct sem_batch b;
	bool is_won;
	int ret;

	/* see REDO-FIRST */
	dipc_sem_batch_init(&b, h->sems->fabric);
	dipc_sem_hold_commit(h, &b);
	dipc_sem_hold_redo(h, &b, q, result);
	dipc_sem_queue_unlink(h, &b, q);
	old = dipc_sem_batch_try(&b, q->off, pending, done);
	ret = dipc_sem_batch_run(&b);
	is_won = ret == 0 && *old == pending;
	dipc_sem_batch_end(&b);
	if (ret)
		return ret;
	if (!is_won)
		return 0; /* cancelled: its owner finds it unlinked */
	if (result == 0) {
		dipc_sem_hold_apply(h, q->ops, q->nr, q->who);
		h->is_covered = true;
		h->has_woken = true;
	}
	h->set->likely_first = q->off;
	dipc_fabric_wake(h->sems->fabric, q->node, q->index);
	return 0;
}

static bool queue_is_affected(struct sem_hold *h, const struct sem_queued *q)
{
	unsigned i;

	for (i = 0; i < q->nr; i++) {
		const struct sem_held *held = dipc_sem_held(h, q->ops[i].num);

		if (held && held->is_altered)
			return true;
	}
	return false;
}

/* 1: completed with success, so that others may be possible now. */
static int queue_advance(struct sem_hold *h, struct sem_queued *q)
{
	int ret, result;

	if (q->is_gone || !queue_is_affected(h, q))
		return 0;
	ret = dipc_sem_hold_more(h, q->ops, q->nr);
	if (ret)
		return ret;
	result = dipc_sem_hold_try(h, q->ops, q->nr, q->refused, NULL);
	if (result > 0)
		return 0;
	ret = dipc_sem_queue_complete(h, q, result);
	if (ret)
		return ret;
	return result == 0;
}

/*
 * Only decrements of one semaphore wait: none of them can go on once every
 * altered semaphore is at 0, so the rest of the list need not be read.
 */
static bool wake_is_over(struct sem_hold *h)
{
	unsigned i;

	if (h->obj.sem.nr_complex)
		return false;
	for (i = 0; i < h->nr_held; i++)
		if (h->set->held[i].is_altered && h->set->held[i].value > 0)
			return false;
	return true;
}

/* One pass over those that alter, or those that only wait for zero. */
static int wake_pass(struct sem_hold *h, bool alter, bool *must_restart_out)
{
	struct sem_queued *q;
	unsigned i;
	int ret;

	*must_restart_out = false;
	for (i = 0; !wake_is_over(h); i++) {
		ret = dipc_sem_queue_at(h, i, &q);
		if (ret || !q)
			return ret;
		if (q->is_alter != alter)
			continue;
		ret = queue_advance(h, q);
		if (ret < 0)
			return ret;
		/*
		 * As update_queue(): what a simple decrement leaves can help
		 * no other simple one, but anything else must be seen again.
		 */
		if (ret && alter && h->obj.sem.nr_complex + q->is_complex) {
			*must_restart_out = true;
			return 0;
		}
	}
	return 0;
}

static bool wake_is_needed(const struct sem_hold *h)
{
	unsigned i;

	if (!h->obj.sem.nr_waiters && !h->next_unread)
		return false;
	for (i = 0; i < h->nr_held; i++)
		if (h->set->held[i].is_altered && h->set->held[i].has_waiters)
			return true;
	return false;
}

int dipc_sem_queue_wake(struct sem_hold *h)
{
	bool must_restart = true;
	int ret = 0;

	if (!wake_is_needed(h))
		return 0;
	while (ret == 0 && must_restart) {
		must_restart = false;
		if (h->obj.sem.nr_complex)
			ret = wake_pass(h, false, &must_restart);
		if (ret == 0)
			ret = wake_pass(h, true, &must_restart);
	}
	/* logged; our own operation is sound, and the lock must go back */
	return ret == -ENOMEM || ret == -EPROTO ? 0 : ret;
}

/* ---- sleepers ----------------------------------------------------------- */

int dipc_sem_sleeper_get(struct sem_sleeper *s, struct dipc_waiters *ws,
			 unsigned nr_ops, uint64_t deadline,
			 struct dipc_cancel *cancel)
{
	unsigned nr = (nr_ops + DIPC_WAITER_OPS - 1) / DIPC_WAITER_OPS;
	int ret;

	s->nr = 0;
	s->w = calloc(nr, sizeof(*s->w));
	if (!s->w)
		return -ENOMEM;
	while (s->nr < nr) {
		ret = dipc_waiter_get(ws, deadline, cancel, &s->w[s->nr]);
		if (ret) {
			dipc_sem_sleeper_put(s);
			return ret;
		}
		s->nr++;
	}
	return 0;
}

void dipc_sem_sleeper_put(struct sem_sleeper *s)
{
	while (s->nr)
		dipc_waiter_put(&s->w[--s->nr]);
	free(s->w);
	s->w = NULL;
}

/* Record I of the sleeper, with its share of the operations. */
static void sleeper_write(struct sem_hold *h, const struct sem_sleeper *s,
			  unsigned i, const struct dipc_arena_sembuf *ops,
			  unsigned nr, unsigned refused, uint32_t pid,
			  struct sem_batch *b)
{
	unsigned first = i * DIPC_WAITER_OPS;
	unsigned part = nr - first;
	struct dipc_arena_waiter rec;

	if (part > DIPC_WAITER_OPS)
		part = DIPC_WAITER_OPS;
	memset(&rec, 0, sizeof(rec));
	rec.state = dipc_waiter_pending(&s->w[i]);
	rec.id = h->set->id;
	rec.node = (uint16_t)dipc_fabric_node(h->sems->fabric);
	rec.index = (uint16_t)s->w[i].index;
	rec.pid = pid;
	rec.nr_ops = nr;
	rec.flags = refused < nr ? refused + 1 : 0;
	rec.more_ops = i + 1 < s->nr ? s->w[i + 1].off : 0;
	if (i == 0) {
		rec.prev = h->obj.sem.last;
		rec.is_linked = 1;
	}
	memcpy(rec.ops, &ops[first], part * sizeof(rec.ops[0]));
	dipc_sem_batch_write(b, s->w[i].off, &rec,
			     offsetof(struct dipc_arena_waiter, ops) +
				     part * sizeof(rec.ops[0]));
}

void dipc_sem_sleeper_link(struct sem_hold *h, struct sem_sleeper *s,
			   const struct dipc_arena_sembuf *ops, unsigned nr,
			   unsigned refused, uint32_t pid, struct sem_batch *b)
{
	struct dipc_arena_sem *sem = &h->obj.sem;
	uint64_t off = s->w[0].off;
	unsigned i;

	s->is_linked = true;
	for (i = s->nr; i-- > 0;)
		sleeper_write(h, s, i, ops, nr, refused, pid, b);
	/* the words, frozen until then, get the waiters bit as we finish */
	for (i = 0; i < nr; i++)
		dipc_sem_held(h, ops[i].num)->is_joined = true;
	if (sem->last)
		record_write(b, sem->last,
			     offsetof(struct dipc_arena_waiter, next), &off, 8);
	else
		sem->first = off;
	sem->last = off;
	sem->nr_waiters++;
	if (ops_are_complex(ops, nr))
		sem->nr_complex++;
	h->is_queue_changed = true;
}

int dipc_sem_sleeper_withdraw(struct dipc_sems *sems, struct sem_set *set,
			      struct sem_sleeper *s,
			      const struct dipc_arena_sembuf *ops, unsigned nr)
{
	struct sem_batch b;
	struct sem_hold h;
	int ret;

	/*
	 * Of a removed set too: the remover may still have to walk over our
	 * record. -EINVAL: it has long done so.
	 */
	ret = dipc_sem_hold_lock(&h, sems, set, ops, nr, false, s->w[0].off);
	if (ret == -EINVAL)
		return 0;
	if (ret)
		return ret;
	dipc_sem_batch_init(&b, sems->fabric);
	if (h.peek.record.is_linked)
		unlink_in(&h, &b, s->w[0].off, h.peek.record.prev,
			  h.peek.record.next, ops_are_complex(ops, nr));
	return dipc_sem_hold_finish(
		&h, &b, h.obj.state & DIPC_OBJECT_REMOVED ? true : false);
}
