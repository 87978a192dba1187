/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * semop. One operation on a semaphore that nobody waits for is one CAS from
 * the word this node saw last; everything else goes under the set's lock.
 *
 * Locking. sems->sets and set->word[].seen: loop thread, never across a wait
 * (a hint: the CAS decides). set->held and word[].held: the object's lock.
 */
#include "runtime/protocol/sem_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/log.h"

#define FAST_TRIES 16u
#define OPS_INLINE 16u

int dipc_sems_create(struct dipc_fabric *f, struct dipc_waiters *ws,
		     struct dipc_sems **sems_out)
{
	struct dipc_sems *sems = calloc(1, sizeof(*sems));

	if (!sems)
		return -ENOMEM;
	sems->fabric = f;
	sems->ws = ws;
	dipc_list_init(&sems->undoers);
	dipc_list_init(&sems->undo_ops);
	/* not where an earlier incarnation of this node began */
	sems->seq = (uint32_t)(dipc_fabric_now(f) / DIPC_USEC) &
		    ((1u << DIPC_SEM_SEQ_BITS) - 1);
	*sems_out = sems;
	return 0;
}

static void set_free(struct sem_set *set)
{
	free(set->held);
	free(set);
}

void dipc_sems_destroy(struct dipc_sems *sems)
{
	struct sem_set *set, *tmp;

	if (!sems)
		return;
	HASH_ITER(hh, sems->sets, set, tmp)
	{
		HASH_DEL(sems->sets, set);
		set_free(set);
	}
	free(sems);
}

/* ---- the cache of sets -------------------------------------------------- */

int dipc_sem_set_make(const struct dipc_arena_object *obj,
		      struct sem_set **set_out)
{
	uint32_t nr = obj->sem.nr;
	struct sem_set *set =
		calloc(1, sizeof(*set) + nr * sizeof(set->word[0]));

	if (!set)
		return -ENOMEM;
	set->held = calloc(nr, sizeof(*set->held));
	if (!set->held) {
		free(set);
		return -ENOMEM;
	}
	set->id = obj->id;
	set->slot = dipc_id_slot(obj->id);
	set->nr = nr;
	set->obj = *obj;
	set->otime = (int64_t)obj->sem.otime;
	*set_out = set;
	return 0;
}

void dipc_sem_set_trust(struct sem_set *set,
			const struct dipc_arena_object *obj, uint64_t when)
{
	set->obj = *obj;
	set->trusted_until = when + SEM_TRUST;
}

void dipc_sem_set_put(struct dipc_sems *sems, struct sem_set *set)
{
	set->nr_users--;
	if (!set->is_gone || set->nr_users)
		return;
	if (set->is_cached)
		HASH_DEL(sems->sets, set);
	set_free(set);
}

/* Out of the cache at once, freed with its last user. */
static void set_drop(struct dipc_sems *sems, struct sem_set *set)
{
	set->is_gone = true;
	if (set->is_cached)
		HASH_DEL(sems->sets, set);
	set->is_cached = false;
	if (!set->nr_users)
		set_free(set);
}

/* Whatever is cached of ID's slot. */
static struct sem_set *set_find(struct dipc_sems *sems, int32_t id)
{
	uint32_t slot = dipc_id_slot(id);
	struct sem_set *set;

	HASH_FIND(hh, sems->sets, &slot, sizeof(slot), set);
	return set;
}

static bool set_is(const struct sem_set *set, int32_t id)
{
	return set && set->id == id && !set->is_gone;
}

struct sem_set *dipc_sem_set_find(struct dipc_sems *sems, int32_t id)
{
	struct sem_set *set = set_find(sems, id);

	return set_is(set, id) ? set : NULL;
}

/* A removed set is as one that never was, to whoever did not block on it. */
static int errno_of_new_call(int ret)
{
	return ret == -EIDRM ? -EINVAL : ret;
}

/*
 * A first look at ID. This node's bit in `users` first: from then on it is told
 * when the slot changes, so what is READ after that may be believed.
 */
static int set_first_read(struct dipc_sems *sems, int32_t id,
			  struct dipc_arena_object *obj_out)
{
	struct dipc_fabric *f = sems->fabric;
	uint64_t off = dipc_object_off(dipc_fabric_super(f), dipc_id_slot(id)) +
		       offsetof(struct dipc_arena_object, users);
	uint64_t bit = 1ull << dipc_fabric_node(f);
	int ret;

	ret = dipc_object_read(f, id, DIPC_KIND_SEM, obj_out);
	if (ret || (obj_out->users & bit))
		return ret;
	ret = dipc_sem_mask_set(sems, off, obj_out->users);
	return ret ? ret : dipc_object_read(f, id, DIPC_KIND_SEM, obj_out);
}

