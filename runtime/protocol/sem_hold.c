/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Holding a set: its lock, and words that nobody else can change meanwhile.
 *
 * STABLE: under the lock a word with the waiters bit is ours to change, and so
 * is one that we froze with a stamp of our own. Nobody else touches either:
 * fast paths refuse both bits; a node that froze a word while its try for the
 * lock failed thaws it by comparing with its own stamp, which ours replaced.
 */
#include "runtime/protocol/sem_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- words -------------------------------------------------------------- */

uint64_t dipc_sem_word_make(struct dipc_sems *sems, int32_t value,
			    uint64_t flags, uint32_t who)
{
	uint32_t mask = (1u << DIPC_SEM_SEQ_BITS) - 1;

	/* sequence 0 is not used, so that no word is 0 */
	sems->seq = (sems->seq + 1) & mask;
	if (!sems->seq)
		sems->seq = 1;
	return ((uint64_t)value & DIPC_SEM_VALUE) | flags |
	       (uint64_t)who << DIPC_SEM_WHO_SHIFT |
	       (uint64_t)dipc_fabric_node(sems->fabric) << DIPC_SEM_NODE_SHIFT |
	       (uint64_t)sems->seq << DIPC_SEM_SEQ_SHIFT;
}

struct sem_held *dipc_sem_held(struct sem_hold *h, uint32_t num)
{
	uint32_t pos = h->set->word[num].held;

	return pos ? &h->set->held[pos - 1] : NULL;
}

/* Called with the object's lock within this node. */
static void hold_add(struct sem_hold *h, uint32_t num)
{
	struct sem_held *held;

	if (h->set->word[num].held)
		return;
	held = &h->set->held[h->nr_held++];
	memset(held, 0, sizeof(*held));
	held->num = num;
	h->set->word[num].held = h->nr_held;
}

static void hold_add_all(struct sem_hold *h)
{
	uint32_t i;

	if (!h->ops)
		for (i = 0; i < h->set->nr; i++)
			hold_add(h, i);
	else
		for (i = 0; i < h->nr_ops; i++)
			hold_add(h, h->ops[i].num);
}

static void held_set(struct sem_held *held, uint64_t word, bool is_ours)
{
	held->at = word;
	held->value = sem_word_value(word);
	held->who = sem_word_who(word);
	held->is_stable = is_ours || (word & DIPC_SEM_WAITERS);
	held->has_waiters = word & DIPC_SEM_WAITERS;
}

void dipc_sem_hold_add(struct sem_hold *h, uint32_t num, uint64_t word)
{
	hold_add(h, num);
	held_set(dipc_sem_held(h, num), word, false);
	h->set->word[num].seen = word;
}

/* Let go of the words, not of the lock. */
static void hold_drop_words(struct sem_hold *h)
{
	unsigned i;

	for (i = 0; i < h->nr_held; i++)
		h->set->word[h->set->held[i].num].held = 0;
	h->nr_held = 0;
}

/* ---- what goes along with the lock -------------------------------------- */

static void ride_add(void *arg, struct dipc_tx *tx, unsigned attempt)
{
	struct sem_hold *h = arg;
	unsigned room = DIPC_LOCK_RIDE - (h->peek_off ? 1 : 0);
	unsigned i;

	if (attempt == 0) {
		h->lock_started = dipc_fabric_now(h->sems->fabric);
		hold_add_all(h);
	}
	h->nr_rode = h->nr_held < room ? h->nr_held : room;
	for (i = 0; i < h->nr_rode; i++) {
		uint32_t num = h->set->held[i].num;
		uint64_t seen = h->set->word[num].seen;
		struct dipc_remote at =
			dipc_tx_at(tx->link, sem_word_off(h->set, num));

		h->rode[i].frozen = 0;
		/*
		 * Freeze at the first try only: where the lock is contended it
		 * would send everybody to the slow path for nothing.
		 */
		if (attempt || !seen || (seen & SEM_BUSY)) {
			h->rode[i].result = dipc_tx_read(tx, at, 8);
			continue;
		}
		h->rode[i].guess = seen;
		h->rode[i].frozen =
			dipc_sem_word_make(h->sems, sem_word_value(seen),
					   DIPC_SEM_FROZEN, sem_word_who(seen));
		h->rode[i].result =
			dipc_tx_cas(tx, at, seen, h->rode[i].frozen);
	}
	if (h->peek_off)
		h->peek_at = dipc_tx_read(tx, dipc_tx_at(tx->link, h->peek_off),
					  SEM_PEEK);
}

