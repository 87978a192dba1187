/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the referee does to a queue, and IPC_SET.
 *
 * Mending trusts only 8-byte words: the `first` of each list, `next`, and the
 * state of records. What a dead holder was at is found by looking at every
 * record of every node: one that is pending, but in no list, was being
 * completed. docs/design/msg.md has the table of cases.
 */
#include "runtime/protocol/msg_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/log.h"

#define SCAN_AT_ONCE 64u /* records in one READ; divides a node's table */

/* A record that belongs to the queue. */
struct sleeper {
	uint64_t off;
	struct dipc_arena_waiter rec; /* its head only */
	bool is_reached;              /* by walking its list */
	bool is_leaving;
};

struct entry {
	uint64_t off;
	uint32_t len;
	int64_t type;
};

struct mend {
	struct msg_hold *h;       /* borrowed */
	struct sleeper *sleepers; /* owned; by offset */
	unsigned nr_sleepers, room_sleepers;
	struct entry *entries; /* owned; messages in order */
	uint32_t nr_entries, room_entries;
	struct sleeper **order; /* owned; scratch of one list */
};

/* ---- reading ------------------------------------------------------------ */

static bool record_is_ours(const struct dipc_arena_waiter *rec, int32_t id)
{
	enum dipc_waiter_status status = dipc_waiter_status(rec->state);

	if (rec->id != id || rec->nr_ops)
		return false;
	/* a cancelled one that was withdrawn is not ours any more */
	return status == DIPC_WAITER_PENDING ||
	       (status == DIPC_WAITER_CANCELLED &&
		(rec->is_linked || rec->msg));
}

static int sleepers_add(struct mend *m, uint64_t off, const uint8_t *record)
{
	unsigned room = m->room_sleepers ? 2 * m->room_sleepers : 64;
	struct dipc_arena_waiter rec = {0};
	struct sleeper *s;

	memcpy(&rec, record, RECORD_HEAD);
	if (!record_is_ours(&rec, m->h->obj.id))
		return 0;
	if (m->nr_sleepers == m->room_sleepers) {
		s = realloc(m->sleepers, room * sizeof(*s));
		if (!s)
			return -ENOMEM;
		m->sleepers = s;
		m->room_sleepers = room;
	}
	m->sleepers[m->nr_sleepers++] =
		(struct sleeper){.off = off, .rec = rec};
	return 0;
}

static int scan_node(struct mend *m, unsigned node)
{
	struct dipc_fabric *f = m->h->fabric;
	struct dipc_link *link = dipc_fabric_arena(f);
	size_t size = sizeof(struct dipc_arena_waiter);
	uint64_t off = dipc_waiter_off(dipc_fabric_super(f), node, 0);
	unsigned i, j;
	struct dipc_tx tx;
	int ret;

	ret = dipc_tx_begin(&tx, link, SCAN_AT_ONCE * size);
	for (i = 0; i < DIPC_WAITERS_PER_NODE && !ret; i += SCAN_AT_ONCE) {
		const uint8_t *records;

		dipc_tx_again(&tx);
		records = dipc_tx_read(&tx, dipc_tx_at(link, off),
				       SCAN_AT_ONCE * size);
		ret = dipc_tx_run(&tx);
		for (j = 0; j < SCAN_AT_ONCE && !ret; j++, off += size)
			ret = sleepers_add(m, off, records + j * size);
	}
	dipc_tx_end(&tx);
	return ret;
}

/* Every record of the queue ID, by offset. */
static int scan(struct mend *m)
{
	struct dipc_fabric *f = m->h->fabric;
	uint64_t nodes = dipc_fabric_super(f)->nodes_off;
	struct dipc_arena_node entry;
	unsigned node;
	int ret = 0;

	for (node = 1; node <= DIPC_NODES_MAX && !ret; node++) {
		ret = dipc_arena_read(f, nodes + node * sizeof(entry),
				      &entry.state, sizeof(entry.state));
		if (!ret && entry.state >> 32 != DIPC_NODE_FREE)
			ret = scan_node(m, node);
	}
	return ret;
}

