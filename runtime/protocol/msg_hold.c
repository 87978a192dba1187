/* SPDX-License-Identifier: BSD-2-Clause */
/* Holding a queue: its lock, the writes under it, its list of messages. */
#include "runtime/protocol/msg_private.h"

#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#include "runtime/base/log.h"

/* The link part of a message: next, next_type, next_len. */
#define LINK_LEN offsetof(struct dipc_arena_message, len)

/* ---- lock and chain ----------------------------------------------------- */

void dipc_msg_hold_init(struct msg_hold *h, struct dipc_fabric *f,
			const struct dipc_lock *lock)
{
	h->fabric = f;
	h->lock = *lock;
	h->is_changed = false;
	h->status = 0;
	h->tx.link = NULL;
}

int dipc_msg_hold_lock(struct msg_hold *h, struct dipc_fabric *f, int32_t id,
		       const struct dipc_lock_ride *ride)
{
	struct dipc_lock lock;
	int ret;

	if (id < 0 || !((uint32_t)id & DIPC_ID_MARK))
		return -EINVAL;
	ret = dipc_object_lock_slot(f, dipc_id_slot(id), ride, &lock, &h->obj);
	if (ret)
		return ret;
	ret = dipc_object_check(&h->obj, id, DIPC_KIND_MSG);
	if (ret) {
		dipc_object_unlock(&lock);
		return ret;
	}
	dipc_msg_hold_init(h, f, &lock);
	return 0;
}

/*
 * Begin the chain, with EXTRA bytes beyond HOLD_BYTES, unless it is begun.
 * false: the hold has failed. Want of memory is waited out: a live node that
 * keeps the lock would be worse.
 */
static bool hold_begin(struct msg_hold *h, size_t extra)
{
	while (!h->status && !h->tx.link) {
		h->status = dipc_tx_begin(&h->tx, dipc_fabric_arena(h->fabric),
					  HOLD_BYTES + extra);
		if (h->status != -ENOMEM)
			break;
		h->status = 0;
		dipc_fiber_sleep(DIPC_MSEC);
	}
	return !h->status;
}

static uint64_t hold_off(const struct msg_hold *h)
{
	return h->lock.off - offsetof(struct dipc_arena_object, lock);
}

static void hold_add_object(struct msg_hold *h)
{
	uint64_t off = hold_off(h) + offsetof(struct dipc_arena_object, msg);

	if (!h->is_changed)
		return;
	dipc_tx_write(&h->tx, dipc_tx_at(h->tx.link, off), &h->obj.msg,
		      sizeof(h->obj.msg));
	h->is_changed = false;
}

void dipc_msg_hold_write(struct msg_hold *h, uint64_t off, const void *src,
			 size_t len)
{
	if (h->tx.link && h->tx.nr >= HOLD_WRITES)
		dipc_msg_hold_post(h);
	if (hold_begin(h, 0))
		dipc_tx_write(&h->tx, dipc_tx_at(h->tx.link, off), src, len);
}

void dipc_msg_hold_post(struct msg_hold *h)
{
	if (!h->is_changed && !h->tx.link)
		return;
	if (!hold_begin(h, 0))
		return;
	hold_add_object(h);
	h->status = dipc_tx_post(&h->tx);
}

int dipc_msg_hold_read(struct msg_hold *h, uint64_t off, void *dst, size_t len)
{
	dipc_msg_hold_post(h);
	while (!h->status) {
		h->status = dipc_arena_read(h->fabric, off, dst, len);
		if (h->status != -ENOMEM)
			break;
		h->status = 0; /* as hold_begin() */
		dipc_fiber_sleep(DIPC_MSEC);
	}
	return h->status;
}

int dipc_msg_hold_finish(struct msg_hold *h)
{
	if (hold_begin(h, 0)) {
		hold_add_object(h);
		dipc_lock_release_in(&h->lock, &h->tx);
		h->status = dipc_tx_post(&h->tx);
	}
	dipc_tx_end(&h->tx);
	dipc_lock_released(&h->lock);
	return h->status;
}

int dipc_msg_hold_commit(struct msg_hold *h)
{
	if (hold_begin(h, 0)) {
		hold_add_object(h);
		dipc_lock_release_in(&h->lock, &h->tx);
		h->status = dipc_tx_start(&h->tx);
	}
	/* the next fiber's lock may follow on the link at once */
	dipc_lock_released(&h->lock);
	if (!h->status)
		h->status = dipc_tx_wait(&h->tx);
	return h->status;
}