/*
 * SET's slot is READ again once it is SEM_TRUST old, so that no stale word
 * outlives its set by more; and once IPC_SET has changed it, see sem_peers.c.
 */
static int set_refresh(struct dipc_sems *sems, int32_t id)
{
	uint64_t nr_forgets = sems->nr_forgets;
	uint64_t now = dipc_fabric_now(sems->fabric);
	struct dipc_arena_object obj;
	struct sem_set *set;
	int ret;

	if (set_is(set_find(sems, id), id))
		ret = dipc_object_read(sems->fabric, id, DIPC_KIND_SEM, &obj);
	else
		ret = set_first_read(sems, id, &obj);
	set = set_find(sems, id);
	if (ret) {
		if (set_is(set, id) && ret != -ENOLINK)
			set_drop(sems, set);
		return errno_of_new_call(ret);
	}
	if (!set_is(set, id)) {
		struct sem_set *new;

		ret = dipc_sem_set_make(&obj, &new);
		if (ret)
			return ret;
		if (set)
			set_drop(sems, set);
		set = new;
		HASH_ADD(hh, sems->sets, slot, sizeof(set->slot), set);
		set->is_cached = true;
	}
	dipc_sem_set_trust(set, &obj, now);
	/* it may have been READ just before it changed: for this call only */
	if (nr_forgets != sems->nr_forgets)
		set->trusted_until = 0;
	return 0;
}

int dipc_sem_set_get(struct dipc_sems *sems, int32_t id,
		     struct sem_set **set_out)
{
	struct sem_set *set = set_find(sems, id);
	int ret;

	if (!set_is(set, id) ||
	    dipc_fabric_now(sems->fabric) >= set->trusted_until) {
		ret = set_refresh(sems, id);
		if (ret)
			return ret;
		set = set_find(sems, id);
	}
	set->nr_users++;
	*set_out = set;
	return 0;
}

void dipc_sem_note_otime(struct dipc_sems *sems, struct sem_set *set)
{
	uint64_t off = sem_slot_off(sems->fabric, set) +
		       offsetof(struct dipc_arena_object, sem.otime);
	int64_t now = dipc_fabric_wall(sems->fabric);
	uint64_t old;

	/* nearly always: once a second and node it costs a trip */
	while (now > set->otime) {
		int64_t seen = set->otime;

		if (dipc_arena_cas(sems->fabric, off, (uint64_t)seen,
				   (uint64_t)now, &old))
			return; /* the next call will say so */
		if (set->otime < (int64_t)old)
			set->otime = (int64_t)old;
		if (old == (uint64_t)seen)
			set->otime = now;
	}
}

/* ---- one operation, one CAS --------------------------------------------- */

/* 1: NEXT_OUT; 0: would block; -ERANGE. */
static int word_try(uint64_t word, const struct dipc_arena_sembuf *op,
		    int32_t *next_out)
{
	int32_t next = sem_word_value(word) + op->op;

	if ((!op->op && next) || next < 0)
		return 0;
	if (next > SEM_VALUE_MAX)
		return -ERANGE;
	*next_out = next;
	return 1;
}

/* The word again, into the cache. */
static int word_look(struct dipc_sems *sems, struct sem_set *set, uint32_t num)
{
	uint64_t word;
	int ret;

	ret = dipc_arena_read(sems->fabric, sem_word_off(set, num), &word,
			      sizeof(word));
	if (ret == 0)
		set->word[num].seen = word;
	return ret;
}

/*
 * CAS from the word seen to one with NEXT. 1: done; 0: the word was another,
 * now seen. The new word is put into the cache as the CAS is posted: the next
 * fiber's CAS, which follows ours on the link, then starts from it.
 */
static int word_swap(struct dipc_sems *sems, struct sem_set *set, uint32_t num,
		     int32_t next, uint32_t who)
{
	uint64_t seen = set->word[num].seen, old = 0;
	uint64_t word = dipc_sem_word_make(sems, next, 0, who);
	int ret;

	set->word[num].seen = word;
	ret = dipc_arena_cas(sems->fabric, sem_word_off(set, num), seen, word,
			     &old);
	if (ret) {
		set->word[num].seen = 0;
		return ret;
	}
	if (old == seen)
		return 1;
	set->word[num].seen = old;
	return 0;
}

struct semop {
	struct dipc_sems *sems;
	struct sem_set *set;
	const struct dipc_cred *cred;
	const struct dipc_arena_sembuf *ops;
	unsigned nr;
	bool is_alter;
	bool may_block;
	uint64_t deadline;
	struct dipc_cancel *cancel;
	struct sem_undo_op *undo; /* NULL: no SEM_UNDO */
	uint32_t epoch;           /* when it was done under the lock */
};

