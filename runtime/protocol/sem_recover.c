/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the referee does to sets: remove them, take the lock of a dead holder
 * away, drop the sleepers of a dead node. The dead are fenced before.
 *
 * Recovery goes on under the dead holder's own lock word, since that is what
 * makes its redo record valid: a recovery that stops half-way is done again.
 */
#include "runtime/protocol/sem_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/log.h"

#define QUEUE_MAX  (DIPC_NODES_MAX * DIPC_WAITERS_PER_NODE)
#define WORDS_PART 4096u

/* A set of SLOT as it stands, and a service of the referee's for it. */
static int target_open(struct dipc_fabric *f, uint32_t slot,
		       struct dipc_sems **sems_out, struct sem_set **set_out)
{
	struct dipc_arena_object obj;
	struct dipc_sems *sems;
	struct sem_set *set;
	int ret;

	if (slot >= dipc_fabric_super(f)->nr_slots)
		return -EINVAL;
	ret = dipc_arena_read(f, dipc_object_off(dipc_fabric_super(f), slot),
			      &obj, sizeof(obj));
	if (ret)
		return ret;
	if ((obj.state & ~DIPC_OBJECT_REMOVED) >> 32 != DIPC_KIND_SEM)
		return -EINVAL;
	ret = dipc_sems_create(f, NULL, &sems);
	if (ret)
		return ret;
	ret = dipc_sem_set_make(&obj, &set);
	if (ret) {
		dipc_sems_destroy(sems);
		return ret;
	}
	set->nr_users = 1;
	set->is_gone = true; /* in no cache: freed with its last user */
	*sems_out = sems;
	*set_out = set;
	return 0;
}

static void target_close(struct dipc_sems *sems, struct sem_set *set)
{
	dipc_sem_set_put(sems, set);
	dipc_sems_destroy(sems);
}

/* ---- removal ------------------------------------------------------------ */

int dipc_sem_remove(struct dipc_fabric *f, uint32_t slot)
{
	struct sem_queued *q = NULL;
	struct dipc_sems *sems;
	struct sem_set *set;
	struct sem_batch b;
	struct sem_hold h;
	unsigned i;
	int ret;

	ret = target_open(f, slot, &sems, &set);
	if (ret)
		return ret;
	ret = dipc_sem_hold_lock(&h, sems, set, NULL, 0, false, 0);
	if (ret)
		goto out_close;
	for (i = 0; ret == 0; i++) {
		ret = dipc_sem_queue_at(&h, i, &q);
		if (ret || !q)
			break;
		ret = dipc_sem_queue_complete(&h, q, -EIDRM);
	}
	if (ret && ret != -EPROTO) {
		dipc_sem_hold_abandon(&h);
		goto out_close;
	}
	/* from a frozen word no fast path starts, and no slow one gets here */
	dipc_sem_batch_init(&b, f);
	ret = dipc_sem_hold_finish(&h, &b, true);
out_close:
	target_close(sems, set);
	return ret;
}

/* ---- a dead node's sleepers --------------------------------------------- */

static int evict_one(struct sem_hold *h, struct sem_queued *q)
{
	struct sem_batch b;
	int ret;

	dipc_sem_batch_init(&b, h->sems->fabric);
	dipc_sem_queue_unlink(h, &b, q);
	(void)dipc_sem_batch_try(
		&b, q->off, dipc_waiter_state(DIPC_WAITER_PENDING, q->seq, 0),
		dipc_waiter_state(DIPC_WAITER_CANCELLED, q->seq, 0));
	ret = dipc_sem_batch_run(&b);
	dipc_sem_batch_end(&b);
	return ret;
}

int dipc_sem_evict(struct dipc_fabric *f, uint32_t slot, unsigned node)
{
	const struct dipc_arena_sembuf none = {0};
	struct sem_queued *q = NULL;
	struct dipc_sems *sems;
	struct sem_set *set;
	struct sem_batch b;
	struct sem_hold h;
	unsigned i;
	int ret;

	ret = target_open(f, slot, &sems, &set);
	if (ret)
		return ret;
	/* no words: a waiters bit too many is harmless */
	ret = dipc_sem_hold_lock(&h, sems, set, &none, 0, false, 0);
	if (ret)
		goto out_close;
	for (i = 0; ret == 0; i++) {
		ret = dipc_sem_queue_at(&h, i, &q);
		if (ret || !q)
			break;
		if (q->node == node)
			ret = evict_one(&h, q);
	}
	if (ret && ret != -EPROTO) {
		dipc_sem_hold_abandon(&h);
		goto out_close;
	}
	dipc_sem_batch_init(&b, f);
	ret = dipc_sem_hold_finish(&h, &b, false);
out_close:
	target_close(sems, set);
	return ret;
}