const void *dipc_msg_hold_peek(struct msg_hold *h, uint64_t off, size_t len)
{
	if (!hold_begin(h, len))
		return NULL;
	return dipc_tx_read(&h->tx, dipc_tx_at(h->tx.link, off), len);
}

void dipc_msg_hold_end(struct msg_hold *h)
{
	dipc_tx_end(&h->tx);
}

int dipc_msg_damaged(const struct msg_hold *h, uint64_t off)
{
	dipc_error("message queue %d is damaged at arena offset 0x%llx",
		   h->obj.id, (unsigned long long)off);
	return -EIO;
}

/* ---- Linux's rules ------------------------------------------------------ */

bool dipc_msg_fits(const struct dipc_arena_msg *q, uint64_t len)
{
	return len + q->cbytes <= q->qbytes && 1ull + q->qnum <= q->qbytes;
}

bool dipc_msg_matches(int64_t type, const struct msg_wish *wish)
{
	if (wish->type == 0)
		return true;
	if (wish->type < 0) /* -INT64_MIN is no number */
		return type <=
		       (wish->type == INT64_MIN ? INT64_MAX : -wish->type);
	if (wish->flags & MSG_EXCEPT)
		return type != wish->type;
	return type == wish->type;
}

/* ---- the list of messages ----------------------------------------------- */

static void find_first(const struct msg_hold *h, struct msg_found *at)
{
	const struct dipc_arena_msg *q = &h->obj.msg;

	*at = (struct msg_found){
		.off = q->first, .type = q->first_type, .len = q->first_len};
}

/* AT, whose header is READ for it, becomes the message behind it. */
static int find_next(struct msg_hold *h, struct msg_found *at)
{
	struct dipc_arena_message head;

	if (dipc_msg_hold_read(h, at->off, &head, MSG_HEAD))
		return h->status;
	at->prev = at->off;
	at->off = head.next;
	at->type = head.next_type;
	at->len = head.next_len;
	return 0;
}

int dipc_msg_find(struct msg_hold *h, const struct msg_wish *wish,
		  struct msg_found *found_out)
{
	uint32_t i, nr = h->obj.msg.qnum; /* bounds the walk, in any case */
	struct msg_wish left = *wish;
	struct msg_found at;
	int ret = 0;

	find_first(h, &at);
	for (i = 0; i < nr && at.off; i++) {
		if (dipc_msg_matches(at.type, &left)) {
			*found_out = at;
			ret = 1;
			if (left.type >= 0 || at.type <= 1)
				break;
			/* only a lower type is better; of equals the first */
			left.type = 1 - at.type;
		}
		if (i + 1 == nr)
			break;
		if (find_next(h, &at))
			return h->status;
	}
	return ret;
}

int dipc_msg_find_nth(struct msg_hold *h, int64_t index,
		      struct msg_found *found_out)
{
	struct msg_found at;

	if (index < 0 || index >= (int64_t)h->obj.msg.qnum)
		return 0;
	find_first(h, &at);
	for (; index && at.off; index--)
		if (find_next(h, &at))
			return h->status;
	*found_out = at;
	return at.off != 0;
}

/* Let PREV (0: the object) lead to OFF. */
static void list_lead(struct msg_hold *h, uint64_t prev, uint64_t off,
		      int64_t type, uint32_t len)
{
	const struct dipc_arena_message link = {
		.next = off, .next_type = type, .next_len = len};
	struct dipc_arena_msg *q = &h->obj.msg;

	h->is_changed = true;
	if (prev) {
		dipc_msg_hold_write(h, prev, &link, LINK_LEN);
		return;
	}
	q->first = off;
	q->first_type = type;
	q->first_len = len;
}

void dipc_msg_append(struct msg_hold *h, uint64_t off, int64_t type,
		     uint32_t len)
{
	struct dipc_arena_msg *q = &h->obj.msg;

	list_lead(h, q->last, off, type, len);
	q->last = off;
	q->qnum++;
	q->cbytes += len;
}

void dipc_msg_unappend(struct msg_hold *h, uint64_t prev, uint32_t len)
{
	struct dipc_arena_msg *q = &h->obj.msg;

	list_lead(h, prev, 0, 0, 0);
	q->last = prev;
	q->qnum--;
	q->cbytes -= len;
}

void dipc_msg_unlink(struct msg_hold *h, const struct msg_found *found,
		     const struct dipc_arena_message *head)
{
	struct dipc_arena_msg *q = &h->obj.msg;

	list_lead(h, found->prev, head->next, head->next_type, head->next_len);
	if (q->last == found->off)
		q->last = found->prev;
	q->qnum--;
	q->cbytes -= found->len;
}
