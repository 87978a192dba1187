/* SPDX-License-Identifier: BSD-2-Clause */
/* semctl on the values, and the undo of dead processes. */
#include "runtime/protocol/sem_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COLLECT_TRIES 4u
#define COLLECT_PART  4096u /* words in one READ */

/* The set, and the right to do WANT on it. Put it after 0. */
static int ctl_begin(struct dipc_sems *sems, int32_t id,
		     const struct dipc_cred *cred, unsigned want,
		     struct sem_set **set_out)
{
	struct sem_set *set;
	int ret;

	ret = dipc_sem_set_get(sems, id, &set);
	if (ret)
		return ret;
	ret = dipc_object_allows(&set->obj, cred, want);
	if (ret) {
		dipc_sem_set_put(sems, set);
		return ret;
	}
	*set_out = set;
	return 0;
}

/* ---- setting ------------------------------------------------------------ */

static void held_decide(struct sem_hold *h, uint32_t num, int32_t value,
			uint32_t who)
{
	struct sem_held *held = dipc_sem_held(h, num);

	held->is_altered |= held->value != value;
	held->value = value;
	held->who = who;
	held->is_stamped = true;
}

/*
 * Whoever can go on does; then all of it takes effect. IS_OP: it counts as an
 * operation in any case, as what others can do now does.
 */
static int hold_conclude(struct sem_hold *h, struct sem_batch *b, bool is_op)
{
	struct dipc_sems *sems = h->sems;
	struct sem_set *set = h->set;
	int ret = dipc_sem_queue_wake(h);

	if (ret) {
		dipc_sem_batch_end(b);
		dipc_sem_hold_abandon(h);
		return ret;
	}
	is_op |= h->has_woken;
	ret = dipc_sem_hold_finish(h, b, false);
	if (ret == 0 && is_op)
		dipc_sem_note_otime(sems, set);
	return ret;
}

static int set_values(struct dipc_sems *sems, struct sem_set *set,
		      const struct dipc_cred *cred, int num,
		      const unsigned short *values)
{
	struct dipc_arena_sembuf one = {.num = (uint16_t)num};
	uint32_t who = sem_who(sems, cred->pid);
	uint64_t ctime = (uint64_t)dipc_fabric_wall(sems->fabric);
	struct sem_batch b;
	struct sem_hold h;
	uint32_t i;
	int ret;

	ret = dipc_sem_hold_lock(&h, sems, set, num < 0 ? NULL : &one, 1, true,
				 0);
	if (ret)
		return ret == -EIDRM ? -EINVAL : ret;
	/* before the new values let anybody go on: his adjustments are to stay
	 */
	while ((ret = dipc_sem_peers_clear(&h, num)) == -ENOMEM)
		dipc_fiber_sleep(DIPC_MSEC); /* the lock is ours meanwhile */
	if (ret) {
		dipc_sem_hold_abandon(&h);
		return ret;
	}
	if (num >= 0)
		held_decide(&h, (uint32_t)num, values[0], who);
	else
		for (i = 0; i < set->nr; i++)
			held_decide(&h, i, values[i], who);
	dipc_sem_batch_init(&b, sems->fabric);
	dipc_sem_batch_write(&b,
			     sem_slot_off(sems->fabric, set) +
				     offsetof(struct dipc_arena_object, ctime),
			     &ctime, sizeof(ctime));
	return hold_conclude(&h, &b, false);
}

int dipc_sem_set(struct dipc_sems *sems, int32_t id,
		 const struct dipc_cred *cred, int num,
		 const unsigned short *values, unsigned nr)
{
	unsigned i, nr_values = num < 0 ? nr : 1;
	struct sem_set *set;
	int ret;

	ret = ctl_begin(sems, id, cred, DIPC_WANT_WRITE, &set);
	if (ret)
		return ret;
	ret = num < 0 ? (nr < set->nr ? -EINVAL : 0)
		      : ((uint32_t)num >= set->nr ? -EINVAL : 0);
	for (i = 0; ret == 0 && i < nr_values; i++)
		if (values[i] > SEM_VALUE_MAX)
			ret = -ERANGE;
	if (ret == 0)
		ret = set_values(sems, set, cred, num, values);
	dipc_sem_set_put(sems, set);
	return ret;
}

