/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * msgsnd and msgrcv. A call tries under the lock; what cannot go on links a
 * record there and sleeps without it. Whoever makes the call possible does its
 * work too, or sends it back to try again (-EAGAIN in the record).
 */
#include "runtime/protocol/msg_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#include "runtime/base/log.h"

#define SMALL_TEXT 192u /* goes with its header in one WRITE */

/* How a try under the lock ended, when not with the call's result. */
enum step {
	STEP_SLEEP = 1,   /* linked: the result comes from the record */
	STEP_NEED_RECORD, /* none was free at once */
	STEP_AGAIN,
};

/* One call, from its beginning to its end. */
struct call {
	struct dipc_msgs *msgs; /* borrowed, as all pointers here */
	int32_t id;
	const struct dipc_cred *cred;
	struct dipc_cancel *cancel;
	int flags;
	int64_t type;
	/* send */
	const void *text;
	uint32_t len;
	struct dipc_block block;
	/* receive */
	void *room;
	struct msg_wish wish;
	size_t max; /* bytes at `room` */
	int64_t got;
	/* blocking */
	struct dipc_waiter w;
	bool has_record;
	bool has_slept;
};

/* A removed queue is as one that never was, to whoever did not block on it. */
static int call_errno(const struct call *c, int ret)
{
	return ret == -EIDRM && !c->has_slept ? -EINVAL : ret;
}

int dipc_msgs_create(struct dipc_fabric *f, struct dipc_waiters *ws,
		     struct dipc_msgs **msgs_out)
{
	struct dipc_msgs *msgs = calloc(1, sizeof(*msgs));
	int ret;

	if (!msgs)
		return -ENOMEM;
	msgs->fabric = f;
	msgs->ws = ws;
	ret = dipc_pool_create(f, &msgs->pool);
	if (ret) {
		free(msgs);
		return ret;
	}
	*msgs_out = msgs;
	return 0;
}

void dipc_msgs_destroy(struct dipc_msgs *msgs)
{
	if (!msgs)
		return;
	dipc_pool_destroy(msgs->pool);
	free(msgs);
}

int dipc_msgs_flush(struct dipc_msgs *msgs)
{
	return dipc_pool_flush(msgs->pool);
}

/* ---- blocking ----------------------------------------------------------- */

/* With the lock held: a record, if there is one at once. */
static int call_get_record(struct call *c)
{
	int ret;

	if (c->has_record)
		return 0;
	/* waiting here might be for somebody who waits for our lock */
	ret = dipc_waiter_get(c->msgs->ws, 0, NULL, &c->w);
	if (ret)
		return ret == -EAGAIN ? STEP_NEED_RECORD : ret;
	c->has_record = true;
	return 0;
}

/*
 * Without the lock: wait for a record. Not for ever: they may all be asleep in
 * other calls, and what somebody makes possible must not wait for those.
 */
static int call_await_record(struct call *c)
{
	uint64_t now = dipc_fabric_now(c->msgs->fabric);
	int ret = dipc_waiter_get(c->msgs->ws, now + DIPC_RECORD_WAIT,
				  c->cancel, &c->w);

	if (ret == -EAGAIN)
		return STEP_AGAIN;
	if (ret)
		return ret;
	c->has_record = true;
	return STEP_AGAIN;
}

/*
 * Linked, and unlocked by a chain that is on its way: sleep. 0: done, with
 * *RESULT_OUT; -EINTR, -EIDRM, -ENOLINK.
 */
static int call_sleep(struct call *c, bool is_receiver, int32_t *result_out)
{
	int ret;

	c->has_record = false;
	c->has_slept = true;
	ret = dipc_waiter_sleep(&c->w, DIPC_NEVER, c->cancel, result_out);
	if (ret == -EINTR) {
		/* not to be used again while it may be linked */
		while ((ret = dipc_msg_withdraw(c->msgs, c->id, &c->w,
						is_receiver)) == -ENOMEM)
			dipc_fiber_sleep(DIPC_MSEC);
		if (ret == 0)
			ret = -EINTR;
	}
	/* out of reach: nobody knows who may still write the record */
	if (ret != -ENOLINK)
		dipc_waiter_put(&c->w);
	return ret;
}

/* ---- sending ------------------------------------------------------------ */

