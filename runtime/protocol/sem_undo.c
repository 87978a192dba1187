/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SEM_UNDO: what processes of this node have to give back, and what SETVAL and
 * SETALL take off that, wherever they run.
 *
 * UNDO-ORDER: an operation's adjustment counts if it was done after the last
 * clearing of its semaphore, and not if before. Clearings of a set are counted
 * in the object (undo_epoch), under its lock. A call under the lock, and one
 * whose waiter record was completed under it, knows the epoch it was done in.
 * A lone CAS does not; but whoever clears keeps the word frozen until all
 * nodes have answered, so that a CAS that succeeds was done before if it was
 * posted before the clearing got here, and after if not.
 *
 * All lists: loop thread, never across a wait.
 */
#include "runtime/protocol/sem_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ADJ_MAX      32767 /* SEMAEM; as far below 0, and one more */
#define MARKED       (1u << 31)
#define EPOCH_BEYOND (1u << 30) /* half of what there is: it wraps */

/* Adjustments on one set, kept sparse: programs undo few semaphores. */
struct undo_set {
	struct dipc_list entry; /* undoer->sets */
	int32_t id;
	unsigned nr, room;
	unsigned nr_wanted;       /* by calls under way, beyond nr */
	struct dipc_sem_adj *adj; /* owned */
};

struct dipc_sem_undoer {
	struct dipc_list entry; /* sems->undoers */
	struct dipc_list sets;  /* newest first, as exit_sem() goes */
	struct dipc_sems *sems; /* borrowed */
	unsigned nr_sets;
	uint32_t pid;
	bool is_ending;
};

static struct dipc_sem_undoer *undoer_at(struct dipc_list *pos)
{
	return dipc_container_of(pos, struct dipc_sem_undoer, entry);
}

static struct sem_undo_op *op_at(struct dipc_list *pos)
{
	return dipc_container_of(pos, struct sem_undo_op, entry);
}

static struct undo_set *undo_find(const struct dipc_sem_undoer *u, int32_t id)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &u->sets) {
		struct undo_set *set =
			dipc_container_of(pos, struct undo_set, entry);

		if (set->id == id)
			return set;
	}
	return NULL;
}

static void undo_free(struct dipc_sem_undoer *u, struct undo_set *set)
{
	dipc_list_del(&set->entry);
	u->nr_sets--;
	u->sems->nr_undo_sets--;
	free(set->adj);
	free(set);
}

static struct dipc_sem_adj *adj_find(const struct undo_set *set, uint16_t num)
{
	unsigned i;

	for (i = 0; i < set->nr; i++)
		if (set->adj[i].num == num)
			return &set->adj[i];
	return NULL;
}

static bool undo_is_empty(const struct undo_set *set)
{
	unsigned i;

	for (i = 0; i < set->nr; i++)
		if (set->adj[i].adj)
			return false;
	return true;
}

/* ---- life --------------------------------------------------------------- */

int dipc_sem_undoer_create(struct dipc_sems *sems, uint32_t pid,
			   struct dipc_sem_undoer **undoer_out)
{
	struct dipc_sem_undoer *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->sems = sems;
	u->pid = pid;
	dipc_list_init(&u->sets);
	dipc_list_add_tail(&sems->undoers, &u->entry);
	*undoer_out = u;
	return 0;
}

void dipc_sem_undoer_destroy(struct dipc_sem_undoer *u)
{
	if (!u)
		return;
	while (!dipc_list_is_empty(&u->sets))
		undo_free(u, dipc_container_of(u->sets.next, struct undo_set,
					       entry));
	dipc_list_del(&u->entry);
	free(u);
}

bool dipc_sem_undoer_holds(const struct dipc_sem_undoer *u, int32_t id)
{
	return undo_find(u, id) != NULL;
}

bool dipc_sem_undoer_is_empty(const struct dipc_sem_undoer *u)
{
	return u->nr_sets == 0;
}

bool dipc_sem_undoer_has_others(const struct dipc_sem_undoer *u)
{
	return u->sems->nr_undo_sets > u->nr_sets;
}

/* ---- the nodes that hold adjustments ------------------------------------ */