/* The semaphores that ADJ changes, to be held: 0 or how many, -errno. */
static int undo_ops(const struct sem_set *set, const struct dipc_sem_adj *adj,
		    unsigned nr, struct dipc_arena_sembuf **ops_out)
{
	struct dipc_arena_sembuf *ops = calloc(nr ? nr : 1, sizeof(*ops));
	unsigned i;
	int k = 0;

	if (!ops)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		if (adj[i].num >= set->nr) {
			free(ops);
			return -EINVAL;
		}
		if (adj[i].adj)
			ops[k++].num = adj[i].num;
	}
	*ops_out = ops;
	return k;
}

/* As exit_sem(): it cannot wait, and it cannot fail. */
static void undo_decide(struct sem_hold *h, const struct dipc_sem_adj *adj,
			unsigned nr, uint32_t who)
{
	unsigned i;

	for (i = 0; i < nr; i++) {
		int32_t value;

		if (!adj[i].adj) /* or cleared, before the set was held */
			continue;
		value = dipc_sem_held(h, adj[i].num)->value + adj[i].adj;
		value = value < 0 ? 0 : value;
		value = value > SEM_VALUE_MAX ? SEM_VALUE_MAX : value;
		held_decide(h, adj[i].num, value, who);
	}
}

int dipc_sem_undo(struct dipc_sems *sems, int32_t id, uint32_t pid,
		  const struct dipc_sem_adj *adj, unsigned nr)
{
	struct dipc_arena_sembuf *ops = NULL;
	struct sem_batch b;
	struct sem_hold h;
	struct sem_set *set;
	int ret;

	ret = dipc_sem_set_get(sems, id, &set);
	if (ret)
		return ret;
	ret = undo_ops(set, adj, nr, &ops);
	if (ret == 0) /* that it ended is an operation, too */
		dipc_sem_note_otime(sems, set);
	if (ret <= 0)
		goto out_put;
	ret = dipc_sem_hold_lock(&h, sems, set, ops, (unsigned)ret, true, 0);
	if (ret)
		goto out_put;
	undo_decide(&h, adj, nr, sem_who(sems, pid));
	dipc_sem_batch_init(&b, sems->fabric);
	ret = hold_conclude(&h, &b, true);
out_put:
	free(ops);
	dipc_sem_set_put(sems, set);
	return ret == -EIDRM ? -EINVAL : ret;
}

/* ---- reading ------------------------------------------------------------ */

/* All words of SET into WORDS, not as one snapshot. */
static int words_read(struct dipc_sems *sems, const struct sem_set *set,
		      uint64_t *words)
{
	uint32_t i, part;
	int ret = 0;

	for (i = 0; ret == 0 && i < set->nr; i += part) {
		part = set->nr - i < COLLECT_PART ? set->nr - i : COLLECT_PART;
		ret = dipc_arena_read(sems->fabric, sem_word_off(set, i),
				      &words[i], part * sizeof(words[0]));
	}
	return ret;
}

/*
 * A snapshot. Two READs in a row that agree, stamps and all, with no word
 * frozen or waited for, saw the set as it was between them: no operation on
 * several semaphores was under way, since that keeps such words busy. 1: no
 * such luck. TWICE has room for two sets of words; the first half is the
 * answer.
 */
static int words_collect(struct dipc_sems *sems, const struct sem_set *set,
			 uint64_t *twice)
{
	uint64_t *again = twice + set->nr;
	unsigned i, tries;
	int ret;

	ret = words_read(sems, set, twice);
	if (ret || (set->nr == 1 && !(twice[0] & DIPC_SEM_FROZEN)))
		return ret;
	for (tries = 0; tries < COLLECT_TRIES; tries++) {
		uint64_t busy = 0;

		ret = words_read(sems, set, again);
		if (ret)
			return ret;
		for (i = 0; i < set->nr; i++)
			busy |= again[i] & SEM_BUSY;
		if (busy)
			return 1;
		if (!memcmp(twice, again, set->nr * sizeof(again[0])))
			return 0;
		memcpy(twice, again, set->nr * sizeof(again[0]));
	}
	return 1;
}

static int words_hold(struct dipc_sems *sems, struct sem_set *set,
		      uint64_t *words)
{
	struct sem_batch b;
	struct sem_hold h;
	uint32_t i;
	int ret;

	ret = dipc_sem_hold_lock(&h, sems, set, NULL, 0, true, 0);
	if (ret)
		return ret == -EIDRM ? -EINVAL : ret;
	for (i = 0; i < set->nr; i++)
		words[i] = dipc_sem_held(&h, i)->at;
	dipc_sem_batch_init(&b, sems->fabric);
	return dipc_sem_hold_finish(&h, &b, false);
}