/* May the CAS be posted? What an adjustment forbids is said under the lock. */
static bool fast_may_post(const struct semop *op)
{
	if (!op->undo)
		return true;
	if (dipc_sem_undo_refused(op->undo) < op->nr)
		return false;
	dipc_sem_undo_posting(op->undo);
	return true;
}

/* 0 done, 1: must go under the lock, -errno. */
static int op_fast(const struct semop *op)
{
	const struct dipc_arena_sembuf *sop = op->ops;
	struct dipc_sems *sems = op->sems;
	struct sem_set *set = op->set;
	bool is_fresh = false;
	int32_t next = 0;
	unsigned i;
	int ret;

	for (i = 0; i < FAST_TRIES; i++) {
		uint64_t seen = set->word[sop->num].seen;

		if (seen & SEM_BUSY)
			return 1;
		ret = seen ? word_try(seen, sop, &next) : 0;
		if (ret > 0) {
			if (!fast_may_post(op))
				return 1;
			ret = word_swap(sems, set, sop->num, next,
					sem_who(sems, op->cred->pid));
			if (ret)
				return ret > 0 ? 0 : ret;
			is_fresh = true;
			continue;
		}
		if (is_fresh && seen) {
			if (ret == 0 && (sop->flags & IPC_NOWAIT))
				return -EAGAIN;
			return ret ? ret : 1;
		}
		/* a blocking one looks under the lock: that is one trip less */
		if (seen && ret == 0 && !(sop->flags & IPC_NOWAIT))
			return 1;
		ret = word_look(sems, set, sop->num);
		if (ret)
			return ret;
		is_fresh = true;
	}
	return 1;
}

/* ---- under the lock ----------------------------------------------------- */

static int op_check(const struct semop *op)
{
	unsigned i;

	for (i = 0; i < op->nr; i++)
		if (op->ops[i].num >= op->set->nr)
			return -EFBIG;
	return dipc_object_allows(&op->set->obj, op->cred,
				  op->is_alter ? DIPC_WANT_WRITE
					       : DIPC_WANT_READ);
}

/* A record worth reading along: the waiter that V is likely to wake. */
static uint64_t op_peek(const struct semop *op)
{
	if (op->nr == 1 && op->ops[0].op > 0 &&
	    (op->set->word[op->ops[0].num].seen & DIPC_SEM_WAITERS))
		return op->set->likely_first;
	return 0;
}

/*
 * 0 done, -errno, or 1: blocked, S is linked if it has records. The set is no
 * longer held.
 */
static int op_locked(struct semop *op, struct sem_sleeper *s)
{
	unsigned refused = op->nr;
	struct sem_batch b;
	struct sem_hold h;
	int ret, status;

	ret = dipc_sem_hold_lock(&h, op->sems, op->set, op->ops, op->nr, true,
				 op_peek(op));
	if (ret)
		return errno_of_new_call(ret);
	op->epoch = h.obj.sem.undo_epoch;
	if (op->undo)
		refused = dipc_sem_undo_refused(op->undo);
	status = op_check(op); /* with the slot as it is now */
	if (status == 0)
		status = dipc_sem_hold_try(&h, op->ops, op->nr, refused, NULL);
	dipc_sem_batch_init(&b, op->sems->fabric);
	if (status == 0) {
		dipc_sem_hold_apply(&h, op->ops, op->nr,
				    sem_who(op->sems, op->cred->pid));
		if (op->is_alter)
			ret = dipc_sem_queue_wake(&h);
	} else if (status > 0 && s->nr) {
		dipc_sem_sleeper_link(&h, s, op->ops, op->nr, refused,
				      op->cred->pid, &b);
	}
	if (ret) {
		dipc_sem_hold_abandon(&h);
		dipc_sem_batch_end(&b);
		return ret;
	}
	ret = dipc_sem_hold_finish(&h, &b, false);
	return ret ? ret : status;
}

/* Linked: until somebody completes it, or not. Keeps S on -ENOLINK. */
static int op_sleep(struct semop *op, struct sem_sleeper *s)
{
	int32_t result = 0;
	int ret, err;

	ret = dipc_waiter_sleep(&s->w[0], op->deadline, op->cancel, &result);
	if (ret == 0 && result < 0)
		return result;
	if (ret == 0) {
		op->epoch = (uint32_t)result; /* see sem_told() */
		return 0;
	}
	if (ret == -ENOLINK)
		return ret;
	/* not to be used again while it may be linked */
	while ((err = dipc_sem_sleeper_withdraw(op->sems, op->set, s, op->ops,
						op->nr)) == -ENOMEM)
		dipc_fiber_sleep(DIPC_MSEC);
	return err ? err : ret;
}

