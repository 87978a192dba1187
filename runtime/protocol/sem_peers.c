/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What nodes tell each other about a set. `users` and `undoers` in the object
 * say whom; a node sets its bit before it does what the bit is about, so that
 * there can be a bit too many, never one too few.
 */
#include "runtime/protocol/sem_private.h"

#include <errno.h>
#include <string.h>

#include "runtime/base/log.h"

#define RETRY (20 * DIPC_MSEC)

int dipc_sem_mask_set(struct dipc_sems *sems, uint64_t off, uint64_t guess)
{
	uint64_t bit = 1ull << dipc_fabric_node(sems->fabric), old = 0;
	int ret;

	/* a guess may be old; and who comes back may find his bit set: so CAS */
	guess &= ~bit;
	while (!(guess & bit)) {
		ret = dipc_arena_cas(sems->fabric, off, guess, guess | bit,
				     &old);
		if (ret)
			return ret;
		if (old == guess)
			return 0;
		guess = old;
	}
	return 0;
}

/* ---- calls -------------------------------------------------------------- */

struct peer_call {
	struct dipc_call call;
	int status;
};

/* All nodes of *MASK at once; those that answered go out of it. Fiber. */
static void peers_call(struct dipc_sems *sems, uint64_t *mask,
		       const struct dipc_request *request)
{
	struct peer_call calls[DIPC_NODES_MAX + 1];
	struct dipc_link *link;
	unsigned i;

	for (i = 1; i <= DIPC_NODES_MAX; i++) {
		struct peer_call *c = &calls[i];

		if (!(*mask & 1ull << i))
			continue;
		c->status = dipc_fabric_link(sems->fabric, i, &link);
		if (c->status == 0)
			c->status = dipc_call_start(link, request, &c->call);
	}
	for (i = 1; i <= DIPC_NODES_MAX; i++) {
		if (!(*mask & 1ull << i) || calls[i].status)
			continue;
		if (dipc_call_wait(&calls[i].call) == 0)
			*mask &= ~(1ull << i);
	}
}

/* Nodes that are not members any more go out of *MASK. 0, -ENOLINK. */
static int peers_skip_gone(struct dipc_sems *sems, uint64_t *mask)
{
	struct dipc_fabric *f = sems->fabric;
	struct dipc_arena_node entry;
	unsigned i;
	int ret;

	for (i = 1; i <= DIPC_NODES_MAX; i++) {
		if (!(*mask & 1ull << i))
			continue;
		ret = dipc_arena_read(
			f, dipc_fabric_super(f)->nodes_off + i * sizeof(entry),
			&entry.state, sizeof(entry.state));
		if (ret)
			return ret;
		if (entry.state >> 32 != DIPC_NODE_ALIVE)
			*mask &= ~(1ull << i);
	}
	return 0;
}

static uint64_t others(struct dipc_sems *sems, uint64_t mask)
{
	const uint64_t all = ((1ull << (DIPC_NODES_MAX + 1)) - 1) & ~1ull;

	return mask & all & ~(1ull << dipc_fabric_node(sems->fabric));
}

static int read_mask(struct dipc_sems *sems, int32_t id, size_t field,
		     uint64_t *mask_out)
{
	uint64_t off = dipc_object_off(dipc_fabric_super(sems->fabric),
				       dipc_id_slot(id));

	return dipc_arena_read(sems->fabric, off + field, mask_out,
			       sizeof(*mask_out));
}

/* ---- SETVAL, SETALL ----------------------------------------------------- */

