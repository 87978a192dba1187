/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A fault that a thread's SIGBUS handler posted. It is in a hurry, and need
 * not park: so it has no fiber of its own, and is taken and answered where the
 * page's work begins and ends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/node/job.h"
#include "runtime/node/segments.h"

struct job_fault {
	struct dipc_space_wait wait;
	struct dipc_client *client; /* a reference */
	struct dipc_slot *slot;
};

static void fault_done(struct dipc_space_wait *wait, int status)
{
	struct job_fault *fault =
		dipc_container_of(wait, struct job_fault, wait);
	struct dipc_client *client = fault->client;

	dipc_slot_answer(fault->slot, status);
	client->nr_faults--;
	free(fault);
	dipc_client_put(client);
}

void dipc_job_fault(struct dipc_client *client, struct dipc_slot *slot)
{
	uint64_t addr = slot->args.fault.addr;
	bool is_write = slot->args.fault.is_write;
	struct job_fault *fault;
	int ret = -ENOMEM;

	/* as many as it can have honestly */
	if (client->nr_faults == DIPC_SLOTS)
		goto err_slot;
	fault = malloc(sizeof(*fault));
	if (!fault)
		goto err_slot;
	fault->wait.done = fault_done;
	fault->client = client;
	fault->slot = slot;
	client->nr_faults++;
	dipc_client_get(client);
	ret = dipc_spaces_fault(dipc_segments_spaces(client->node->segments),
				client->space, client->process->pid, addr,
				is_write, &fault->wait);
	if (ret)
		fault_done(&fault->wait, ret);
	return;

err_slot:
	dipc_slot_answer(slot, ret);
}