static uint64_t undoers_off(struct dipc_sems *sems, const struct sem_set *set)
{
	return sem_slot_off(sems->fabric, set) +
	       offsetof(struct dipc_arena_object, undoers);
}

/* SETVAL is to ask this node, before the first adjustment is made here. */
static int node_join(struct dipc_sems *sems, struct sem_set *set)
{
	int ret;

	if (set->is_undoer)
		return 0;
	ret = dipc_sem_mask_set(sems, undoers_off(sems, set), set->obj.undoers);
	if (ret == 0)
		set->is_undoer = true;
	return ret;
}

/* Does anybody here hold, or may soon, an adjustment on ID? */
static bool node_holds(const struct dipc_sems *sems, int32_t id)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &sems->undo_ops)
		if (op_at(pos)->id == id)
			return true;
	dipc_list_for_each (pos, &sems->undoers) {
		const struct undo_set *set = undo_find(undoer_at(pos), id);

		if (set && !undo_is_empty(set))
			return true;
	}
	return false;
}

/* Ask us no more, if there is nothing left to ask for. */
static void node_leave(struct dipc_sems *sems, int32_t id)
{
	struct sem_set *set = dipc_sem_set_find(sems, id);
	struct dipc_link *link = dipc_fabric_arena(sems->fabric);
	uint64_t bit = 1ull << dipc_fabric_node(sems->fabric);
	struct dipc_tx tx;

	if (!set || !set->is_undoer || node_holds(sems, id) ||
	    dipc_tx_begin(&tx, link, 8))
		return;
	/* ours, and set: nobody else changes it while we live */
	dipc_tx_faa(&tx, dipc_tx_at(link, undoers_off(sems, set)), -bit);
	if (dipc_tx_post(&tx) == 0)
		set->is_undoer = false;
}

/* ---- a call under way --------------------------------------------------- */

/* The entry for the set, with room for what OP may add to it. */
static int undo_prepare(struct sem_undo_op *op)
{
	struct dipc_sem_undoer *u = op->undoer;
	struct undo_set *set = undo_find(u, op->id);
	struct dipc_sem_adj *adj;
	unsigned room;

	if (!set) {
		set = calloc(1, sizeof(*set));
		if (!set)
			return -ENOMEM;
		set->id = op->id;
		/* at the head */
		dipc_list_add_tail(u->sets.next, &set->entry);
		u->nr_sets++;
		u->sems->nr_undo_sets++;
	}
	room = set->nr + set->nr_wanted + op->nr;
	if (room <= set->room)
		goto out_wanted;
	adj = realloc(set->adj, room * sizeof(*adj));
	if (!adj)
		return -ENOMEM;
	set->adj = adj;
	set->room = room;
out_wanted:
	set->nr_wanted += op->nr;
	op->is_prepared = true;
	return 0;
}

int dipc_sem_undo_begin(struct sem_undo_op *op, struct dipc_sems *sems,
			struct sem_set *set)
{
	int ret;

	op->id = set->id;
	op->is_prepared = false;
	op->cleared = op->few;
	if (op->nr > sizeof(op->few) / sizeof(op->few[0]))
		op->cleared = calloc(op->nr, sizeof(*op->cleared));
	if (!op->cleared)
		return -ENOMEM;
	memset(op->cleared, 0, op->nr * sizeof(*op->cleared));
	/* first: node_leave() must see that we come */
	dipc_list_add_tail(&sems->undo_ops, &op->entry);
	ret = undo_prepare(op);
	if (ret == 0)
		ret = node_join(sems, set);
	if (ret)
		dipc_sem_undo_end(op);
	return ret;
}

void dipc_sem_undo_end(struct sem_undo_op *op)
{
	struct undo_set *set = undo_find(op->undoer, op->id);

	if (set && op->is_prepared)
		set->nr_wanted -= op->nr;
	dipc_list_del(&op->entry);
	if (op->cleared != op->few)
		free(op->cleared);
}

