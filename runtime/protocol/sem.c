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

/* A removed set is as one that never was, to whoever did not block on it. */
static int errno_of_new_call(int ret)
{
	return ret == -EIDRM ? -EINVAL : ret;
}

/*
 * SET's slot is READ again once it is SEM_TRUST old, so that this is how late
 * IPC_SET may be honoured, and no stale word outlives its set by more.
 */
static int set_refresh(struct dipc_sems *sems, int32_t id)
{
	uint64_t now = dipc_fabric_now(sems->fabric);
	struct dipc_arena_object obj;
	struct sem_set *set;
	int ret;

	ret = dipc_object_read(sems->fabric, id, DIPC_KIND_SEM, &obj);
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

void dipc_sems_forget(struct dipc_sems *sems, int32_t id)
{
	struct sem_set *set = set_find(sems, id);

	if (set)
		set->trusted_until = 0;
}

void dipc_sem_note_otime(struct dipc_sems *sems, struct sem_set *set)
{
	struct dipc_link *link = dipc_fabric_arena(sems->fabric);
	int64_t now = dipc_fabric_wall(sems->fabric);
	struct dipc_tx tx;

	if (now == set->otime || dipc_tx_begin(&tx, link, sizeof(now)))
		return;
	set->otime = now;
	dipc_tx_write(
		&tx,
		dipc_tx_at(link, sem_slot_off(sems->fabric, set) +
					 offsetof(struct dipc_arena_object,
						  sem.otime)),
		&now, sizeof(now));
	/* for people: losing it does no harm */
	(void)dipc_tx_post(&tx);
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

/* 0 done, 1: must go under the lock, -errno. */
static int op_fast(struct dipc_sems *sems, struct sem_set *set, uint32_t who,
		   const struct dipc_arena_sembuf *op)
{
	bool is_fresh = false;
	int32_t next = 0;
	unsigned i;
	int ret;

	for (i = 0; i < FAST_TRIES; i++) {
		uint64_t seen = set->word[op->num].seen;

		if (seen & SEM_BUSY)
			return 1;
		ret = seen ? word_try(seen, op, &next) : 0;
		if (ret > 0) {
			ret = word_swap(sems, set, op->num, next, who);
			if (ret)
				return ret > 0 ? 0 : ret;
			is_fresh = true;
			continue;
		}
		if (is_fresh && seen) {
			if (ret == 0 && (op->flags & IPC_NOWAIT))
				return -EAGAIN;
			return ret ? ret : 1;
		}
		/* a blocking one looks under the lock: that is one trip less */
		if (seen && ret == 0 && !(op->flags & IPC_NOWAIT))
			return 1;
		ret = word_look(sems, set, op->num);
		if (ret)
			return ret;
		is_fresh = true;
	}
	return 1;
}

/* ---- under the lock ----------------------------------------------------- */

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
};

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
 * 0 done, -errno, or 1: blocked, S is linked. The set is no longer held.
 */
static int op_locked(const struct semop *op, struct sem_sleeper *s)
{
	struct sem_batch b;
	struct sem_hold h;
	int ret, status;

	ret = dipc_sem_hold_lock(&h, op->sems, op->set, op->ops, op->nr, true,
				 op_peek(op));
	if (ret)
		return errno_of_new_call(ret);
	status = op_check(op); /* with the slot as it is now */
	if (status == 0)
		status = dipc_sem_hold_try(&h, op->ops, op->nr, NULL);
	dipc_sem_batch_init(&b, op->sems->fabric);
	if (status == 0) {
		dipc_sem_hold_apply(&h, op->ops, op->nr,
				    sem_who(op->sems, op->cred->pid));
		if (op->is_alter)
			ret = dipc_sem_queue_wake(&h);
	} else if (status > 0) {
		dipc_sem_sleeper_link(&h, s, op->ops, op->nr, op->cred->pid,
				      &b);
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
static int op_sleep(const struct semop *op, struct sem_sleeper *s)
{
	int32_t result = 0;
	int ret, err;

	ret = dipc_waiter_sleep(&s->w[0], op->deadline, op->cancel, &result);
	if (ret == 0)
		return result;
	if (ret == -ENOLINK)
		return ret;
	err = dipc_sem_sleeper_withdraw(op->sems, op->set, s, op->ops, op->nr);
	return err ? err : ret;
}

static int op_slow(const struct semop *op)
{
	struct sem_sleeper s = {0};
	int ret;

	/* before the lock: waiting for a record under it could deadlock */
	if (op->may_block) {
		ret = dipc_sem_sleeper_get(&s, op->sems->ws, op->nr,
					   op->deadline, op->cancel);
		if (ret)
			return ret;
	}
	ret = op_locked(op, &s);
	if (ret > 0)
		ret = op_sleep(op, &s);
	/* out of reach: the record may still be linked, so it is given up */
	if (ret == -ENOLINK && s.is_linked)
		s.nr = 0;
	dipc_sem_sleeper_put(&s);
	return ret;
}

static int op_run(struct semop *op, int32_t id)
{
	int ret;

	ret = dipc_sem_set_get(op->sems, id, &op->set);
	if (ret)
		return ret;
	ret = op_check(op);
	if (ret)
		goto out_put;
	ret = 1;
	if (op->nr == 1)
		ret = op_fast(op->sems, op->set,
			      sem_who(op->sems, op->cred->pid), op->ops);
	if (ret > 0)
		ret = op_slow(op);
	if (ret == 0)
		dipc_sem_note_otime(op->sems, op->set);
out_put:
	dipc_sem_set_put(op->sems, op->set);
	return ret;
}

int dipc_sem_op(struct dipc_sems *sems, int32_t id,
		const struct dipc_cred *cred, const struct sembuf *ops,
		unsigned nr, uint64_t deadline, struct dipc_cancel *cancel)
{
	struct dipc_arena_sembuf small[OPS_INLINE], *copy = small;
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
	}
	op.ops = copy;
	ret = op_run(&op, id);
	if (copy != small)
		free(copy);
	return ret;
}