int dipc_sem_get_all(struct dipc_sems *sems, int32_t id,
		     const struct dipc_cred *cred, unsigned short *values,
		     unsigned max, unsigned *nr_out)
{
	struct sem_set *set;
	uint64_t *twice;
	uint32_t i;
	int ret;

	ret = ctl_begin(sems, id, cred, DIPC_WANT_READ, &set);
	if (ret)
		return ret;
	twice = calloc(2 * (size_t)set->nr, sizeof(*twice));
	ret = -E2BIG;
	if (set->nr > max)
		goto out_put;
	ret = -ENOMEM;
	if (!twice)
		goto out_put;
	ret = words_collect(sems, set, twice);
	if (ret > 0)
		ret = words_hold(sems, set, twice);
	if (ret)
		goto out_put;
	for (i = 0; i < set->nr; i++)
		values[i] = (unsigned short)sem_word_value(twice[i]);
	*nr_out = set->nr;
out_put:
	free(twice);
	dipc_sem_set_put(sems, set);
	return ret;
}

/* Waiters whose blocking operation, as of now, is on NUM and of that kind. */
static int count_waiters(struct dipc_sems *sems, struct sem_set *set, int num,
			 bool for_zero)
{
	struct dipc_arena_sembuf one = {.num = (uint16_t)num};
	struct sem_queued *q = NULL;
	struct sem_batch b;
	struct sem_hold h;
	unsigned i, at = 0;
	int ret, count = 0;

	ret = dipc_sem_hold_lock(&h, sems, set, &one, 1, true, 0);
	if (ret)
		return ret == -EIDRM ? -EINVAL : ret;
	for (i = 0; ret == 0; i++) {
		ret = dipc_sem_queue_at(&h, i, &q);
		if (ret || !q)
			break;
		ret = dipc_sem_hold_more(&h, q->ops, q->nr);
		if (ret == 0 &&
		    dipc_sem_hold_try(&h, q->ops, q->nr, q->refused, &at) == 1)
			count += q->ops[at].num == num &&
				 (q->ops[at].op == 0) == for_zero;
	}
	if (ret == -ENOLINK) {
		dipc_sem_hold_abandon(&h);
		return ret;
	}
	dipc_sem_batch_init(&b, sems->fabric);
	ret = dipc_sem_hold_finish(&h, &b, false);
	return ret ? ret : count;
}

static int word_get(struct dipc_sems *sems, const struct sem_set *set, int num,
		    uint64_t *word_out)
{
	struct dipc_arena_object obj;
	int ret;

	if (num < 0 || (uint32_t)num >= set->nr)
		return -EINVAL;
	ret = dipc_arena_read(sems->fabric, sem_word_off(set, (uint32_t)num),
			      word_out, sizeof(*word_out));
	/* what is removed stays frozen: ask the slot */
	if (ret == 0 && (*word_out & DIPC_SEM_FROZEN))
		ret = dipc_object_read(sems->fabric, set->id, DIPC_KIND_SEM,
				       &obj);
	return ret == -EIDRM ? -EINVAL : ret;
}

static int get_one(struct dipc_sems *sems, struct sem_set *set, int num,
		   int cmd)
{
	uint64_t word;
	int ret;

	ret = word_get(sems, set, num, &word);
	if (ret)
		return ret;
	if (cmd == GETVAL)
		return sem_word_value(word);
	if (cmd == GETPID)
		return (int)dipc_who_pid(sem_word_who(word));
	/* no bit, no waiter */
	if (!(word & SEM_BUSY))
		return 0;
	return count_waiters(sems, set, num, cmd == GETZCNT);
}

int dipc_sem_get(struct dipc_sems *sems, int32_t id,
		 const struct dipc_cred *cred, int num, int cmd)
{
	struct sem_set *set;
	int ret;

	if (cmd != GETVAL && cmd != GETPID && cmd != GETNCNT && cmd != GETZCNT)
		return -EINVAL;
	ret = ctl_begin(sems, id, cred, DIPC_WANT_READ, &set);
	if (ret)
		return ret;
	ret = get_one(sems, set, num, cmd);
	dipc_sem_set_put(sems, set);
	return ret;
}

int dipc_sem_get_who(struct dipc_sems *sems, int32_t id,
		     const struct dipc_cred *cred, int num, uint32_t *who_out)
{
	struct sem_set *set;
	uint64_t word;
	int ret;

	ret = ctl_begin(sems, id, cred, DIPC_WANT_READ, &set);
	if (ret)
		return ret;
	ret = word_get(sems, set, num, &word);
	if (ret == 0)
		*who_out = sem_word_who(word);
	dipc_sem_set_put(sems, set);
	return ret;
}
