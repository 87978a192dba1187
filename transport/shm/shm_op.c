/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operations: the poster's CPU does them at once on the peer's memory. Only a
 * WRITE_IMM that meets a full ring leaves work behind; then the rest of its
 * chain, and every later chain, waits in conn->pending and conn->wr[].
 */
#include "transport/shm/shm.h"

#include <errno.h>
#include <string.h>

/* ---- bytes -------------------------------------------------------------- */

/*
 * The contract: a READ that meets a WRITE is torn, but not within an aligned
 * word of the region. So whole words are moved by one access each. From
 * MEMCPY_MIN on memcpy() does that too where both sides are aligned alike: its
 * steps are then multiples of a word. (glibc; tests/contract checks.)
 */
#define MEMCPY_MIN 128u

static _Atomic uint64_t *word_at(const uint8_t *p)
{
	return (_Atomic uint64_t *)(uintptr_t)p;
}

/* memcpy() into memory that is aligned (DST) and shared. */
static void words_out(uint8_t *dst, const uint8_t *src, size_t len)
{
	uint64_t word;

	if (len >= MEMCPY_MIN && !((uintptr_t)src % 8)) {
		memcpy(dst, src, len);
		return;
	}
	for (; len; len -= 8, dst += 8, src += 8) {
		memcpy(&word, src, 8);
		atomic_store_explicit(word_at(dst), word, memory_order_relaxed);
	}
}

static void words_in(uint8_t *dst, const uint8_t *src, size_t len)
{
	uint64_t word;

	if (len >= MEMCPY_MIN && !((uintptr_t)dst % 8)) {
		memcpy(dst, src, len);
		return;
	}
	for (; len; len -= 8, dst += 8, src += 8) {
		word = atomic_load_explicit(word_at(src), memory_order_relaxed);
		memcpy(dst, &word, 8);
	}
}

/* Copy between LOCAL and shared REMOTE; words are whole in REMOTE. */
static void bytes_copy(uint8_t *remote, uint8_t *local, size_t len, bool is_out)
{
	size_t head = -(uintptr_t)remote % 8;
	size_t body;

	if (head > len)
		head = len;
	memcpy(is_out ? remote : local, is_out ? local : remote, head);
	remote += head;
	local += head;
	body = (len - head) & ~(size_t)7;
	if (is_out)
		words_out(remote, local, body);
	else
		words_in(local, remote, body);
	remote += body;
	local += body;
	memcpy(is_out ? remote : local, is_out ? local : remote,
	       len - head - body);
}

/* ---- one request -------------------------------------------------------- */

static void wr_atomic(const struct dipc_wr *wr, uint8_t *remote)
{
	_Atomic uint64_t *word = word_at(remote);
	uint64_t old;

	if (wr->op == DIPC_WR_CAS) {
		old = wr->compare;
		atomic_compare_exchange_strong(word, &old, wr->arg);
	} else {
		old = atomic_fetch_add(word, wr->arg);
	}
	memcpy(wr->local, &old, 8);
}

/* Is there room for one more imm? If not, the peer will ring us: ROOM_1. */
static bool ring_has_room(struct shm_conn *conn)
{
	if (conn->out_tail - conn->room_head < SHM_RING_LEN)
		return true;
	conn->room_head =
		atomic_load_explicit(&conn->in->head, memory_order_acquire);
	if (conn->out_tail - conn->room_head < SHM_RING_LEN)
		return true;
	/* ROOM_1, pairs with ring_publish_head() */
	atomic_store(&conn->out->wants_room, 1);
	conn->room_head = atomic_load(&conn->in->head);
	return conn->out_tail - conn->room_head < SHM_RING_LEN;
}

static void ring_push(struct shm_conn *conn, uint32_t imm)
{
	uint32_t tail = conn->out_tail++;

	atomic_store_explicit(&conn->out->ring[tail % SHM_RING_LEN], imm,
			      memory_order_relaxed);
	/* RING_1 RELEASE, pairs with shm_ring_drain(); the data before it */
	atomic_store_explicit(&conn->out->tail, tail + 1, memory_order_release);
}

/* 0, -EAGAIN (ring full, nothing done), -EREMOTEIO. */
static int wr_run(struct shm_conn *conn, const struct dipc_wr *wr)
{
	uint8_t *remote = NULL;
	uint32_t len = wr->len;

	if (wr->op == DIPC_WR_CAS || wr->op == DIPC_WR_FAA)
		len = 8;
	if (len) {
		remote = shm_map_find(conn, wr->remote, len);
		if (!remote)
			return -EREMOTEIO;
	}
	switch (wr->op) {
	case DIPC_WR_READ:
		bytes_copy(remote, wr->local, len, false);
		break;
	case DIPC_WR_WRITE_IMM:
		if (!ring_has_room(conn))
			return -EAGAIN;
		if (len)
			bytes_copy(remote, wr->local, len, true);
		ring_push(conn, wr->imm);
		break;
	case DIPC_WR_WRITE:
		bytes_copy(remote, wr->local, len, true);
		break;
	case DIPC_WR_CAS:
	case DIPC_WR_FAA:
		wr_atomic(wr, remote);
		break;
	}
	return 0;
}

/* FENCE_1: after true the peer's memory may be touched until flight_end(). */
static bool flight_begin(struct shm_conn *conn)
{
	atomic_store(&conn->out->in_flight, 1);
	if (!atomic_load(&conn->in->is_closed))
		return true;
	atomic_store_explicit(&conn->out->in_flight, 0, memory_order_release);
	return false;
}

