/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * WRITE_IMM there and back, to several processes at once, with a node's loop
 * at both ends and no protocol: what telling sharers costs at least. The last
 * role asks; the others answer. They find each other through a segment of the
 * kernel's.
 */
#include "page.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/base/loop.h"
#include "transport/transport.h"

#define PEERS_MAX   (BENCH_ROLES_MAX - 1)
#define OPS         4u /* an answer may overtake our own completion */
#define MESSAGE     64u
#define SPIN_NS     (50 * DIPC_USEC) /* node.spin-us by default */
#define REGION_LEN  8192u
#define SOURCE_AT   4096u /* below: what peers write */
#define ADDRESS_LEN 160u
#define NO_MEMORY   ((void *)-1)

struct imm_op {
	struct dipc_op op;
	bool is_busy;
};

struct imm_peer {
	struct imm *imm;
	struct dipc_conn *conn; /* t's; NULL: none */
	struct dipc_remote remote;
	struct imm_op ops[OPS];
};

struct imm {
	struct dipc_loop *loop;     /* owned */
	struct dipc_transport *t;   /* owned */
	struct dipc_region *region; /* owned */
	struct dipc_poller poller;
	struct dipc_watch watch; /* the transport's descriptor */
	struct dipc_watch end;   /* stdin: the controller says enough */
	struct imm_peer peers[PEERS_MAX];
	unsigned nr_peers, nr_up;
	unsigned nr_left; /* answers awaited */
	bool is_echo;
	int error; /* the first one; -errno */
};

static void imm_error(struct imm *imm, int error)
{
	if (!imm->error)
		imm->error = error;
	dipc_loop_stop(imm->loop);
}

/* ---- messages ----------------------------------------------------------- */

static void op_done(struct dipc_op *op, int status)
{
	struct imm_op *imm_op = dipc_container_of(op, struct imm_op, op);

	(void)status; /* a break is told by closed() */
	imm_op->is_busy = false;
}

static void peer_send(struct imm_peer *peer)
{
	struct imm *imm = peer->imm;
	struct dipc_wr wr = {
		.op = DIPC_WR_WRITE_IMM,
		.len = MESSAGE,
		.local = imm->region->base + SOURCE_AT,
		.region = imm->region,
		.remote = peer->remote,
	};
	struct imm_op *op = peer->ops;
	int ret;

	while (op->is_busy && ++op < peer->ops + OPS)
		;
	if (op == peer->ops + OPS) {
		imm_error(imm, -EAGAIN);
		return;
	}
	op->op.done = op_done;
	op->is_busy = true;
	ret = dipc_conn_post(peer->conn, &wr, 1, &op->op);
	if (ret == -EINPROGRESS)
		return;
	op->is_busy = false;
	if (ret)
		imm_error(imm, ret);
}

static void on_imm(void *arg, struct dipc_conn *conn, uint32_t value)
{
	struct imm *imm = arg;

	(void)value;
	if (imm->is_echo)
		peer_send(dipc_conn_user(conn));
	else if (imm->nr_left && !--imm->nr_left)
		dipc_loop_stop(imm->loop);
}

/* ---- connections -------------------------------------------------------- */

static int on_accept(void *arg, struct dipc_conn *conn, const void *hello,
		     size_t hello_len, void *reply, size_t *reply_len_out)
{
	struct imm *imm = arg;
	struct imm_peer *peer = &imm->peers[0];

	if (peer->conn || hello_len != sizeof(peer->remote))
		return -EBUSY;
	peer->conn = conn;
	memcpy(&peer->remote, hello, hello_len);
	dipc_conn_set_user(conn, peer);
	*reply_len_out = sizeof(imm->region->remote);
	memcpy(reply, &imm->region->remote, *reply_len_out);
	return 0;
}

static void on_established(void *arg, struct dipc_conn *conn, const void *reply,
			   size_t reply_len)
{
	struct imm *imm = arg;
	struct imm_peer *peer = dipc_conn_user(conn);

	if (reply && reply_len == sizeof(peer->remote))
		memcpy(&peer->remote, reply, reply_len);
	if (++imm->nr_up == imm->nr_peers && !imm->is_echo)
		dipc_loop_stop(imm->loop);
}

static void on_closed(void *arg, struct dipc_conn *conn, int reason)
{
	struct imm_peer *peer = dipc_conn_user(conn);

	if (peer)
		peer->conn = NULL;
	if (reason)
		imm_error(arg, reason);
}

static const struct dipc_transport_events events = {
	.accept = on_accept,
	.established = on_established,
	.imm = on_imm,
	.closed = on_closed,
};

/* ---- the loop, as a node has it ------------------------------------------ */

static unsigned imm_poll(struct dipc_poller *poller)
{
	return dipc_transport_poll(
		dipc_container_of(poller, struct imm, poller)->t, 64);
}

static int imm_arm(struct dipc_poller *poller)
{
	return dipc_transport_arm(
		dipc_container_of(poller, struct imm, poller)->t);
}