/* The message goes along with the first attempt at the lock. */
static void send_ride(void *arg, struct dipc_tx *tx, unsigned attempt)
{
	const struct call *c = arg;
	const struct dipc_arena_message head = {
		.len = c->len,
		.type = c->type,
		.pid = c->cred->pid,
		.node = (uint16_t)dipc_fabric_node(c->msgs->fabric),
		.pool_class = c->block.pool_class,
	};
	uint8_t both[MSG_HEAD + SMALL_TEXT];

	if (attempt)
		return;
	if (c->len > SMALL_TEXT) {
		dipc_tx_write(tx, dipc_tx_at(tx->link, c->block.off), &head,
			      MSG_HEAD);
		dipc_tx_write(tx, dipc_tx_at(tx->link, c->block.off + MSG_HEAD),
			      c->text, c->len);
		return;
	}
	memcpy(both, &head, MSG_HEAD);
	if (c->len)
		memcpy(both + MSG_HEAD, c->text, c->len);
	dipc_tx_write(tx, dipc_tx_at(tx->link, c->block.off), both,
		      MSG_HEAD + c->len);
}

static void ride_seen(void *arg, bool is_locked)
{
	(void)arg;
	(void)is_locked;
}

/* The message fits: to a receiver, or into the queue. Unlocks. */
static int send_put(struct call *c, struct msg_hold *h)
{
	struct dipc_arena_msg *q = &h->obj.msg;
	int ret;

	/* -EIO: the receivers cannot be read; the queue still can */
	ret = dipc_msg_deliver(h, c->block.off, c->type, c->len);
	q->lspid = dipc_who(dipc_fabric_node(h->fabric), c->cred->pid);
	q->stime = (uint64_t)dipc_fabric_wall(h->fabric);
	h->is_changed = true;
	if (ret == 1) {
		(void)dipc_msg_hold_finish(h); /* it is delivered already */
		return 0;
	}
	if (!h->status)
		dipc_msg_append(h, c->block.off, c->type, c->len);
	ret = dipc_msg_hold_commit(h);
	dipc_msg_hold_end(h);
	return ret;
}

static int send_try(struct call *c)
{
	const struct dipc_lock_ride ride = {
		.bytes = MSG_HEAD + c->len + 8,
		.add = send_ride,
		.seen = ride_seen,
		.arg = c,
	};
	struct msg_hold h;
	int ret;

	ret = dipc_msg_hold_lock(&h, c->msgs->fabric, c->id, &ride);
	if (ret)
		return ret;
	ret = dipc_object_allows(&h.obj, c->cred, DIPC_WANT_WRITE);
	if (ret) {
		/* the room that woke us is another's */
		if (c->has_slept)
			dipc_msg_admit(&h, false);
		goto out_unlock;
	}
	if (dipc_msg_fits(&h.obj.msg, c->len))
		return send_put(c, &h);
	ret = -EAGAIN;
	if (c->flags & IPC_NOWAIT)
		goto out_unlock;
	ret = call_get_record(c);
	if (ret)
		goto out_unlock;
	dipc_msg_link_sender(&h, &c->w, c->block.off, c->type, c->len,
			     c->cred->pid);
	ret = STEP_SLEEP;

out_unlock:
	return dipc_msg_hold_finish(&h) ? -ENOLINK : ret;
}

static int send_run(struct call *c)
{
	int32_t result = 0;
	int ret;

	do {
		ret = send_try(c);
		if (ret == STEP_NEED_RECORD)
			ret = call_await_record(c);
		if (ret != STEP_SLEEP)
			continue;
		ret = call_sleep(c, false, &result);
		if (ret == 0)
			ret = result == -EAGAIN ? STEP_AGAIN : result;
	} while (ret == STEP_AGAIN);
	return ret;
}

int dipc_msg_send(struct dipc_msgs *msgs, int32_t id,
		  const struct dipc_cred *cred, int64_t type, const void *text,
		  size_t len, int flags, struct dipc_cancel *cancel)
{
	struct call c = {
		.msgs = msgs,
		.id = id,
		.cred = cred,
		.cancel = cancel,
		.flags = flags,
		.type = type,
		.text = text,
	};
	int ret;

	if (type < 1 || len > dipc_fabric_super(msgs->fabric)->msgmax)
		return -EINVAL;
	ret = dipc_pool_get(msgs->pool, len, &c.block);
	if (ret)
		return ret;
	c.len = (uint32_t)len;
	ret = send_run(&c);
	if (c.has_record)
		dipc_waiter_put(&c.w);
	/* out of reach: the queue may have it */
	if (ret && ret != -ENOLINK)
		dipc_pool_put(msgs->pool, c.block.off);
	return call_errno(&c, ret);
}

/* ---- receiving ---------------------------------------------------------- */

