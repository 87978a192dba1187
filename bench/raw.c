/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The transport alone, without node, referee or protocol: a transport that
 * connects to itself, as a node does to change its own words. The same back
 * end as the cluster's.
 */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/log.h"
#include "transport/transport.h"

#define REGION_SIZE 65536u
#define LOCAL_AT    32768u /* below: the peer's memory; from here: answers */
/* of a stream: too much for a cache, as a segment is */
#define STREAM_SIZE (64u << 20)
#define STREAM_AT   (STREAM_SIZE - (1u << 20))
#define DEPTH       32u /* operations in flight */

struct raw {
	struct dipc_transport *t;   /* owned */
	struct dipc_region *region; /* owned */
	struct dipc_conn *conn;     /* the end that posts; t's; NULL: closed */
	unsigned nr_established;    /* both ends */
};

struct raw_op {
	struct dipc_op op;
	bool is_done;
	int status;
};

static int on_accept(void *arg, struct dipc_conn *conn, const void *hello,
		     size_t hello_len, void *reply, size_t *reply_len_out)
{
	(void)arg;
	(void)conn;
	(void)hello;
	(void)hello_len;
	(void)reply;
	*reply_len_out = 0;
	return 0;
}

static void on_established(void *arg, struct dipc_conn *conn, const void *reply,
			   size_t reply_len)
{
	struct raw *raw = arg;

	(void)conn;
	(void)reply;
	(void)reply_len;
	raw->nr_established++;
}

static void on_imm(void *arg, struct dipc_conn *conn, uint32_t imm)
{
	(void)arg;
	(void)conn;
	(void)imm;
}

static void on_closed(void *arg, struct dipc_conn *conn, int reason)
{
	struct raw *raw = arg;

	(void)reason;
	if (conn == raw->conn)
		raw->conn = NULL;
}

static const struct dipc_transport_events events = {
	.accept = on_accept,
	.established = on_established,
	.imm = on_imm,
	.closed = on_closed,
};

static void raw_fini(struct raw *raw)
{
	dipc_region_destroy(raw->region);
	if (raw->t)
		dipc_transport_destroy(raw->t);
}

/* Regions go before the transport, so the connection has to be gone first. */
static void raw_close(struct raw *raw)
{
	if (raw->conn)
		dipc_conn_close(raw->conn);
	while (raw->conn)
		dipc_transport_poll(raw->t, 16);
}

static int raw_open(struct raw *raw, const struct bench_job *job, size_t size)
{
	struct dipc_transport_config config = {
		.kind = job->transport,
		.listen = job->address,
		.events = &events,
		.arg = raw,
	};
	int ret;

	ret = dipc_transport_create(&config, &raw->t);
	if (!ret)
		ret = dipc_region_create(raw->t, NULL, size, &raw->region);
	if (!ret)
		ret = dipc_conn_connect(raw->t, dipc_transport_address(raw->t),
					NULL, 0, &raw->conn);
	while (!ret && raw->nr_established < 2) {
		dipc_transport_poll(raw->t, 16);
		if (!raw->conn)
			ret = -ECONNREFUSED;
	}
	if (!ret)
		return 0;
	errno = -ret;
	bench_fail("raw %s at %s", job->transport, job->address);
	raw_fini(raw);
	return -1;
}

static void op_done(struct dipc_op *op, int status)
{
	struct raw_op *raw_op = dipc_container_of(op, struct raw_op, op);

	raw_op->status = status;
	raw_op->is_done = true;
}

static int raw_do(struct raw *raw, const struct dipc_wr *wr)
{
	struct raw_op op = {.op.done = op_done};
	int ret;

	if (!raw->conn)
		return -ENOLINK;
	ret = dipc_conn_post(raw->conn, wr, 1, &op.op);
	if (ret != -EINPROGRESS)
		return ret;
	while (!op.is_done)
		dipc_transport_poll(raw->t, 16);
	return op.status;
}

static int raw_measure(struct raw *raw, struct dipc_wr *wr,
		       const struct bench_job *job, struct bench_run *run)
{
	unsigned i, k, nr = bench_run_loops(run);
	int ret = 0;

	for (i = 0; i < nr && !ret; i++) {
		bench_run_begin(run);
		for (k = 0; k < job->per_sample && !ret; k++) {
			ret = raw_do(raw, wr);
			wr->compare++; /* of a CAS: each one succeeds */
			wr->arg++;
		}
		bench_run_end(run);
	}
	if (!ret)
		return 0;
	errno = -ret;
	return bench_fail("raw operation");
}