/* Not locked: give back what was frozen. A CAS that fails lost to a holder. */
static void ride_thaw(struct sem_hold *h)
{
	struct sem_batch b;
	unsigned i;

	dipc_sem_batch_init(&b, h->sems->fabric);
	for (i = 0; i < h->nr_rode; i++) {
		uint32_t num = h->set->held[i].num;

		if (!h->rode[i].frozen ||
		    *h->rode[i].result != h->rode[i].guess)
			continue;
		(void)dipc_sem_batch_try(&b, sem_word_off(h->set, num),
					 h->rode[i].frozen, h->rode[i].guess);
	}
	if (b.tx.link)
		(void)dipc_tx_post(&b.tx);
}

static void ride_seen(void *arg, bool is_locked)
{
	struct sem_hold *h = arg;
	unsigned i;

	for (i = 0; i < h->nr_rode; i++) {
		struct sem_held *held = &h->set->held[i];
		uint64_t word = *h->rode[i].result;
		bool is_ours = h->rode[i].frozen && word == h->rode[i].guess;

		h->set->word[held->num].seen = word;
		if (!is_locked)
			continue;
		held_set(held, is_ours ? h->rode[i].frozen : word, is_ours);
		h->set->word[held->num].seen = held->at;
	}
	if (!is_locked) {
		ride_thaw(h);
	} else if (h->peek_off) {
		memcpy(h->peek.raw, h->peek_at, SEM_PEEK);
		h->has_peek = true;
	}
}

int dipc_sem_hold_freeze(struct sem_hold *h)
{
	const uint64_t *result[DIPC_TX_MAX];
	uint64_t frozen[DIPC_TX_MAX];
	unsigned pos[DIPC_TX_MAX];
	unsigned i = 0, k, nr;
	struct sem_batch b;
	int ret;

	while (i < h->nr_held) {
		unsigned first = h->nr_held;

		dipc_sem_batch_init(&b, h->sems->fabric);
		for (nr = 0; i < h->nr_held && nr < DIPC_TX_MAX; i++) {
			struct sem_held *held = &h->set->held[i];

			if (held->is_stable)
				continue;
			if (!held->at)
				held->at = h->set->word[held->num].seen;
			frozen[nr] = dipc_sem_word_make(
				h->sems, sem_word_value(held->at),
				DIPC_SEM_FROZEN | (held->at & DIPC_SEM_WAITERS),
				sem_word_who(held->at));
			result[nr] = dipc_sem_batch_try(
				&b, sem_word_off(h->set, held->num), held->at,
				frozen[nr]);
			pos[nr++] = i;
		}
		ret = dipc_sem_batch_run(&b);
		for (k = 0; ret == 0 && k < nr; k++) {
			struct sem_held *held = &h->set->held[pos[k]];
			bool is_ours = *result[k] == held->at;

			held_set(held, is_ours ? frozen[k] : *result[k],
				 is_ours);
			h->set->word[held->num].seen = held->at;
			if (!held->is_stable && pos[k] < first)
				first = pos[k];
		}
		dipc_sem_batch_end(&b);
		if (ret)
			return ret;
		if (first < i)
			i = first; /* lost to a fast path: from there again */
	}
	return 0;
}

/* ---- taking and leaving ------------------------------------------------- */

int dipc_sem_hold_lock(struct sem_hold *h, struct dipc_sems *sems,
		       struct sem_set *set, const struct dipc_arena_sembuf *ops,
		       unsigned nr, bool must_live, uint64_t peek)
{
	struct dipc_lock_ride ride = {
		.bytes = 8 * DIPC_LOCK_RIDE + SEM_PEEK,
		.add = ride_add,
		.seen = ride_seen,
		.arg = h,
	};
	int ret;

	memset(h, 0, sizeof(*h));
	h->sems = sems;
	h->set = set;
	h->ops = ops;
	h->nr_ops = nr;
	h->peek_off = peek;
	ret = dipc_object_lock_slot(sems->fabric, dipc_id_slot(set->id), &ride,
				    &h->lock, &h->obj);
	if (ret) {
		hold_drop_words(h);
		return ret;
	}
	ret = dipc_object_check(&h->obj, set->id, DIPC_KIND_SEM);
	if (ret == -EINVAL || (ret && must_live)) {
		hold_drop_words(h);
		dipc_object_unlock(&h->lock);
		set->is_gone = true;
		return ret;
	}
	dipc_sem_set_trust(set, &h->obj, h->lock_started);
	h->next_unread = h->obj.sem.first;
	ret = dipc_sem_hold_freeze(h);
	if (ret)
		dipc_sem_hold_abandon(h);
	return ret;
}