/* ---- a dead holder ------------------------------------------------------ */

struct recovery {
	struct dipc_fabric *fabric;
	struct dipc_arena_object obj;
	uint64_t obj_off;
	struct dipc_arena_redo redo; /* lock 0: none is valid */
};

/* The valid redo record's head; a peer wrote it, so it is checked. */
static int redo_find(struct recovery *r)
{
	const struct dipc_arena_sem *sem = &r->obj.sem;
	uint64_t size =
		sizeof(r->redo) +
		(uint64_t)sem->nr * sizeof(struct dipc_arena_redo_entry);
	int ret;

	memset(&r->redo, 0, sizeof(r->redo));
	if (sem->redo != sem->redo_area && sem->redo != sem->redo_area + size)
		return 0;
	ret = dipc_arena_read(r->fabric, sem->redo, &r->redo, sizeof(r->redo));
	if (ret)
		return ret;
	if (r->redo.lock != r->obj.lock || r->redo.nr > sem->nr)
		memset(&r->redo, 0, sizeof(r->redo));
	return 0;
}

static void queue_relink(struct sem_batch *b, uint64_t off, uint64_t prev,
			 uint64_t next)
{
	const uint64_t link[2] = {next, prev};

	dipc_sem_batch_write(b, off + offsetof(struct dipc_arena_waiter, next),
			     link, sizeof(link));
}

static void queue_drop(struct sem_batch *b, uint64_t off)
{
	const uint32_t is_linked = 0;

	dipc_sem_batch_write(
		b, off + offsetof(struct dipc_arena_waiter, is_linked),
		&is_linked, sizeof(is_linked));
}

/*
 * Walk the list by `next` and write it anew, without the waiter of the redo
 * (which comes out of the list before it is done) and without sleepers of the
 * dead node. See QUEUE-TRUTH.
 */
static int queue_rebuild(struct recovery *r)
{
	struct dipc_arena_sem *sem = &r->obj.sem;
	uint64_t off = sem->first, prev = 0, prev_prev = 0;
	unsigned dead = (unsigned)(r->obj.lock >> 56), nr = 0;
	struct dipc_arena_waiter rec;
	struct sem_batch b;
	int ret = 0;

	dipc_sem_batch_init(&b, r->fabric);
	sem->first = 0;
	sem->nr_waiters = 0;
	sem->nr_complex = 0;
	while (off && nr++ < QUEUE_MAX) {
		uint64_t next;

		ret = dipc_arena_read(r->fabric, off, &rec, SEM_PEEK);
		if (ret || rec.id != r->obj.id)
			break;
		next = rec.next;
		if (off == r->redo.waiter || (dead && rec.node == dead)) {
			queue_drop(&b, off);
			off = next;
			continue;
		}
		if (prev)
			queue_relink(&b, prev, prev_prev, off);
		else
			sem->first = off;
		sem->nr_waiters++;
		sem->nr_complex += rec.nr_ops > 1 || !rec.ops[0].op;
		prev_prev = prev;
		prev = off;
		off = next;
	}
	if (prev)
		queue_relink(&b, prev, prev_prev, 0);
	sem->last = prev;
	dipc_sem_batch_write(
		&b, r->obj_off + offsetof(struct dipc_arena_object, sem.first),
		&sem->first,
		sizeof(*sem) - offsetof(struct dipc_arena_sem, first));
	if (ret == 0)
		ret = dipc_sem_batch_run(&b);
	dipc_sem_batch_end(&b);
	return ret;
}

/*
 * Has the redo's waiter been completed? If it is still pending, it is now. A
 * cancelled record waits for this lock, so it cannot have been used again; any
 * other state means that it was done.
 */
static int redo_settle(struct recovery *r, bool *is_done_out)
{
	uint32_t seq = dipc_waiter_seq(r->redo.pending);
	uint64_t cancelled = dipc_waiter_state(DIPC_WAITER_CANCELLED, seq, 0);
	struct dipc_arena_waiter rec;
	struct sem_batch b;
	const uint64_t *old;
	int ret;

	ret = dipc_arena_read(r->fabric, r->redo.waiter, &rec, SEM_PEEK);
	if (ret)
		return ret;
	*is_done_out = true;
	if (rec.state != r->redo.pending && rec.state != cancelled)
		return 0;
	dipc_sem_batch_init(&b, r->fabric);
	queue_drop(&b, r->redo.waiter);
	old = dipc_sem_batch_try(&b, r->redo.waiter, r->redo.pending,
				 r->redo.done);
	ret = dipc_sem_batch_run(&b);
	if (ret == 0)
		*is_done_out = *old != cancelled;
	dipc_sem_batch_end(&b);
	if (ret == 0)
		dipc_fabric_wake(r->fabric, rec.node, rec.index);
	return ret;
}

