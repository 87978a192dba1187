/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/support/slow_wire.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "transport/ops.h"

#define BURST 64u

int __real_dipc_conn_post(struct dipc_conn *conn, const struct dipc_wr *wr,
			  unsigned nr, struct dipc_op *op);
int __wrap_dipc_conn_post(struct dipc_conn *conn, const struct dipc_wr *wr,
			  unsigned nr, struct dipc_op *op);

/* A posted chain. */
struct job {
	struct dipc_list node;
	struct dipc_conn *conn;
	struct dipc_op *op;
	unsigned nr, at;
	int status;
	struct dipc_wr wr[];
};

static struct {
	struct dipc_loop *loop; /* NULL: not started */
	struct dipc_poller poller;
	struct dipc_list jobs; /* in the order posted */
	unsigned nr_jobs;
	unsigned seed;
	struct dipc_transport *cut; /* NULL: none */
	uint64_t left, missed;
	struct dipc_transport *stalled; /* NULL: none */
	struct dipc_list done;          /* chains that it is not told of */
} wire;

int __wrap_dipc_conn_post(struct dipc_conn *conn, const struct dipc_wr *wr,
			  unsigned nr, struct dipc_op *op)
{
	struct job *job;

	if (!wire.loop)
		return __real_dipc_conn_post(conn, wr, nr, op);
	job = calloc(1, sizeof(*job) + nr * sizeof(*wr));
	assert_non_null(job);
	job->conn = conn;
	job->op = op;
	job->nr = nr;
	memcpy(job->wr, wr, nr * sizeof(*wr));
	dipc_list_add_tail(&wire.jobs, &job->node);
	wire.nr_jobs++;
	return -EINPROGRESS;
}

/* The first unfinished chain of the connection of a job picked at random. */
static struct job *job_pick(void)
{
	unsigned skip = (unsigned)rand_r(&wire.seed) % wire.nr_jobs;
	struct dipc_conn *conn;
	struct dipc_list *pos;

	pos = wire.jobs.next;
	while (skip--)
		pos = pos->next;
	conn = dipc_container_of(pos, struct job, node)->conn;
	dipc_list_for_each (pos, &wire.jobs)
		if (dipc_container_of(pos, struct job, node)->conn == conn)
			break;
	return dipc_container_of(pos, struct job, node);
}

static bool wire_carries(struct job *job)
{
	if (!wire.cut || job->conn->transport != wire.cut)
		return true;
	if (wire.left == 0) {
		wire.missed++;
		return false;
	}
	wire.left--;
	return true;
}

static void job_finish(struct job *job)
{
	job->op->done(job->op, job->status);
	free(job);
}

static void wire_step(void)
{
	struct job *job = job_pick();
	struct dipc_op op = {0};

	if (job->status == 0 && !wire_carries(job))
		job->status = -ENOLINK;
	if (job->status == 0)
		job->status = __real_dipc_conn_post(job->conn,
						    &job->wr[job->at], 1, &op);
	if (++job->at < job->nr && job->status == 0)
		return;
	dipc_list_del(&job->node);
	wire.nr_jobs--;
	if (job->conn->transport == wire.stalled)
		dipc_list_add_tail(&wire.done, &job->node);
	else
		job_finish(job);
}

static unsigned wire_poll(struct dipc_poller *poller)
{
	unsigned nr = 1 + (unsigned)rand_r(&wire.seed) % BURST;
	unsigned i;

	(void)poller;
	for (i = 0; i < nr && wire.nr_jobs; i++)
		wire_step();
	return i;
}

static int wire_arm(struct dipc_poller *poller)
{
	(void)poller;
	return wire.nr_jobs ? 1 : 0;
}

void slow_wire_start(struct dipc_loop *loop, unsigned seed)
{
	memset(&wire, 0, sizeof(wire));
	dipc_list_init(&wire.jobs);
	dipc_list_init(&wire.done);
	wire.loop = loop;
	wire.seed = seed;
	wire.poller.poll = wire_poll;
	wire.poller.arm = wire_arm;
	dipc_loop_add_poller(loop, &wire.poller);
}

void slow_wire_stop(void)
{
	if (!wire.loop)
		return;
	slow_wire_stall(NULL);
	while (wire.nr_jobs)
		wire_step();
	dipc_loop_del_poller(wire.loop, &wire.poller);
	wire.loop = NULL;
}

void slow_wire_drop(void)
{
	wire.loop = NULL;
}

void slow_wire_cut(struct dipc_transport *t, uint64_t nr)
{
	wire.cut = nr == UINT64_MAX ? NULL : t;
	wire.left = nr;
	wire.missed = 0;
}

void slow_wire_stall(struct dipc_transport *t)
{
	struct dipc_list *pos;

	wire.stalled = t;
	while ((pos = dipc_list_pop(&wire.done)))
		job_finish(dipc_container_of(pos, struct job, node));
}

uint64_t slow_wire_missed(void)
{
	return wire.missed;
}