unsigned dipc_sem_undo_refused(const struct sem_undo_op *op)
{
	const struct undo_set *set = undo_find(op->undoer, op->id);
	unsigned i, k;

	for (i = 0; i < op->nr; i++) {
		const struct dipc_sem_adj *adj;
		int sum = 0;

		if (!(op->ops[i].flags & SEM_UNDO))
			continue;
		adj = set ? adj_find(set, op->ops[i].num) : NULL;
		if (adj)
			sum = adj->adj;
		for (k = 0; k <= i; k++)
			if (op->ops[k].num == op->ops[i].num &&
			    (op->ops[k].flags & SEM_UNDO))
				sum -= op->ops[k].op;
		if (sum < -ADJ_MAX - 1 || sum > ADJ_MAX)
			return i;
	}
	return op->nr;
}

void dipc_sem_undo_posting(struct sem_undo_op *op)
{
	memset(op->cleared, 0, op->nr * sizeof(*op->cleared));
}

/* Was what was done in epoch DONE before the clearing that left MARK? */
static bool is_before(uint32_t done, uint32_t mark)
{
	uint32_t ahead = (done - mark) & SEM_EPOCH_MASK;

	return ahead >= EPOCH_BEYOND;
}

static void adj_add(struct undo_set *set, uint16_t num, int op)
{
	struct dipc_sem_adj *adj = adj_find(set, num);
	int sum;

	if (!adj) {
		if (set->nr == set->room)
			return; /* never: undo_prepare() */
		adj = &set->adj[set->nr++];
		adj->num = num;
		adj->adj = 0;
	}
	/* beyond the limits only if threads of one process met there */
	sum = adj->adj - op;
	sum = sum > ADJ_MAX ? ADJ_MAX : sum;
	adj->adj = (int16_t)(sum < -ADJ_MAX - 1 ? -ADJ_MAX - 1 : sum);
}

void dipc_sem_undo_note(struct sem_undo_op *op, bool is_lone, uint32_t epoch)
{
	struct undo_set *set = undo_find(op->undoer, op->id);
	unsigned i;

	for (i = 0; set && i < op->nr; i++) {
		uint32_t mark = op->cleared[i];

		if (!(op->ops[i].flags & SEM_UNDO))
			continue;
		/* see UNDO-ORDER */
		if ((mark & MARKED) && (is_lone || is_before(epoch, mark)))
			continue;
		adj_add(set, op->ops[i].num, op->ops[i].op);
	}
}

/* ---- clearing ----------------------------------------------------------- */

static void undo_clear(struct undo_set *set, int num)
{
	unsigned i;

	for (i = 0; i < set->nr; i++)
		if (num < 0 || set->adj[i].num == num)
			set->adj[i].adj = 0;
}

void dipc_sem_undo_clear(struct dipc_sems *sems, int32_t id, int num,
			 uint32_t epoch)
{
	struct dipc_list *pos;
	unsigned i;

	dipc_list_for_each (pos, &sems->undoers) {
		struct undo_set *set = undo_find(undoer_at(pos), id);

		if (set)
			undo_clear(set, num);
	}
	dipc_list_for_each (pos, &sems->undo_ops) {
		struct sem_undo_op *op = op_at(pos);

		for (i = 0; op->id == id && i < op->nr; i++)
			if (num < 0 || op->ops[i].num == num)
				op->cleared[i] = epoch | MARKED;
	}
	node_leave(sems, id);
}

void dipc_sem_undo_drop(struct dipc_sems *sems, int32_t id)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &sems->undoers) {
		struct dipc_sem_undoer *u = undoer_at(pos);
		struct undo_set *set = undo_find(u, id);

		/* who gives back now, or still may, has his hands on it */
		if (set && (u->is_ending || set->nr_wanted))
			undo_clear(set, -1);
		else if (set)
			undo_free(u, set);
	}
}

/* ---- the end of a process ----------------------------------------------- */

int dipc_sem_undoer_run(struct dipc_sem_undoer *u)
{
	int ret = 0;

	u->is_ending = true;
	while (!dipc_list_is_empty(&u->sets)) {
		struct undo_set *set =
			dipc_container_of(u->sets.next, struct undo_set, entry);
		int32_t id = set->id;
		int err;

		/* in its list until done: a clearing must find it */
		err = dipc_sem_undo(u->sems, id, u->pid, set->adj, set->nr);
		if (err && err != -EINVAL)
			ret = err;
		undo_free(u, set);
		node_leave(u->sems, id);
	}
	return ret;
}