int dipc_sem_hold_more(struct sem_hold *h, const struct dipc_arena_sembuf *ops,
		       unsigned nr)
{
	unsigned i;
	int ret;

	for (i = 0; i < nr; i++) {
		uint64_t word;

		if (dipc_sem_held(h, ops[i].num))
			continue;
		ret = dipc_arena_read(h->sems->fabric,
				      sem_word_off(h->set, ops[i].num), &word,
				      sizeof(word));
		if (ret)
			return ret;
		dipc_sem_hold_add(h, ops[i].num, word);
	}
	/* the waiters bit makes them stable; if it is missing, freezing does */
	return dipc_sem_hold_freeze(h);
}

void dipc_sem_hold_abandon(struct sem_hold *h)
{
	unsigned i;

	/* what landed is not known */
	for (i = 0; i < h->nr_held; i++)
		h->set->word[h->set->held[i].num].seen = 0;
	hold_drop_words(h);
	dipc_sem_queue_free(h);
	dipc_lock_released(&h->lock);
}

/* ---- trying and deciding ------------------------------------------------ */

int dipc_sem_hold_try(struct sem_hold *h, const struct dipc_arena_sembuf *ops,
		      unsigned nr, unsigned refused, unsigned *blocking_out)
{
	unsigned i;

	for (i = 0; i < nr; i++) {
		struct sem_held *held = dipc_sem_held(h, ops[i].num);

		held->next = held->value;
	}
	for (i = 0; i < nr; i++) {
		struct sem_held *held = dipc_sem_held(h, ops[i].num);
		int32_t next = held->next + ops[i].op;

		if ((!ops[i].op && held->next) || next < 0) {
			if (blocking_out)
				*blocking_out = i;
			return ops[i].flags & IPC_NOWAIT ? -EAGAIN : 1;
		}
		if (next > SEM_VALUE_MAX || i == refused)
			return -ERANGE;
		held->next = next;
	}
	return 0;
}

void dipc_sem_hold_apply(struct sem_hold *h,
			 const struct dipc_arena_sembuf *ops, unsigned nr,
			 uint32_t who)
{
	unsigned i;

	for (i = 0; i < nr; i++) {
		struct sem_held *held = dipc_sem_held(h, ops[i].num);

		if (held->value != held->next)
			held->is_altered = true;
		held->value = held->next;
		held->who = who;
		held->is_stamped = true;
	}
}

/* ---- committing --------------------------------------------------------- */

/* Entries gathered in BUF, flushed to OFF. Owned by its user. */
struct redo_writer {
	struct sem_batch *b;
	uint64_t off;
	unsigned nr;
	struct dipc_arena_redo_entry buf[32];
};

static void redo_flush(struct redo_writer *rw)
{
	size_t len = rw->nr * sizeof(rw->buf[0]);

	dipc_sem_batch_write(rw->b, rw->off, rw->buf, len);
	rw->off += len;
	rw->nr = 0;
}

static void redo_entry(struct redo_writer *rw, uint64_t word_off, uint64_t old,
		       uint64_t new)
{
	if (rw->nr == sizeof(rw->buf) / sizeof(rw->buf[0]))
		redo_flush(rw);
	rw->buf[rw->nr].word = word_off;
	rw->buf[rw->nr].old_word = old;
	rw->buf[rw->nr].new_word = new;
	rw->nr++;
}

/* The area that is not valid now: two, since a WRITE may land by halves. */
static uint64_t redo_area(const struct sem_hold *h)
{
	uint64_t size =
		sizeof(struct dipc_arena_redo) +
		(uint64_t)h->obj.sem.nr * sizeof(struct dipc_arena_redo_entry);

	return h->obj.sem.redo == h->obj.sem.redo_area
		       ? h->obj.sem.redo_area + size
		       : h->obj.sem.redo_area;
}

static void redo_start(struct sem_hold *h, struct sem_batch *b,
		       struct redo_writer *rw)
{
	rw->b = b;
	rw->off = redo_area(h) + sizeof(struct dipc_arena_redo);
	rw->nr = 0;
}

/* Head last, then the pointer: only that makes the record valid. */
static void redo_publish(struct sem_hold *h, struct redo_writer *rw,
			 struct dipc_arena_redo *head)
{
	uint64_t area = redo_area(h);

	redo_flush(rw);
	head->lock = h->lock.word;
	dipc_sem_batch_write(rw->b, area, head, sizeof(*head));
	h->obj.sem.redo = area;
	dipc_sem_batch_write(
		rw->b,
		sem_slot_off(h->sems->fabric, h->set) +
			offsetof(struct dipc_arena_object, sem.redo),
		&area, sizeof(area));
}

static uint64_t held_word(struct sem_hold *h, const struct sem_held *held,
			  int32_t value, uint32_t who)
{
	return dipc_sem_word_make(h->sems, value, held->at & SEM_BUSY, who);
}

static bool held_is_decided(const struct sem_held *held)
{
	return held->is_stamped || held->value != sem_word_value(held->at);
}