/*
 * A record for S, waiting for one not beyond UNTIL. -EAGAIN: none came, though
 * the operation has time left.
 */
static int op_get_record(struct semop *op, struct sem_sleeper *s,
			 uint64_t until)
{
	if (until > op->deadline)
		until = op->deadline;
	return dipc_sem_sleeper_get(s, op->sems->ws, op->nr, until, op->cancel);
}

/*
 * Try, with a record to sleep on if there is one: taken before the lock, since
 * waiting for one under it could deadlock. Where all are asleep, in whatever
 * calls of this node, it is tried again each second without: what somebody
 * makes possible must not wait for them.
 */
static int op_try(struct semop *op, struct sem_sleeper *s)
{
	int ret = op->may_block ? op_get_record(op, s, 0) : 0;

	while (ret == 0 || ret == -EAGAIN) {
		uint64_t now;

		ret = op_locked(op, s);
		if (ret <= 0 || s->nr)
			return ret;
		now = dipc_fabric_now(op->sems->fabric);
		if (now >= op->deadline)
			return -EAGAIN;
		ret = op_get_record(op, s, now + DIPC_RECORD_WAIT);
	}
	return ret;
}

static int op_slow(struct semop *op)
{
	struct sem_sleeper s = {0};
	int ret = op_try(op, &s);

	if (ret > 0)
		ret = op_sleep(op, &s);
	/* out of reach: the record may still be linked, so it is given up */
	if (ret == -ENOLINK && s.is_linked)
		s.nr = 0;
	dipc_sem_sleeper_put(&s);
	return ret;
}

/* As found and allowed: do it, and note what is to be undone. */
static int op_do(struct semop *op)
{
	bool is_lone = op->nr == 1;
	int ret = 1;

	if (op->undo) {
		ret = dipc_sem_undo_begin(op->undo, op->sems, op->set);
		if (ret)
			return ret;
		ret = 1;
	}
	if (is_lone)
		ret = op_fast(op);
	if (ret > 0) {
		is_lone = false;
		ret = op_slow(op);
	}
	if (op->undo) {
		if (ret == 0)
			dipc_sem_undo_note(op->undo, is_lone, op->epoch);
		dipc_sem_undo_end(op->undo);
	}
	if (ret == 0)
		dipc_sem_note_otime(op->sems, op->set);
	return ret;
}

static int op_run(struct semop *op, int32_t id)
{
	int ret;

	ret = dipc_sem_set_get(op->sems, id, &op->set);
	if (ret)
		return ret;
	ret = op_check(op);
	if (ret == 0)
		ret = op_do(op);
	dipc_sem_set_put(op->sems, op->set);
	return ret;
}

int dipc_sem_op_undo(struct dipc_sems *sems, int32_t id,
		     const struct dipc_cred *cred,
		     struct dipc_sem_undoer *undoer, const struct sembuf *ops,
		     unsigned nr, uint64_t deadline, struct dipc_cancel *cancel)
{
	struct dipc_arena_sembuf small[OPS_INLINE], *copy = small;
	struct sem_undo_op undo = {.undoer = undoer, .nr = nr};
	struct semop op = {.sems = sems,
			   .cred = cred,
			   .nr = nr,
			   .deadline = deadline,
			   .cancel = cancel};
	unsigned i;
	int ret;

	if (!nr)
		return -EINVAL;
	if (nr > dipc_fabric_super(sems->fabric)->semopm)
		return -E2BIG;
	if (nr > OPS_INLINE) {
		copy = malloc(nr * sizeof(*copy));
		if (!copy)
			return -ENOMEM;
	}
	for (i = 0; i < nr; i++) {
		copy[i].num = ops[i].sem_num;
		copy[i].op = ops[i].sem_op;
		copy[i].flags = ops[i].sem_flg;
		op.is_alter |= ops[i].sem_op != 0;
		op.may_block |=
			ops[i].sem_op <= 0 && !(ops[i].sem_flg & IPC_NOWAIT);
		if (undoer && (ops[i].sem_flg & SEM_UNDO))
			op.undo = &undo;
	}
	op.ops = copy;
	undo.ops = copy;
	ret = op_run(&op, id);
	if (copy != small)
		free(copy);
	return ret;
}

int dipc_sem_op(struct dipc_sems *sems, int32_t id,
		const struct dipc_cred *cred, const struct sembuf *ops,
		unsigned nr, uint64_t deadline, struct dipc_cancel *cancel)
{
	return dipc_sem_op_undo(sems, id, cred, NULL, ops, nr, deadline,
				cancel);
}