static int raw_work(const struct bench_job *job, struct bench_run *run,
		    enum dipc_wr_op kind)
{
	struct raw raw = {0};
	struct dipc_wr wr = {.op = kind, .len = (uint32_t)job->size, .arg = 1};
	int ret;

	dipc_log_init("dipc-bench");
	if (raw_open(&raw, job, REGION_SIZE))
		return -1;
	wr.local = raw.region->base + LOCAL_AT;
	wr.region = raw.region;
	wr.remote = raw.region->remote;
	bench_run_ready(run);
	ret = raw_measure(&raw, &wr, job, run);
	raw_close(&raw);
	raw_fini(&raw);
	return ret;
}

int bench_raw_cas(const struct bench_job *job, struct bench_run *run)
{
	return raw_work(job, run, DIPC_WR_CAS);
}

int bench_raw_read(const struct bench_job *job, struct bench_run *run)
{
	return raw_work(job, run, DIPC_WR_READ);
}

/* ---- many at once -------------------------------------------------------- */

struct raw_stream {
	struct raw raw;
	struct raw_op ops[DEPTH]; /* is_done: free */
	size_t at;                /* where the next READ is from */
	int status;
};

/* Until one of the operations is free; NULL: the connection is gone. */
static struct raw_op *stream_op(struct raw_stream *stream)
{
	unsigned i;

	while (stream->raw.conn) {
		for (i = 0; i < DEPTH; i++) {
			if (stream->ops[i].is_done)
				return &stream->ops[i];
		}
		dipc_transport_poll(stream->raw.t, DEPTH);
	}
	return NULL;
}

static int stream_post(struct raw_stream *stream, size_t size)
{
	struct dipc_region *region = stream->raw.region;
	struct raw_op *op = stream_op(stream);
	struct dipc_wr wr = {
		.op = DIPC_WR_READ,
		.len = (uint32_t)size,
		.local = region->base + STREAM_AT + stream->at % (1u << 20),
		.region = region,
		.remote = region->remote,
	};
	int ret;

	if (!op)
		return -ENOLINK;
	wr.remote.addr += stream->at;
	stream->at = (stream->at + size) % STREAM_AT;
	op->is_done = false;
	op->status = 0;
	do {
		ret = dipc_conn_post(stream->raw.conn, &wr, 1, &op->op);
		if (ret == -EAGAIN)
			dipc_transport_poll(stream->raw.t, DEPTH);
	} while (ret == -EAGAIN);
	if (ret != -EINPROGRESS)
		op->is_done = true;
	return ret == -EINPROGRESS ? 0 : ret;
}

static int stream_drain(struct raw_stream *stream)
{
	unsigned i;

	for (i = 0; i < DEPTH; i++) {
		while (!stream->ops[i].is_done)
			dipc_transport_poll(stream->raw.t, DEPTH);
		if (stream->ops[i].status)
			return stream->ops[i].status;
	}
	return 0;
}

/* A sample ends when as much has come as it asked for, not to the byte. */
int bench_raw_read_stream(const struct bench_job *job, struct bench_run *run)
{
	static struct raw_stream stream;
	unsigned i, k, nr = bench_run_loops(run);
	int ret = 0;

	dipc_log_init("dipc-bench");
	if (raw_open(&stream.raw, job, STREAM_SIZE))
		return -1;
	for (i = 0; i < DEPTH; i++)
		stream.ops[i] =
			(struct raw_op){.op.done = op_done, .is_done = true};
	/* pages that are there */
	memset(stream.raw.region->base, 'x', STREAM_SIZE);
	bench_run_ready(run);
	bench_run_begin(run);
	for (i = 0; i < nr && !ret; i++) {
		for (k = 0; k < job->per_sample && !ret; k++)
			ret = stream_post(&stream, job->size);
		bench_run_end(run);
	}
	if (!ret)
		ret = stream_drain(&stream);
	raw_close(&stream.raw);
	raw_fini(&stream.raw);
	if (!ret)
		return 0;
	errno = -ret;
	return bench_fail("raw READ");
}