/* Hand over the message HEAD, of whose text N bytes follow it. */
static void receive_copy(struct call *c, const struct dipc_arena_message *head,
			 size_t n)
{
	if (n)
		memcpy(c->room, head->text, n);
	c->type = head->type;
	c->got = (int64_t)n;
}

/*
 * The only message, and nobody waits for its room: what the queue will be is
 * known before the message is, so that one chain does it all. Unlocks.
 */
static int receive_only(struct call *c, struct msg_hold *h,
			const struct msg_found *found, size_t n)
{
	static const struct dipc_arena_message nothing;
	const struct dipc_arena_message *head;
	int ret;

	head = dipc_msg_hold_peek(h, found->off, MSG_HEAD + n);
	dipc_msg_unlink(h, found, &nothing);
	ret = dipc_msg_hold_commit(h);
	if (ret == 0 && head->len != found->len)
		ret = dipc_msg_damaged(h, found->off);
	if (ret == 0)
		receive_copy(c, head, n);
	dipc_msg_hold_end(h);
	return ret;
}

/*
 * READ the message, then unlink it. The last chain is not waited for: only an
 * eviction of this node can keep it from its end, see msg.md. Unlocks.
 */
static int receive_one(struct call *c, struct msg_hold *h,
		       const struct msg_found *found, size_t n)
{
	struct dipc_link *link = dipc_fabric_arena(h->fabric);
	const struct dipc_arena_message *head;
	struct dipc_tx tx;
	int ret;

	ret = dipc_tx_begin(&tx, link, MSG_HEAD + n);
	if (ret)
		goto err_lock;
	head = dipc_tx_read(&tx, dipc_tx_at(link, found->off), MSG_HEAD + n);
	ret = dipc_tx_run(&tx);
	if (ret == 0 && head->len != found->len)
		ret = dipc_msg_damaged(h, found->off);
	if (ret)
		goto err_tx;
	dipc_msg_unlink(h, found, head);
	if (h->obj.msg.snd_first)
		dipc_msg_admit(h, false);
	ret = dipc_msg_hold_finish(h);
	if (ret == 0)
		receive_copy(c, head, n);
	dipc_tx_end(&tx);
	return ret;

err_tx:
	dipc_tx_end(&tx);
err_lock:
	(void)dipc_msg_hold_finish(h);
	return ret;
}

/* FOUND is ours to take. Unlocks. */
static int receive_take(struct call *c, struct msg_hold *h,
			const struct msg_found *found)
{
	struct dipc_arena_msg *q = &h->obj.msg;
	size_t n = found->len < c->max ? found->len : c->max;
	int ret;

	if (found->len > dipc_pool_text_room(c->msgs->pool, found->off)) {
		ret = dipc_msg_damaged(h, found->off);
		(void)dipc_msg_hold_finish(h);
		return ret;
	}
	q->lrpid = dipc_who(dipc_fabric_node(h->fabric), c->cred->pid);
	q->rtime = (uint64_t)dipc_fabric_wall(h->fabric);
	if (q->qnum == 1 && !q->snd_first)
		ret = receive_only(c, h, found, n);
	else
		ret = receive_one(c, h, found, n);
	if (ret == 0)
		dipc_pool_put(c->msgs->pool, found->off);
	return ret;
}

static int receive_try(struct call *c)
{
	struct msg_found found;
	struct msg_hold h;
	int ret;

	ret = dipc_msg_hold_lock(&h, c->msgs->fabric, c->id, NULL);
	if (ret)
		return ret;
	ret = dipc_object_allows(&h.obj, c->cred, DIPC_WANT_READ);
	if (ret)
		goto out_unlock;
	ret = dipc_msg_find(&h, &c->wish, &found);
	if (ret < 0)
		goto out_unlock;
	if (ret && found.len <= c->wish.room)
		return receive_take(c, &h, &found);
	ret = ret ? -E2BIG : -ENOMSG;
	if (ret == -E2BIG || (c->flags & IPC_NOWAIT))
		goto out_unlock;
	ret = call_get_record(c);
	if (ret)
		goto out_unlock;
	dipc_msg_link_receiver(&h, &c->w, &c->wish, c->cred->pid);
	ret = STEP_SLEEP;

out_unlock:
	return dipc_msg_hold_finish(&h) ? -ENOLINK : ret;
}

