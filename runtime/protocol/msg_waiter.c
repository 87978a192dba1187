/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A queue's blocked receivers and senders. All but withdraw and link are run
 * by whoever holds the lock, on records of other nodes.
 *
 * The order of writes is INV-UNLINK: a record leaves its list, and says so in
 * `is_linked`, before the CAS that completes it. Its owner may use it again
 * as soon as it sees the CAS.
 */
#include "runtime/protocol/msg_private.h"

#include <errno.h>
#include <string.h>

#include "runtime/base/log.h"

/* What is needed of a receiver in the list. */
struct receiver {
	uint64_t off;
	uint64_t state;
	uint64_t next;
	struct msg_wish wish;
	uint32_t pid;
	uint16_t node, index;
};

/* ---- lists -------------------------------------------------------------- */

static uint64_t *list_first(struct msg_hold *h, bool is_receiver)
{
	return is_receiver ? &h->obj.msg.rcv_first : &h->obj.msg.snd_first;
}

static uint64_t *list_last(struct msg_hold *h, bool is_receiver)
{
	return is_receiver ? &h->obj.msg.rcv_last : &h->obj.msg.snd_last;
}

static void write_word(struct msg_hold *h, uint64_t off, uint64_t word)
{
	dipc_msg_hold_write(h, off, &word, sizeof(word));
}

static void list_unlink(struct msg_hold *h, bool is_receiver, uint64_t off,
			uint64_t prev, uint64_t next)
{
	struct dipc_arena_msg *q = &h->obj.msg;
	const uint32_t is_linked = 0;

	h->is_changed = true;
	if (prev) {
		write_word(h, prev + offsetof(struct dipc_arena_waiter, next),
			   next);
		if (is_receiver && prev == q->rcv_first)
			q->wish.next = next;
	} else {
		*list_first(h, is_receiver) = next;
		if (is_receiver)
			q->wish.state = 0;
	}
	if (next)
		write_word(h, next + offsetof(struct dipc_arena_waiter, prev),
			   prev);
	else
		*list_last(h, is_receiver) = prev;
	dipc_msg_hold_write(h,
			    off + offsetof(struct dipc_arena_waiter, is_linked),
			    &is_linked, sizeof(is_linked));
}

/* REC is filled but for what linking is about. */
static void list_append(struct msg_hold *h, bool is_receiver, uint64_t off,
			struct dipc_arena_waiter *rec)
{
	uint64_t *last = list_last(h, is_receiver);

	h->is_changed = true;
	rec->next = 0;
	rec->prev = *last;
	rec->is_linked = 1;
	dipc_msg_hold_write(h, off, rec, RECORD_HEAD);
	if (*last)
		write_word(h, *last + offsetof(struct dipc_arena_waiter, next),
			   off);
	else
		*list_first(h, is_receiver) = off;
	*last = off;
}

static bool record_is_sane(const struct msg_hold *h,
			   const struct dipc_arena_waiter *rec)
{
	enum dipc_waiter_status status = dipc_waiter_status(rec->state);

	return rec->id == h->obj.id && rec->nr_ops == 0 && rec->is_linked &&
	       (status == DIPC_WAITER_PENDING ||
		status == DIPC_WAITER_CANCELLED);
}

/* READ the record at OFF of a list. 0, -EIO, the hold's status. */
static int record_load(struct msg_hold *h, uint64_t off,
		       struct dipc_arena_waiter *rec_out)
{
	int ret = dipc_msg_hold_read(h, off, rec_out, RECORD_HEAD);

	if (ret)
		return ret;
	return record_is_sane(h, rec_out) ? 0 : dipc_msg_damaged(h, off);
}

/* CAS and wake. 1: RESULT is what it ends with; 0: it was cancelled. */
static int record_complete(struct msg_hold *h, uint64_t off, uint64_t state,
			   uint16_t node, uint16_t index, int32_t result)
{
	const struct dipc_arena_waiter rec = {.state = state};
	int ret;

	dipc_msg_hold_post(h);
	if (h->status)
		return h->status;
	ret = dipc_waiter_complete(h->fabric, off, &rec, result);
	if (ret < 0)
		h->status = ret;
	else if (ret)
		dipc_fabric_wake(h->fabric, node, index);
	return ret;
}