static struct sleeper *sleeper_at(struct mend *m, uint64_t off)
{
	unsigned low = 0, high = m->nr_sleepers;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (m->sleepers[mid].off == off)
			return &m->sleepers[mid];
		if (m->sleepers[mid].off < off)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static int entries_add(struct mend *m, uint64_t off,
		       const struct dipc_arena_message *head)
{
	uint32_t room = m->room_entries ? 2 * m->room_entries : 64;
	struct entry *e;

	if (m->nr_entries == m->room_entries) {
		e = realloc(m->entries, room * sizeof(*e));
		if (!e)
			return -ENOMEM;
		m->entries = e;
		m->room_entries = room;
	}
	m->entries[m->nr_entries++] = (struct entry){
		.off = off,
		.len = head->len,
		.type = head->type,
	};
	return 0;
}

/* The messages that `first` leads to. */
static int walk(struct mend *m)
{
	const struct dipc_arena_super *super = dipc_fabric_super(m->h->fabric);
	uint64_t max = super->size / DIPC_BLOCK_GRAIN;
	uint64_t off = m->h->obj.msg.first;
	struct dipc_arena_message head;
	int ret;

	while (off) {
		if (off % DIPC_BLOCK_GRAIN || off / DIPC_BLOCK_GRAIN >= max ||
		    m->nr_entries > max) {
			(void)dipc_msg_damaged(m->h, off);
			return 0; /* save what there is */
		}
		ret = dipc_arena_read(m->h->fabric, off, &head, MSG_HEAD);
		if (ret)
			return ret;
		ret = entries_add(m, off, &head);
		if (ret)
			return ret;
		off = head.next;
	}
	return 0;
}

static struct entry *entry_of(struct mend *m, uint64_t off)
{
	uint32_t i;