/* MSG_COPY: the message at a place in line, which stays. */
static int copy_try(struct call *c)
{
	struct dipc_link *link = dipc_fabric_arena(c->msgs->fabric);
	const struct dipc_arena_message *head;
	struct msg_found found;
	struct msg_hold h;
	struct dipc_tx tx;
	int ret;

	ret = dipc_msg_hold_lock(&h, c->msgs->fabric, c->id, NULL);
	if (ret)
		return ret;
	ret = dipc_object_allows(&h.obj, c->cred, DIPC_WANT_READ);
	if (ret)
		goto out_unlock;
	ret = dipc_msg_find_nth(&h, c->type, &found);
	if (ret <= 0) {
		ret = ret ? ret : -ENOMSG;
		goto out_unlock;
	}
	/* msgrcv's own E2BIG; with MSG_NOERROR copy_msg() says EINVAL */
	ret = -E2BIG;
	if (found.len > c->wish.room)
		goto out_unlock;
	ret = -EINVAL;
	if (found.len > c->max)
		goto out_unlock;
	ret = dipc_tx_begin(&tx, link, MSG_HEAD + found.len);
	if (ret)
		goto out_unlock;
	head = dipc_tx_read(&tx, dipc_tx_at(link, found.off),
			    MSG_HEAD + found.len);
	ret = dipc_tx_run(&tx);
	if (ret == 0 && head->len != found.len)
		ret = dipc_msg_damaged(&h, found.off);
	if (ret == 0)
		receive_copy(c, head, found.len);
	dipc_tx_end(&tx);

out_unlock:
	return dipc_msg_hold_finish(&h) ? -ENOLINK : ret;
}

/* The message at OFF was handed to us: it is in no queue. */
static int receive_delivered(struct call *c, uint64_t off)
{
	struct dipc_link *link = dipc_fabric_arena(c->msgs->fabric);
	size_t room = dipc_pool_text_room(c->msgs->pool, off);
	const struct dipc_arena_message *head;
	struct dipc_tx tx;
	size_t n = room < c->max ? room : c->max;
	int ret;

	if (!room) {
		dipc_error("message queue %d: no message can be at 0x%llx",
			   c->id, (unsigned long long)off);
		return -EIO;
	}
	/* how long it is nobody said; most of a block is a short READ */
	/* it is ours and in no queue any more: no memory is no reason to lose it */
	while ((ret = dipc_tx_begin(&tx, link, MSG_HEAD + n)) == -ENOMEM)
		dipc_fiber_sleep(DIPC_MSEC);
	if (ret)
		return ret;
	head = dipc_tx_read(&tx, dipc_tx_at(link, off), MSG_HEAD + n);
	ret = dipc_tx_run(&tx);
	if (ret == 0)
		receive_copy(c, head, head->len < n ? head->len : n);
	dipc_tx_end(&tx);
	if (ret == 0)
		dipc_pool_put(c->msgs->pool, off);
	return ret;
}

static int receive_run(struct call *c)
{
	int32_t result = 0;
	int ret;

	do {
		ret = receive_try(c);
		if (ret == STEP_NEED_RECORD)
			ret = call_await_record(c);
		if (ret != STEP_SLEEP)
			continue;
		ret = call_sleep(c, true, &result);
		if (ret)
			return ret;
		if (result > 0)
			return receive_delivered(c, msg_of_result(result));
		ret = result == -EAGAIN ? STEP_AGAIN : result;
	} while (ret == STEP_AGAIN);
	return ret;
}

int64_t dipc_msg_receive(struct dipc_msgs *msgs, int32_t id,
			 const struct dipc_cred *cred, int64_t type, int flags,
			 void *text, size_t len, int64_t *type_out,
			 struct dipc_cancel *cancel)
{
	struct call c = {
		.msgs = msgs,
		.id = id,
		.cred = cred,
		.cancel = cancel,
		.flags = flags,
		.room = text,
		.type = type, /* MSG_COPY: which one */
		.max = len,
		.wish = {.type = type,
			 .flags = (uint32_t)(flags & MSG_EXCEPT),
			 .room = len < UINT32_MAX ? (uint32_t)len : UINT32_MAX},
	};
	int ret;

	if ((int64_t)len < 0)
		return -EINVAL;
	if ((flags & MSG_COPY) &&
	    ((flags & MSG_EXCEPT) || !(flags & IPC_NOWAIT)))
		return -EINVAL;
	if (flags & MSG_NOERROR)
		c.wish.room = UINT32_MAX;
	ret = flags & MSG_COPY ? copy_try(&c) : receive_run(&c);
	if (c.has_record)
		dipc_waiter_put(&c.w);
	if (ret)
		return call_errno(&c, ret);
	*type_out = c.type;
	return c.got;
}