/* ---- linking, by the owner ---------------------------------------------- */

static void record_fill(struct msg_hold *h, const struct dipc_waiter *w,
			uint32_t pid, struct dipc_arena_waiter *rec)
{
	memset(rec, 0, sizeof(*rec));
	rec->state = dipc_waiter_pending(w);
	rec->id = h->obj.id;
	rec->node = (uint16_t)dipc_fabric_node(h->fabric);
	rec->index = (uint16_t)w->index;
	rec->pid = pid;
}

void dipc_msg_link_receiver(struct msg_hold *h, struct dipc_waiter *w,
			    const struct msg_wish *wish, uint32_t pid)
{
	struct dipc_arena_msg *q = &h->obj.msg;
	struct dipc_arena_waiter rec;

	record_fill(h, w, pid, &rec);
	rec.type = wish->type;
	rec.size = wish->room;
	rec.flags = wish->flags;
	if (q->rcv_last && q->rcv_last == q->rcv_first)
		q->wish.next = w->off;
	list_append(h, true, w->off, &rec);
	if (q->rcv_first != w->off)
		return;
	q->wish = (struct dipc_arena_wish){
		.state = rec.state,
		.type = rec.type,
		.room = wish->room,
		.pid = pid,
		.node = rec.node,
		.index = rec.index,
		.flags = wish->flags,
	};
}

void dipc_msg_link_sender(struct msg_hold *h, struct dipc_waiter *w,
			  uint64_t off, int64_t type, uint32_t len,
			  uint32_t pid)
{
	struct dipc_arena_msg *q = &h->obj.msg;
	struct dipc_arena_waiter rec;

	record_fill(h, w, pid, &rec);
	rec.type = type;
	rec.size = len;
	rec.flags = q->nr_sets;
	rec.msg = off;
	if (!q->snd_first || len < q->snd_min)
		q->snd_min = len;
	if (!q->snd_first || len > q->snd_max)
		q->snd_max = len;
	list_append(h, false, w->off, &rec);
}

int dipc_msg_withdraw(struct dipc_msgs *msgs, int32_t id,
		      const struct dipc_waiter *w, bool is_receiver)
{
	/* is_linked and msg: nobody will find anything of this call here */
	static const uint8_t nothing[12];
	struct dipc_arena_waiter rec;
	struct msg_hold h;
	int ret;

	ret = dipc_msg_hold_lock(&h, msgs->fabric, id, NULL);
	if (ret) /* of a removed queue nobody reads the lists any more */
		return ret == -EINVAL ? -EIDRM : ret;
	ret = dipc_msg_hold_read(&h, w->off, &rec, RECORD_HEAD);
	if (ret == 0) {
		if (rec.is_linked)
			list_unlink(&h, is_receiver, w->off, rec.prev,
				    rec.next);
		dipc_msg_hold_write(
			&h,
			w->off + offsetof(struct dipc_arena_waiter, is_linked),
			nothing, sizeof(nothing));
	}
	return dipc_msg_hold_finish(&h);
}

/* ---- receivers ---------------------------------------------------------- */

static void receiver_from_record(uint64_t off,
				 const struct dipc_arena_waiter *rec,
				 struct receiver *r)
{
	*r = (struct receiver){
		.off = off,
		.state = rec->state,
		.next = rec->next,
		.wish = {.type = rec->type,
			 .flags = rec->flags,
			 .room = (uint32_t)rec->size},
		.pid = rec->pid,
		.node = rec->node,
		.index = rec->index,
	};
}

/* R is the first in the list: remember what it wants in the object. */
static void receiver_to_object(struct msg_hold *h, const struct receiver *r)
{
	h->obj.msg.wish = (struct dipc_arena_wish){
		.state = r->state,
		.next = r->next,
		.type = r->wish.type,
		.room = r->wish.room,
		.pid = r->pid,
		.node = r->node,
		.index = r->index,
		.flags = r->wish.flags,
	};
	h->is_changed = true;
}