	for (i = 0; i < m->nr_entries; i++)
		if (m->entries[i].off == off)
			return &m->entries[i];
	return NULL;
}

static void mend_fini(struct mend *m)
{
	free(m->sleepers);
	free(m->entries);
	free(m->order);
}

/* ---- deciding ----------------------------------------------------------- */

static enum dipc_waiter_status status_of(const struct sleeper *s)
{
	return dipc_waiter_status(s->rec.state);
}

/* Mark whom the list beginning at OFF reaches. */
static void reach(struct mend *m, uint64_t off)
{
	struct sleeper *s;

	while (off) {
		s = sleeper_at(m, off);
		if (!s || s->is_reached)
			return;
		s->is_reached = true;
		off = s->rec.next;
	}
}

/* NODE is dead: its pending records are cancelled in its place. */
static int cancel_node(struct mend *m, unsigned node)
{
	unsigned i;
	int ret;

	for (i = 0; i < m->nr_sleepers; i++) {
		struct sleeper *s = &m->sleepers[i];
		uint32_t seq = dipc_waiter_seq(s->rec.state);
		uint64_t to = dipc_waiter_state(DIPC_WAITER_CANCELLED, seq, 0);
		uint64_t old;

		if (s->rec.node != node || status_of(s) != DIPC_WAITER_PENDING)
			continue;
		ret = dipc_arena_cas(m->h->fabric, s->off, s->rec.state, to,
				     &old);
		if (ret)
			return ret;
		s->rec.state = to;
	}
	return 0;
}

static void decide(struct mend *m)
{
	unsigned i;

	reach(m, m->h->obj.msg.rcv_first);
	reach(m, m->h->obj.msg.snd_first);
	for (i = 0; i < m->nr_sleepers; i++) {
		struct sleeper *s = &m->sleepers[i];

		s->is_leaving = !s->is_reached ||
				status_of(s) == DIPC_WAITER_CANCELLED ||
				(s->rec.msg && entry_of(m, s->rec.msg));
	}
}

/* ---- writing ------------------------------------------------------------ */

static void write_list(struct mend *m, uint64_t *first, uint64_t *last)
{
	struct sleeper *s;
	uint64_t off = *first;
	unsigned i, nr = 0;

	/* a record of `reach` is reached once, so this ends */
	while ((s = off ? sleeper_at(m, off) : NULL) && s->is_reached) {
		s->is_reached = false;
		off = s->rec.next;
		if (!s->is_leaving)
			m->order[nr++] = s;
	}
	*first = nr ? m->order[0]->off : 0;
	*last = nr ? m->order[nr - 1]->off : 0;
	for (i = 0; i < nr; i++) {
		s = m->order[i];
		s->rec.prev = i ? m->order[i - 1]->off : 0;
		s->rec.next = i + 1 < nr ? m->order[i + 1]->off : 0;
		s->rec.is_linked = 1;
		/* but for the state, which its owner may cancel */
		dipc_msg_hold_write(
			m->h, s->off + offsetof(struct dipc_arena_waiter, next),
			&s->rec.next, 2 * sizeof(uint64_t));
		dipc_msg_hold_write(
			m->h,
			s->off + offsetof(struct dipc_arena_waiter, is_linked),
			&s->rec.is_linked, sizeof(uint32_t));
	}
}

static void write_leaving(struct mend *m, unsigned dead)
{
	static const uint8_t nothing[12];
	unsigned i;

	for (i = 0; i < m->nr_sleepers; i++) {
		const struct sleeper *s = &m->sleepers[i];

		/* a dead node withdraws nothing: `msg` goes, too */
		if (s->is_leaving)
			dipc_msg_hold_write(
				m->h,
				s->off + offsetof(struct dipc_arena_waiter,
						  is_linked),
				nothing,
				s->rec.node == dead ? sizeof(nothing)
						    : sizeof(uint32_t));
	}
}

static void write_messages(struct mend *m)
{
	struct dipc_arena_msg *q = &m->h->obj.msg;
	uint32_t i, nr = m->nr_entries;

	q->first = q->last = 0;
	q->qnum = 0;
	q->cbytes = 0;
	m->h->is_changed = true;
	for (i = 0; i < nr; i++)
		dipc_msg_append(m->h, m->entries[i].off, m->entries[i].type,
				m->entries[i].len);
	if (nr) { /* the end of the list is an end */
		const uint64_t none = 0;

		dipc_msg_hold_write(m->h, q->last, &none, sizeof(none));
	}
}

static void entries_drop(struct mend *m, struct entry *e)
{
	struct entry *end = m->entries + m->nr_entries--;

	memmove(e, e + 1, (size_t)(end - (e + 1)) * sizeof(*e));
}

/*
 * End the calls of those who leave. A sender whose message is in the queue has
 * sent it, unless he has given up: then it comes out.
 */
static int complete_leaving(struct mend *m, bool *is_dropped_out)
{
	unsigned i;
	int ret;

	for (i = 0; i < m->nr_sleepers; i++) {
		const struct sleeper *s = &m->sleepers[i];
		struct entry *e = s->rec.msg ? entry_of(m, s->rec.msg) : NULL;

		if (!s->is_leaving)
			continue;
		ret = 0;
		if (status_of(s) == DIPC_WAITER_PENDING)
			ret = dipc_waiter_complete(m->h->fabric, s->off,
						   &s->rec, e ? 0 : -EAGAIN);
		if (ret < 0)
			return ret;
		if (ret)
			dipc_fabric_wake(m->h->fabric, s->rec.node,
					 s->rec.index);
		else if (e)
			entries_drop(m, e);
		*is_dropped_out |= !ret && e;
	}
	return 0;
}

static int mend(struct msg_hold *h, unsigned dead)
{
	struct dipc_arena_msg *q = &h->obj.msg;
	struct mend m = {.h = h};
	bool is_dropped = false;
	int ret;

	ret = walk(&m);
	if (!ret)
		ret = scan(&m);
	if (!ret && dead)
		ret = cancel_node(&m, dead);
	if (ret)
		goto out_fini;
	ret = -ENOMEM;
	m.order = calloc(m.nr_sleepers + 1, sizeof(*m.order));
	if (!m.order)
		goto out_fini;
	decide(&m);
	write_list(&m, &q->rcv_first, &q->rcv_last);
	write_list(&m, &q->snd_first, &q->snd_last);
	q->wish.state = 0;
	q->snd_min = 0;
	q->snd_max = UINT32_MAX;
	write_leaving(&m, dead);
	write_messages(&m);
	/* INV-UNLINK: out of the lists before the call is over */
	dipc_msg_hold_post(h);
	ret = h->status ? h->status : complete_leaving(&m, &is_dropped);
	if (!ret && is_dropped)
		write_messages(&m);
	if (!ret)
		dipc_msg_admit(h, false);

out_fini:
	mend_fini(&m);
	return ret;
}

/* ---- what the referee calls --------------------------------------------- */

static bool object_is_queue(const struct dipc_arena_object *obj)
{
	return (obj->state & ~DIPC_OBJECT_REMOVED) >> 32 == DIPC_KIND_MSG;
}

int dipc_msg_recover(struct dipc_fabric *f, uint32_t slot)
{
	uint64_t off = dipc_object_off(dipc_fabric_super(f), slot);
	struct dipc_arena_object obj;
	struct dipc_lock lock;
	struct msg_hold h;
	int ret;

	if (slot >= dipc_fabric_super(f)->nr_slots)
		return -EINVAL;
	ret = dipc_arena_read(f, off, &obj, sizeof(obj));
	if (ret || !obj.lock)
		return ret;
	if (!object_is_queue(&obj))
		return -EINVAL;
	ret = dipc_object_lock_inherit(f, slot, obj.lock, &lock);
	if (ret)
		return ret;
	dipc_msg_hold_init(&h, f, &lock);
	h.obj = obj;
	ret = mend(&h, 0);
	if (ret) /* still locked: the next try begins again */
		h.status = ret;
	return dipc_msg_hold_finish(&h);
}

/* Lock SLOT, removed or not, if it is a queue. */
static int lock_queue(struct dipc_fabric *f, uint32_t slot, struct msg_hold *h)
{
	struct dipc_lock lock;
	int ret;

	ret = dipc_object_lock_slot(f, slot, NULL, &lock, &h->obj);
	if (ret)
		return ret;
	if (!object_is_queue(&h->obj)) {
		dipc_object_unlock(&lock);
		return -EINVAL;
	}
	dipc_msg_hold_init(h, f, &lock);
	return 0;
}

int dipc_msg_evict(struct dipc_fabric *f, uint32_t slot, unsigned node)
{
	struct msg_hold h;
	int ret, end;

	ret = lock_queue(f, slot, &h);
	if (ret)
		return ret;
	/* no dead holder any more: who sleeps here is in a list */
	if (h.obj.msg.rcv_first || h.obj.msg.snd_first)
		ret = mend(&h, node);
	end = dipc_msg_hold_finish(&h);
	return ret ? ret : end;
}

int dipc_msg_remove(struct dipc_fabric *f, struct dipc_pool *pool,
		    uint32_t slot)
{
	struct msg_hold h;
	struct mend m = {.h = &h};
	unsigned i;
	int ret, end;

	ret = lock_queue(f, slot, &h);
	if (ret)
		return ret;
	ret = walk(&m);
	if (!ret)
		ret = scan(&m);
	for (i = 0; i < m.nr_sleepers && ret >= 0; i++) {
		const struct sleeper *s = &m.sleepers[i];

		if (status_of(s) != DIPC_WAITER_PENDING)
			continue;
		ret = dipc_waiter_complete(f, s->off, &s->rec, -EIDRM);
		if (ret > 0)
			dipc_fabric_wake(f, s->rec.node, s->rec.index);
	}
	if (ret >= 0) {
		uint32_t qbytes = h.obj.msg.qbytes;

		memset(&h.obj.msg, 0, sizeof(h.obj.msg));
		h.obj.msg.qbytes = qbytes;
		h.is_changed = true;
	}
	end = dipc_msg_hold_finish(&h);
	for (i = 0; i < m.nr_entries && pool && ret >= 0; i++)
		dipc_pool_put(pool, m.entries[i].off);
	mend_fini(&m);
	return ret < 0 ? ret : end;
}

/* ---- IPC_SET ------------------------------------------------------------ */

int dipc_msg_kick(struct dipc_msgs *msgs, int32_t id)
{
	struct msg_hold h;
	int ret;

	ret = dipc_msg_hold_lock(&h, msgs->fabric, id, NULL);
	if (ret)
		return ret;
	/* as Linux: permissions may have changed, so let them look again */
	dipc_msg_expunge(&h);
	dipc_msg_admit(&h, true);
	return dipc_msg_hold_finish(&h);
}