static void flight_end(struct shm_conn *conn)
{
	/* FENCE_1 RELEASE, pairs with conn_is_fenced() */
	atomic_store_explicit(&conn->out->in_flight, 0, memory_order_release);
}

/* ---- chains ------------------------------------------------------------- */

static unsigned queue_len(const struct shm_conn *conn)
{
	return conn->wr_tail - conn->wr_head;
}

static int op_queue(struct shm_conn *conn, const struct dipc_wr *wr,
		    unsigned nr, struct dipc_op *op, int status)
{
	unsigned i;

	if (nr > SHM_DEPTH_MAX - queue_len(conn))
		return -EAGAIN;
	for (i = 0; i < nr; i++)
		conn->wr[conn->wr_tail++ % SHM_DEPTH_MAX] = wr[i];
	op->conn = &conn->base;
	op->status = status;
	op->nr_wr = nr;
	dipc_list_add_tail(&conn->pending, &op->node);
	return -EINPROGRESS;
}

int shm_conn_post(struct dipc_conn *base, const struct dipc_wr *wr, unsigned nr,
		  struct dipc_op *op)
{
	struct shm_conn *conn = dipc_container_of(base, struct shm_conn, base);
	uint32_t tail = conn->out_tail;
	unsigned i = 0;
	int ret = 0;

	if (conn->state != SHM_CONN_READY)
		return conn->state < SHM_CONN_READY ? -EINVAL : -ENOLINK;
	if (!dipc_list_is_empty(&conn->pending))
		return op_queue(conn, wr, nr, op, 0);
	if (!flight_begin(conn)) {
		shm_conn_break(conn, -ENOLINK);
		return -ENOLINK;
	}
	while (i < nr && !ret) {
		ret = wr_run(conn, &wr[i]);
		if (!ret)
			i++;
	}
	flight_end(conn);
	if (conn->out_tail != tail)
		shm_conn_ring(conn);
	if (!ret)
		return 0;
	if (ret == -EAGAIN)
		return op_queue(conn, wr + i, nr - i, op, 0);
	shm_conn_break(conn, -ENOLINK);
	return op_queue(conn, wr, 0, op, ret);
}

static void op_done(struct dipc_op *op, int status)
{
	dipc_list_del(&op->node);
	op->done(op, status);
}

/* Run the requests of OP that are left. 0 when all are done. */
static int op_resume(struct shm_conn *conn, struct dipc_op *op)
{
	int ret;

	while (op->nr_wr) {
		ret = wr_run(conn, &conn->wr[conn->wr_head % SHM_DEPTH_MAX]);
		if (ret)
			return ret;
		conn->wr_head++;
		op->nr_wr--;
	}
	return 0;
}

unsigned shm_op_run(struct shm_conn *conn, unsigned budget)
{
	uint32_t tail = conn->out_tail;
	struct dipc_op *op;
	unsigned n = 0;
	int ret = 0;

	while (n < budget && conn->state == SHM_CONN_READY &&
	       !dipc_list_is_empty(&conn->pending)) {
		op = dipc_container_of(conn->pending.next, struct dipc_op,
				       node);
		if (!flight_begin(conn)) {
			shm_conn_break(conn, -ENOLINK);
			break;
		}
		ret = op_resume(conn, op);
		flight_end(conn);
		if (ret)
			break;
		op_done(op, 0);
		n++;
	}
	if (ret == -EREMOTEIO) {
		op->status = ret; /* shm_op_fail() delivers it */
		shm_conn_break(conn, -ENOLINK);
	}
	if (conn->out_tail != tail)
		shm_conn_ring(conn);
	return n;
}

unsigned shm_op_fail(struct shm_conn *conn, unsigned budget)
{
	struct dipc_op *op;
	unsigned n = 0;

	while (n < budget && !dipc_list_is_empty(&conn->pending)) {
		op = dipc_container_of(conn->pending.next, struct dipc_op,
				       node);
		op_done(op, op->status ? op->status : -ENOLINK);
		n++;
	}
	return n;
}

/* ---- imms --------------------------------------------------------------- */

static void ring_publish_head(struct shm_conn *conn)
{
	/* ROOM_1, pairs with ring_has_room() */
	atomic_store(&conn->out->head, conn->in_head);
	if (!atomic_load(&conn->in->wants_room))
		return;
	atomic_store(&conn->in->wants_room, 0);
	shm_conn_ring(conn);
}

/* A callback may close; a broken connection keeps what came before. */
static bool may_deliver(const struct shm_conn *conn)
{
	return conn->state == SHM_CONN_READY || conn->reason == -ENOLINK;
}

unsigned shm_ring_drain(struct shm_conn *conn, unsigned budget,
			bool *is_empty_out)
{
	const struct dipc_transport *t = conn->base.transport;
	uint32_t tail, imm;
	unsigned n = 0;

	/* RING_1 ACQUIRE, pairs with ring_push() */
	tail = atomic_load_explicit(&conn->in->tail, memory_order_acquire);
	if (tail - conn->in_head > SHM_RING_LEN) { /* cannot be */
		conn->in_head = tail;
		shm_conn_break(conn, -ENOLINK);
	}
	while (n < budget && conn->in_head != tail && may_deliver(conn)) {
		imm = atomic_load_explicit(
			&conn->in->ring[conn->in_head++ % SHM_RING_LEN],
			memory_order_relaxed);
		t->events->imm(t->arg, &conn->base, imm);
		n++;
	}
	if (n)
		ring_publish_head(conn);
	*is_empty_out = conn->in_head == tail || !may_deliver(conn);
	return n;
}
