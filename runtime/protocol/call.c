/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests and answers between nodes; the scheme is in fabric.h. */
#include "runtime/protocol/fabric_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/log.h"

uint8_t *dipc_link_mailbox_slot(struct dipc_link *link, unsigned slot)
{
	return link->fabric->mailboxes->base +
	       (size_t)link->mailbox * MAILBOX_LEN +
	       (size_t)slot * MAILBOX_SLOT;
}

static struct dipc_remote peer_slot(const struct dipc_link *link, unsigned slot)
{
	struct dipc_remote at = link->peer_mailbox;

	at.addr += (uint64_t)slot * MAILBOX_SLOT;
	return at;
}

/* ---- the asking side ---------------------------------------------------- */

/* A slot no call is using; DIPC_CALL_SLOTS if none. */
static unsigned slot_find(const struct dipc_link *link)
{
	unsigned i;

	for (i = 0; i < DIPC_CALL_SLOTS; i++)
		if (!link->calls[i])
			break;
	return i;
}

int dipc_call_start(struct dipc_link *link, const struct dipc_request *request,
		    struct dipc_call *call)
{
	unsigned slot;
	int ret;

	while ((slot = slot_find(link)) == DIPC_CALL_SLOTS) {
		if (link->state != LINK_OPEN)
			return -ENOLINK;
		(void)dipc_waitq_wait(&link->slot_free, DIPC_NEVER);
	}
	if (link->state != LINK_OPEN)
		return -ENOLINK;
	call->is_done = false;
	call->fiber = dipc_fiber_self();
	link->calls[slot] = call;
	ret = dipc_link_send_imm(link, IMM_REQUEST << IMM_SHIFT | slot,
				 peer_slot(link, slot), request,
				 sizeof(*request));
	if (ret) {
		link->calls[slot] = NULL;
		dipc_waitq_wake_one(&link->slot_free);
	}
	return ret;
}

int dipc_call_wait(struct dipc_call *call)
{
	while (!call->is_done)
		(void)dipc_fiber_park(DIPC_NEVER);
	return call->status;
}

static void call_finish(struct dipc_link *link, unsigned slot, int status)
{
	struct dipc_call *call = link->calls[slot];

	link->calls[slot] = NULL;
	call->status = status;
	call->is_done = true;
	dipc_fiber_wake(call->fiber);
	dipc_waitq_wake_one(&link->slot_free);
}

void dipc_link_on_answer(struct dipc_link *link, uint32_t slot)
{
	if (slot >= DIPC_CALL_SLOTS || link->is_incoming ||
	    !link->calls[slot]) {
		dipc_warn("node %u answered a question nobody asked",
			  link->node);
		return;
	}
	memcpy(&link->calls[slot]->answer, dipc_link_mailbox_slot(link, slot),
	       sizeof(struct dipc_answer));
	call_finish(link, slot, 0);
}

/* ---- the asked side ----------------------------------------------------- */

void dipc_link_on_request(struct dipc_link *link, uint32_t slot)
{
	struct dipc_fabric *f = link->fabric;
	struct dipc_incoming *in;

	if (slot >= DIPC_CALL_SLOTS || !link->is_incoming ||
	    !f->events->request) {
		dipc_warn("node %u sent a request out of place", link->node);
		return;
	}
	in = calloc(1, sizeof(*in));
	if (!in) {
		/* the peer must not wait for ever: break the link */
		dipc_error("no memory for a request of node %u", link->node);
		dipc_conn_close(link->conn);
		return;
	}
	in->from = (uint16_t)link->node;
	in->slot = (uint16_t)slot;
	in->link = link;
	dipc_list_init(&in->user);
	memcpy(&in->request, dipc_link_mailbox_slot(link, slot),
	       sizeof(in->request));
	dipc_list_add_tail(&link->pending, &in->node);
	f->events->request(f->arg, in);
}

void dipc_incoming_answer(struct dipc_incoming *in,
			  const struct dipc_answer *answer)
{
	struct dipc_link *link = in->link;

	dipc_list_del(&in->node);
	if (link && dipc_link_send_imm(link, IMM_ANSWER << IMM_SHIFT | in->slot,
				       peer_slot(link, in->slot), answer,
				       sizeof(*answer)) == -ENOMEM)
		dipc_conn_close(link->conn); /* as in on_request */
	free(in);
}

void dipc_link_drop_calls(struct dipc_link *link)
{
	struct dipc_list *node;
	unsigned i;

	for (i = 0; i < DIPC_CALL_SLOTS; i++)
		if (link->calls[i])
			call_finish(link, i, -ENOLINK);
	dipc_waitq_wake_all(&link->slot_free);
	while ((node = dipc_list_pop(&link->pending)))
		dipc_container_of(node, struct dipc_incoming, node)->link =
			NULL;
}
