/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>

#include "runtime/base/sys.h"
#include "runtime/client/client.h"
#include "runtime/client/futex.h"

/* early: reading it never allocates, not in a handler either */
static _Thread_local DIPC_TLS_EARLY uint64_t self;

void dipc_owner_after_fork(void)
{
	self = 0;
}

static uint64_t owner_ask(void)
{
	struct dipc_slot_call call = {.call = DIPC_CALL_OWNER_SELF};
	uint32_t tid = (uint32_t)dipc_sys_gettid();
	int64_t ret = -ENOLINK;

	call.args.owner.tid = tid;
	if (dipc_conn_use() > 0)
		ret = dipc_slot_run(&call);
	/* without dipcd: no node */
	return ret > 0 ? (uint64_t)ret : (uint64_t)tid << DIPC_OWNER_NODE_BITS;
}

uint64_t dipc_owner_self(void)
{
	if (self == 0)
		self = owner_ask();
	return self;
}

int dipc_owner_is_alive(uint64_t owner)
{
	struct dipc_slot_call call = {.call = DIPC_CALL_OWNER_ALIVE};
	int use = dipc_conn_use();

	call.args.owner.owner = owner;
	return use > 0 ? (int)dipc_slot_run(&call) : -ENOLINK;
}

bool dipc_owner_is_near(uint64_t owner)
{
	return ((owner ^ dipc_owner_self()) &
		((1u << DIPC_OWNER_NODE_BITS) - 1)) == 0;
}