void dipc_sem_hold_redo(struct sem_hold *h, struct sem_batch *b,
			const struct sem_queued *q, int32_t result)
{
	struct dipc_arena_redo head = {
		.waiter = q->off,
		.pending = dipc_waiter_state(DIPC_WAITER_PENDING, q->seq, 0),
		.done = dipc_waiter_state(DIPC_WAITER_DONE, q->seq,
					  sem_told(h, result)),
	};
	struct redo_writer rw;
	unsigned i;

	redo_start(h, b, &rw);
	h->mark++;
	for (i = 0; result == 0 && i < q->nr; i++) {
		struct sem_held *held = dipc_sem_held(h, q->ops[i].num);

		if (held->mark == h->mark)
			continue;
		held->mark = h->mark;
		redo_entry(&rw, sem_word_off(h->set, held->num), held->at,
			   held_word(h, held, held->next, q->who));
		head.nr++;
	}
	redo_publish(h, &rw, &head);
}

/* Several words change: all or none, wherever we stop. */
static void commit_redo(struct sem_hold *h, struct sem_batch *b)
{
	struct dipc_arena_redo head = {0};
	struct redo_writer rw;
	unsigned i;

	for (i = 0; i < h->nr_held; i++)
		head.nr += held_is_decided(&h->set->held[i]);
	if (head.nr < 2 || h->is_covered)
		return;
	redo_start(h, b, &rw);
	for (i = 0; i < h->nr_held; i++) {
		struct sem_held *held = &h->set->held[i];

		if (held_is_decided(held))
			redo_entry(&rw, sem_word_off(h->set, held->num),
				   held->at,
				   held_word(h, held, held->value, held->who));
	}
	redo_publish(h, &rw, &head);
}

static void commit_word(struct sem_hold *h, struct sem_batch *b,
			struct sem_held *held, uint64_t flags)
{
	uint64_t word =
		dipc_sem_word_make(h->sems, held->value, flags, held->who);

	dipc_sem_batch_cas(b, sem_word_off(h->set, held->num), held->at, word);
	held->at = word;
	held->is_stamped = false;
	h->set->word[held->num].seen = word;
}

void dipc_sem_hold_commit(struct sem_hold *h, struct sem_batch *b)
{
	unsigned i;

	commit_redo(h, b);
	for (i = 0; i < h->nr_held; i++) {
		struct sem_held *held = &h->set->held[i];

		if (held_is_decided(held))
			commit_word(h, b, held, held->at & SEM_BUSY);
	}
	h->is_covered = false;
}

/* WAITERS-SAFE: never clear the bit while a waiter might touch the word. */
static bool held_must_wait(const struct sem_hold *h,
			   const struct sem_held *held)
{
	if (held->is_joined)
		return true;
	if (!held->has_waiters || !h->obj.sem.nr_waiters)
		return false;
	if (h->next_unread)
		return true; /* not known: a later slow operation will see */
	return dipc_sem_queue_touches(h, held->num);
}

static void queue_write(struct sem_hold *h, struct sem_batch *b)
{
	const struct dipc_arena_sem *sem = &h->obj.sem;
	uint64_t off = sem_slot_off(h->sems->fabric, h->set) +
		       offsetof(struct dipc_arena_object, sem.first);

	dipc_sem_batch_write(b, off, &sem->first,
			     sizeof(*sem) -
				     offsetof(struct dipc_arena_sem, first));
}

int dipc_sem_hold_finish(struct sem_hold *h, struct sem_batch *b,
			 bool is_poison)
{
	unsigned i;
	int ret;

	commit_redo(h, b);
	for (i = 0; i < h->nr_held; i++) {
		struct sem_held *held = &h->set->held[i];
		uint64_t flags = held_must_wait(h, held) ? DIPC_SEM_WAITERS : 0;

		if (is_poison)
			flags = DIPC_SEM_FROZEN;
		if (held_is_decided(held) || (held->at & SEM_BUSY) != flags)
			commit_word(h, b, held, flags);
	}
	if (h->is_queue_changed)
		queue_write(h, b);
	/* after the words and the queue: the unlocking CAS makes them last */
	dipc_sem_batch_cas(b, h->lock.off, h->lock.word, 0);
	hold_drop_words(h);
	dipc_sem_queue_free(h);
	/* posted, so the next fiber's requests come after ours on this link */
	dipc_sem_batch_start(b);
	dipc_lock_released(&h->lock);
	ret = dipc_sem_batch_wait(b);
	for (i = 0; ret && i < h->set->nr; i++)
		h->set->word[i].seen = 0; /* what landed is not known */
	dipc_sem_batch_end(b);
	return ret;
}