static int receiver_load(struct msg_hold *h, uint64_t off, struct receiver *r)
{
	const struct dipc_arena_wish *wish = &h->obj.msg.wish;
	struct dipc_arena_waiter rec;
	int ret;

	if (off == h->obj.msg.rcv_first && wish->state) {
		*r = (struct receiver){
			.off = off,
			.state = wish->state,
			.next = wish->next,
			.wish = {.type = wish->type,
				 .flags = wish->flags,
				 .room = wish->room},
			.pid = wish->pid,
			.node = wish->node,
			.index = wish->index,
		};
		return 0;
	}
	ret = record_load(h, off, &rec);
	if (ret)
		return ret;
	receiver_from_record(off, &rec, r);
	if (off == h->obj.msg.rcv_first)
		receiver_to_object(h, r);
	return 0;
}

/*
 * Unlink R, which comes after PREV, and complete it. If it was the first, the
 * record of the next one is READ meanwhile, so that the object can describe
 * it. 1, 0 (cancelled), or the hold's status.
 */
static int receiver_complete(struct msg_hold *h, uint64_t prev,
			     const struct receiver *r, int32_t result)
{
	const struct dipc_arena_waiter *rec = NULL;
	struct dipc_link *link = dipc_fabric_arena(h->fabric);
	struct receiver next;
	struct dipc_tx tx;
	bool is_ahead = false;
	int ret;

	if (!prev && r->next && dipc_tx_begin(&tx, link, RECORD_HEAD) == 0) {
		rec = dipc_tx_read(&tx, dipc_tx_at(link, r->next), RECORD_HEAD);
		is_ahead = dipc_tx_start(&tx) == 0;
		if (!is_ahead)
			dipc_tx_end(&tx);
	}
	list_unlink(h, true, r->off, prev, r->next);
	ret = record_complete(h, r->off, r->state, r->node, r->index, result);
	if (!is_ahead)
		return ret;
	if (dipc_tx_wait(&tx) == 0 && record_is_sane(h, rec)) {
		receiver_from_record(r->next, rec, &next);
		receiver_to_object(h, &next);
	}
	dipc_tx_end(&tx);
	return ret;
}

int dipc_msg_deliver(struct msg_hold *h, uint64_t off, int64_t type,
		     uint32_t len)
{
	struct dipc_arena_msg *q = &h->obj.msg;
	uint64_t at = q->rcv_first, prev = 0;
	struct receiver r;
	int ret;

	while (at) {
		ret = receiver_load(h, at, &r);
		if (ret)
			return ret;
		at = r.next;
		if (!dipc_msg_matches(type, &r.wish)) {
			prev = r.off;
			continue;
		}
		ret = receiver_complete(h, prev, &r,
					r.wish.room < len ? -E2BIG
							  : msg_result(off));
		if (ret < 0)
			return ret;
		if (ret == 0 || r.wish.room < len)
			continue;
		q->lrpid = dipc_who(r.node, r.pid);
		q->rtime = (uint64_t)dipc_fabric_wall(h->fabric);
		h->is_changed = true;
		return 1;
	}
	return 0;
}

void dipc_msg_expunge(struct msg_hold *h)
{
	struct dipc_arena_msg *q = &h->obj.msg;
	struct receiver r;

	while (q->rcv_first)
		if (receiver_load(h, q->rcv_first, &r) ||
		    receiver_complete(h, 0, &r, -EAGAIN) < 0)
			return;
}

/* ---- senders ------------------------------------------------------------ */

/* May a blocked receiver want TYPE? No more is READ for the answer. */
static bool receiver_may_want(const struct dipc_arena_msg *q, int64_t type)
{
	const struct msg_wish wish = {.type = q->wish.type,
				      .flags = q->wish.flags};

	if (!q->rcv_first)
		return false;
	if (q->rcv_first != q->rcv_last || !q->wish.state)
		return true;
	return dipc_msg_matches(type, &wish);
}

/*
 * The sender at OFF, REC, comes after PREV and fits: put its message in, or
 * send it to try again. INV-APPEND: its message is in the list before its
 * record says so, and comes out again if the sender has given up.
 */
