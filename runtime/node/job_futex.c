/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Futex calls of a client. A wait is registered in one call and slept on in
 * another, since the client looks at the word in between (LOOK-AFTER in
 * docs/design/futex.md); until then it is on the client's list.
 */
#include "runtime/node/job_futex.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "runtime/node/job.h"
#include "runtime/node/segments.h"

/* A thread has one; more is a client that makes tickets for fun. */
#define WAITS_MAX (64u * 1024u)

/* The word that JOB names, if the process has it attached. */
static int job_key(const struct dipc_job *job, struct dipc_futex_key *key_out)
{
	struct dipc_spaces *spaces = dipc_segments_spaces(job->node->segments);
	uint64_t off = job->args.futex.off;
	struct dipc_segment *seg;

	seg = dipc_spaces_find(spaces, job->client->process->pid,
			       job->args.futex.id);
	if (!seg)
		return -EFAULT;
	if (off % 4 || off >= dipc_segment_nr_pages(seg) * DIPC_PAGE_SIZE)
		return -EINVAL;
	if (dipc_segment_is_dead(seg))
		return -ENOLINK;
	key_out->id = job->args.futex.id;
	key_out->home = dipc_segment_home(seg);
	key_out->off = off;
	return 0;
}

/* ---- a client's waits --------------------------------------------------- */

static struct dipc_futex_wait *wait_find(struct dipc_client *client,
					 uint64_t ticket)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &client->futex_waits) {
		struct dipc_futex_wait *wait =
			dipc_container_of(pos, struct dipc_futex_wait, user);

		if (wait->ticket == ticket)
			return wait;
	}
	return NULL;
}

/* Withdrawn and freed. True: it had been woken. */
static bool wait_end(struct dipc_client *client, struct dipc_futex_wait *wait)
{
	bool was_woken = dipc_futex_withdraw(client->node->futexes, wait);

	dipc_list_del(&wait->user);
	client->nr_futex_waits--;
	free(wait);
	return was_woken;
}

bool dipc_job_futex_may_take(const struct dipc_futex_wait *wait)
{
	const struct dipc_client *client = wait->owner;
	struct pollfd p = {.fd = client->process->pidfd, .events = POLLIN};

	return !client->is_closed && !client->process->death &&
	       poll(&p, 1, 0) == 0;
}

void dipc_job_futex_forget(struct dipc_client *client)
{
	struct dipc_list *pos, *next;

	dipc_list_for_each_safe (pos, next, &client->futex_waits) {
		struct dipc_futex_wait *wait =
			dipc_container_of(pos, struct dipc_futex_wait, user);

		if (!wait->fiber)
			wait_end(client, wait);
	}
}

/* ---- calls -------------------------------------------------------------- */

static int64_t futex_register(struct dipc_job *job)
{
	struct dipc_client *client = job->client;
	struct dipc_futex_wait *wait;
	struct dipc_futex_key key;
	uint64_t ticket;
	int ret;

	ret = job_key(job, &key);
	if (ret)
		return ret;
	if (client->nr_futex_waits >= WAITS_MAX)
		return -ENOMEM;
	wait = calloc(1, sizeof(*wait));
	if (!wait)
		return -ENOMEM;
	wait->owner = client;
	wait->bitset = job->args.futex.bitset;
	ret = dipc_futex_register(job->node->futexes, &key, wait);
	if (ret) {
		free(wait);
		return ret;
	}
	ticket = wait->ticket;
	dipc_list_add_tail(&client->futex_waits, &wait->user);
	client->nr_futex_waits++;
	/* a handler may jump away and leave it queued */
	if (client->is_closed || job->cancel.is_set) {
		wait_end(client, wait);
		return -EINTR;
	}
	return (int64_t)ticket;
}

static uint64_t job_deadline(const struct dipc_job *job)
{
	uint64_t now = dipc_fabric_now(job->node->fabric);
	uint64_t timeout = job->args.futex_wait.timeout_ns;

	return timeout >= DIPC_NEVER - now ? DIPC_NEVER : now + timeout;
}

static int64_t futex_sleep(struct dipc_job *job)
{
	struct dipc_client *client = job->client;
	struct dipc_futex_wait *wait =
		wait_find(client, job->args.futex_wait.ticket);
	int ret;

	if (!wait)
		return -ENOENT;
	if (wait->fiber)
		return -EBUSY; /* not what our library does */
	ret = dipc_futex_sleep(job->node->futexes, wait, job_deadline(job),
			       &job->cancel);
	if (ret == -ETIMEDOUT && job->args.futex_wait.keeps_ticket &&
	    !client->is_closed)
		return ret;
	return wait_end(client, wait) ? 0 : ret;
}

static int64_t futex_withdraw(struct dipc_job *job)
{
	struct dipc_futex_wait *wait =
		wait_find(job->client, job->args.futex_wait.ticket);

	if (!wait)
		return -ENOENT;
	if (wait->fiber)
		return -EBUSY;
	return wait_end(job->client, wait);
}

static int64_t futex_wake(struct dipc_job *job)
{
	struct dipc_futex_key key;
	int ret;

	ret = job_key(job, &key);
	if (ret)
		return ret;
	return dipc_futex_wake(job->node->futexes, &key, job->args.futex.bitset,
			       job->args.futex.nr);
}

int64_t dipc_job_futex(struct dipc_job *job)
{
	switch (job->call) {
	case DIPC_CALL_FUTEX_REGISTER:
		return futex_register(job);
	case DIPC_CALL_FUTEX_SLEEP:
		return futex_sleep(job);
	case DIPC_CALL_FUTEX_WITHDRAW:
		return futex_withdraw(job);
	default:
		return futex_wake(job);
	}
}