static void on_readable(struct dipc_watch *watch, uint32_t happened)
{
	/* being awake is all that is needed: the poller does the work */
	(void)watch;
	(void)happened;
}

static void on_end(struct dipc_watch *watch, uint32_t happened)
{
	(void)happened;
	dipc_loop_stop(dipc_container_of(watch, struct imm, end)->loop);
}

static int imm_open(struct imm *imm, const struct bench_job *job,
		    const char *address)
{
	struct dipc_transport_config config = {
		.kind = job->transport,
		.listen = address,
		.events = &events,
		.arg = imm,
	};
	int ret;

	ret = dipc_loop_create(dipc_clock_system(), SPIN_NS, &imm->loop);
	if (ret)
		return ret;
	ret = dipc_transport_create(&config, &imm->t);
	if (ret)
		return ret;
	ret = dipc_region_create(imm->t, NULL, REGION_LEN, &imm->region);
	if (ret)
		return ret;
	imm->poller.poll = imm_poll;
	imm->poller.arm = imm_arm;
	dipc_loop_add_poller(imm->loop, &imm->poller);
	imm->watch.fd = dipc_transport_fd(imm->t);
	imm->watch.fn = on_readable;
	return dipc_loop_watch(imm->loop, &imm->watch, EPOLLIN);
}

/* Until a callback stops the loop. */
static void imm_run(struct imm *imm)
{
	int ret = imm->error ? 0 : dipc_loop_run(imm->loop);

	if (ret)
		imm_error(imm, ret);
}

static void imm_close(struct imm *imm)
{
	unsigned i;

	for (i = 0; i < imm->nr_peers; i++) {
		if (imm->peers[i].conn)
			dipc_conn_close(imm->peers[i].conn);
		while (imm->peers[i].conn)
			dipc_transport_poll(imm->t, 16);
	}
	dipc_region_destroy(imm->region);
	dipc_transport_destroy(imm->t);
	dipc_loop_destroy(imm->loop);
}

/* ---- roles -------------------------------------------------------------- */

/* Answers until the controller has had enough. */
static void echo(struct imm *imm, char *slot, struct bench_run *run)
{
	int ret;

	snprintf(slot, ADDRESS_LEN, "%s", dipc_transport_address(imm->t));
	imm->is_echo = true;
	imm->nr_peers = 1;
	imm->end.fd = STDIN_FILENO;
	imm->end.fn = on_end;
	ret = dipc_loop_watch(imm->loop, &imm->end, EPOLLIN);
	if (ret)
		imm_error(imm, ret);
	bench_run_ready(run);
	imm_run(imm);
	/* the asker may go before the controller tells us */
	if (imm->error == -ENOLINK)
		imm->error = 0;
}

static void ask(struct imm *imm, unsigned nr, const char *slots,
		struct bench_run *run)
{
	unsigned i, k;
	int ret;

	imm->nr_peers = nr;
	for (k = 0; k < nr && !imm->error; k++) {
		struct imm_peer *peer = &imm->peers[k];

		ret = dipc_conn_connect(imm->t, slots + (size_t)k * ADDRESS_LEN,
					&imm->region->remote,
					sizeof(imm->region->remote),
					&peer->conn);
		if (ret)
			imm_error(imm, ret);
		else
			dipc_conn_set_user(peer->conn, peer);
	}
	imm_run(imm);
	bench_run_ready(run);
	for (i = 0; i < bench_run_loops(run) && !imm->error; i++) {
		bench_run_begin(run);
		imm->nr_left = nr;
		for (k = 0; k < nr; k++)
			peer_send(&imm->peers[k]);
		imm_run(imm);
		bench_run_end(run);
	}
}

int bench_raw_imm(const struct bench_job *job, struct bench_run *run)
{
	int id = shmget(job->key, BENCH_ROLES_MAX * ADDRESS_LEN,
			job->role ? 0 : IPC_CREAT | IPC_EXCL | 0600);
	struct imm imm = {.error = 0};
	char address[ADDRESS_LEN + 16], *slots;
	unsigned k;

	dipc_log_init("dipc-bench");
	slots = id < 0 ? NO_MEMORY : shmat(id, NULL, 0);
	if (slots == NO_MEMORY)
		return bench_fail("the segment of addresses");
	for (k = 0; k < PEERS_MAX; k++)
		imm.peers[k].imm = &imm;
	/* verbs find a free port; a socket needs a name of its own */
	if (strcmp(job->transport, "shm"))
		snprintf(address, sizeof(address), "%s", job->address);
	else
		snprintf(address, sizeof(address), "%s.%u", job->address,
			 job->role);
	imm.error = imm_open(&imm, job, address);
	if (imm.error)
		;
	else if (job->role < job->nr_roles - 1)
		echo(&imm, slots + (size_t)job->role * ADDRESS_LEN, run);
	else
		ask(&imm, job->nr_roles - 1, slots, run);
	imm_close(&imm);
	if (!job->role)
		shmctl(id, IPC_RMID, NULL);
	if (!imm.error)
		return 0;
	errno = -imm.error;
	return bench_fail("raw WRITE_IMM");
}