int dipc_sem_peers_clear(struct sem_hold *h, int num)
{
	struct dipc_sems *sems = h->sems;
	uint32_t epoch = (h->obj.sem.undo_epoch + 1) & SEM_EPOCH_MASK;
	struct dipc_request request = {
		.type = DIPC_REQ_SEM_CLEAR,
		.object = (uint32_t)h->set->id,
		.arg = {(uint64_t)(int64_t)num, epoch},
	};
	uint64_t mask = 0;
	int ret;

	/* in the arena before anybody hears of it */
	ret = dipc_arena_write(
		sems->fabric,
		sem_slot_off(sems->fabric, h->set) +
			offsetof(struct dipc_arena_object, sem.undo_epoch),
		&epoch, sizeof(epoch));
	if (ret == 0) /* only now, the words being stable */
		ret = read_mask(sems, h->set->id,
				offsetof(struct dipc_arena_object, undoers),
				&mask);
	if (ret)
		return ret;
	h->obj.sem.undo_epoch = epoch;
	dipc_sem_undo_clear(sems, h->set->id, num, epoch);
	mask = others(sems, mask);
	peers_call(sems, &mask, &request);
	while (mask) {
		/*
		 * Unreachable. It is gone, and its adjustments with it; or the
		 * referee will decide which of us is.
		 */
		ret = peers_skip_gone(sems, &mask);
		if (ret || !mask)
			break;
		dipc_fiber_sleep(RETRY);
		peers_call(sems, &mask, &request);
	}
	return ret;
}

/* ---- IPC_SET, IPC_RMID -------------------------------------------------- */

static void set_forget(struct dipc_sems *sems, int32_t id)
{
	struct sem_set *set = dipc_sem_set_find(sems, id);

	sems->nr_forgets++;
	if (set)
		set->trusted_until = 0;
}

int dipc_sems_changed(struct dipc_sems *sems, int32_t id)
{
	const struct dipc_request request = {.type = DIPC_REQ_SEM_FORGET,
					     .object = (uint32_t)id};
	uint64_t mask;
	int ret;

	set_forget(sems, id);
	ret = read_mask(sems, id, offsetof(struct dipc_arena_object, users),
			&mask);
	if (ret)
		return ret;
	mask = others(sems, mask);
	peers_call(sems, &mask, &request);
	if (mask)
		ret = peers_skip_gone(sems, &mask);
	/* who cannot be told believes nothing longer than this */
	if (ret == 0 && mask)
		dipc_fiber_sleep(SEM_TRUST + RETRY);
	return ret;
}

void dipc_sems_removed(struct dipc_sems *sems, int32_t id, uint64_t undoers)
{
	const struct dipc_request request = {.type = DIPC_REQ_SEM_REMOVED,
					     .object = (uint32_t)id};
	uint64_t mask = others(sems, undoers);

	dipc_sem_undo_drop(sems, id);
	peers_call(sems, &mask, &request);
	if (mask)
		dipc_debug("set 0x%x: not all nodes have heard of its removal",
			   (unsigned)id);
}

/* ---- being told --------------------------------------------------------- */

void dipc_sems_request(struct dipc_sems *sems, struct dipc_incoming *in)
{
	const struct dipc_request *request = &in->request;
	struct dipc_answer answer = {0};
	int32_t id = (int32_t)request->object;

	switch (request->type) {
	case DIPC_REQ_SEM_FORGET:
		set_forget(sems, id);
		break;
	case DIPC_REQ_SEM_CLEAR:
		dipc_sem_undo_clear(sems, id, (int)(int64_t)request->arg[0],
				    (uint32_t)request->arg[1] & SEM_EPOCH_MASK);
		break;
	case DIPC_REQ_SEM_REMOVED:
		dipc_sem_undo_drop(sems, id);
		break;
	default:
		answer.status = -EPROTO;
	}
	dipc_incoming_answer(in, &answer);
}

/* ---- the referee -------------------------------------------------------- */

static int mask_drop(struct dipc_fabric *f, uint64_t off, uint64_t bit)
{
	uint64_t mask, old;
	int ret;

	ret = dipc_arena_read(f, off, &mask, sizeof(mask));
	while (ret == 0 && (mask & bit)) {
		ret = dipc_arena_cas(f, off, mask, mask & ~bit, &old);
		if (ret || old == mask)
			break;
		mask = old;
	}
	return ret;
}

int dipc_sem_drop_node(struct dipc_fabric *f, uint32_t slot, unsigned node)
{
	uint64_t off = dipc_object_off(dipc_fabric_super(f), slot);
	int ret;

	ret = mask_drop(f, off + offsetof(struct dipc_arena_object, users),
			1ull << node);
	if (ret == 0)
		ret = mask_drop(
			f, off + offsetof(struct dipc_arena_object, undoers),
			1ull << node);
	return ret;
}