static int sender_admit(struct msg_hold *h, uint64_t prev, uint64_t off,
			const struct dipc_arena_waiter *rec, bool must_retry)
{
	struct dipc_arena_msg *q = &h->obj.msg;
	uint64_t last = q->last;
	int ret;

	/* what a blocked receiver may want the sender delivers itself */
	must_retry |= receiver_may_want(q, rec->type);
	if (!must_retry)
		dipc_msg_append(h, rec->msg, rec->type, (uint32_t)rec->size);
	list_unlink(h, false, off, prev, rec->next);
	ret = record_complete(h, off, rec->state, rec->node, rec->index,
			      must_retry ? -EAGAIN : 0);
	if (must_retry || ret < 0)
		return ret;
	if (ret == 0) {
		dipc_msg_unappend(h, last, (uint32_t)rec->size);
		return 0;
	}
	q->lspid = dipc_who(rec->node, rec->pid);
	q->stime = (uint64_t)dipc_fabric_wall(h->fabric);
	h->is_changed = true;
	return 1;
}

/*
 * The sender at OFF, behind PREV and before NEXT, to the end of the line. Cut
 * short anywhere, it leaves pending records that no list reaches: recovery
 * sends those to try again.
 */
static void sender_to_end(struct msg_hold *h, uint64_t off, uint64_t prev,
			  uint64_t next)
{
	struct dipc_arena_msg *q = &h->obj.msg;
	const uint64_t link[2] = {0, q->snd_last}; /* next, prev */

	h->is_changed = true;
	if (prev)
		write_word(h, prev + offsetof(struct dipc_arena_waiter, next),
			   next);
	else
		q->snd_first = next;
	write_word(h, next + offsetof(struct dipc_arena_waiter, prev), prev);
	dipc_msg_hold_write(h, off + offsetof(struct dipc_arena_waiter, next),
			    link, sizeof(link));
	write_word(h, q->snd_last + offsetof(struct dipc_arena_waiter, next),
		   off);
	q->snd_last = off;
}

/* Room that is left to the senders who were sent to try again. */
struct promised {
	uint64_t bytes;
	uint32_t nr;
};

static bool fits_beside(const struct dipc_arena_msg *q,
			const struct promised *promised, uint64_t len)
{
	struct dipc_arena_msg then = *q;

	then.cbytes += promised->bytes;
	then.qnum += promised->nr;
	return dipc_msg_fits(&then, len);
}

/*
 * As ss_wakeup() and who it wakes: everybody who fits into what is there now
 * gets up, in order; for whom others leave no room he lines up again. Who did
 * not fit from the start keeps his place. Where nobody is so large, all that
 * are left are of one kind, and the walk can end when the queue is full.
 */
void dipc_msg_admit(struct msg_hold *h, bool must_retry)
{
	struct dipc_arena_msg *q = &h->obj.msg;
	const struct dipc_arena_msg was = *q;
	uint64_t at, end = q->snd_last, prev = 0, next;
	bool has_large = !dipc_msg_fits(q, q->snd_max);
	struct promised promised = {0};
	struct dipc_arena_waiter rec;
	uint32_t min = UINT32_MAX, max = 0;

	for (next = q->snd_first; next;) {
		at = next;
		if (!fits_beside(q, &promised, q->snd_min) &&
		    (!has_large || q->qnum + promised.nr == was.qnum))
			return; /* then nobody fits, or has to move */
		if (record_load(h, at, &rec))
			return;
		next = at == end ? 0 : rec.next;
		if (fits_beside(q, &promised, rec.size)) {
			/* allowed under another mode: he asks again himself */
			bool is_old = rec.flags != q->nr_sets;

			if (sender_admit(h, prev, at, &rec,
					 must_retry || is_old) < 0)
				return;
			if (is_old && !must_retry) {
				promised.bytes += rec.size;
				promised.nr++;
			}
			continue;
		}
		min = rec.size < min ? (uint32_t)rec.size : min;
		max = rec.size > max ? (uint32_t)rec.size : max;
		if (rec.next && dipc_msg_fits(&was, rec.size))
			sender_to_end(h, at, prev, rec.next);
		else
			prev = at;
	}
	q->snd_min = min;
	q->snd_max = max;
	h->is_changed = true;
}