/* Idempotent: a word that is no longer as it was has been changed already. */
static int redo_apply(struct recovery *r)
{
	uint64_t off = r->obj.sem.redo + sizeof(r->redo);
	uint64_t words = r->obj.sem.words;
	struct dipc_arena_redo_entry entry;
	uint64_t old;
	uint32_t i;
	int ret;

	for (i = 0; i < r->redo.nr; i++, off += sizeof(entry)) {
		ret = dipc_arena_read(r->fabric, off, &entry, sizeof(entry));
		if (ret)
			return ret;
		if (entry.word < words || entry.word % 8 ||
		    entry.word >= words + 8ull * r->obj.sem.nr)
			return -EPROTO;
		ret = dipc_arena_cas(r->fabric, entry.word, entry.old_word,
				     entry.new_word, &old);
		if (ret)
			return ret;
	}
	return 0;
}

static int redo_finish(struct recovery *r)
{
	bool is_done = true;
	int ret = 0;

	if (!r->redo.lock)
		return 0;
	if (r->redo.waiter)
		ret = redo_settle(r, &is_done);
	if (ret == 0 && is_done)
		ret = redo_apply(r);
	return ret;
}

/* Hold every busy word, as the dead holder would. */
static int hold_busy(struct sem_hold *h)
{
	struct dipc_fabric *f = h->sems->fabric;
	struct sem_set *set = h->set;
	uint64_t *words = calloc(WORDS_PART, sizeof(*words));
	uint32_t i, k, part;
	int ret = words ? 0 : -ENOMEM;

	for (i = 0; ret == 0 && i < set->nr; i += part) {
		part = set->nr - i < WORDS_PART ? set->nr - i : WORDS_PART;
		ret = dipc_arena_read(f, sem_word_off(set, i), words,
				      part * sizeof(*words));
		for (k = 0; ret == 0 && k < part; k++)
			if (words[k] & SEM_BUSY)
				dipc_sem_hold_add(h, i + k, words[k]);
	}
	free(words);
	return ret ? ret : dipc_sem_hold_freeze(h);
}

/* Somebody may have become possible just before the holder died. */
static int recover_wake(struct recovery *r, struct dipc_sems *sems,
			struct sem_set *set, const struct dipc_lock *lock)
{
	struct sem_batch b;
	struct sem_hold h;
	unsigned i;
	int ret;

	memset(&h, 0, sizeof(h));
	h.sems = sems;
	h.set = set;
	h.lock = *lock;
	h.obj = r->obj;
	h.next_unread = r->obj.sem.first;
	ret = hold_busy(&h);
	for (i = 0; i < h.nr_held; i++)
		set->held[i].is_altered = true;
	if (ret == 0)
		ret = dipc_sem_queue_wake(&h);
	if (ret) {
		dipc_sem_hold_abandon(&h);
		return ret;
	}
	dipc_sem_batch_init(&b, r->fabric);
	return dipc_sem_hold_finish(
		&h, &b, r->obj.state & DIPC_OBJECT_REMOVED ? true : false);
}

int dipc_sem_recover(struct dipc_fabric *f, uint32_t slot)
{
	struct recovery r = {.fabric = f};
	struct dipc_sems *sems;
	struct dipc_lock lock;
	struct sem_set *set;
	int ret;

	ret = target_open(f, slot, &sems, &set);
	if (ret)
		return ret;
	r.obj = set->obj;
	r.obj_off = dipc_object_off(dipc_fabric_super(f), slot);
	if (!r.obj.lock)
		goto out_close;
	ret = dipc_object_lock_inherit(f, slot, r.obj.lock, &lock);
	if (ret)
		goto out_close;
	ret = redo_find(&r);
	if (ret == 0)
		ret = queue_rebuild(&r);
	if (ret == 0)
		ret = redo_finish(&r);
	if (ret) {
		dipc_lock_released(&lock);
		goto out_close;
	}
	ret = recover_wake(&r, sems, set, &lock);
out_close:
	target_close(sems, set);
	return ret;
}
