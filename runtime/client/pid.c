/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/client.h"

#include <assert.h>
#include <errno.h>

#include "dipc/dipc.h"
#include "runtime/client/copy.h"

static_assert((int)DIPC_PID_SHM_CREATOR == (int)DIPC_LOCAL_PID_SHM_CREATOR &&
		      (int)DIPC_PID_SHM_LAST == (int)DIPC_LOCAL_PID_SHM_LAST &&
		      (int)DIPC_PID_MSG_SENDER ==
			      (int)DIPC_LOCAL_PID_MSG_SENDER &&
		      (int)DIPC_PID_MSG_RECEIVER ==
			      (int)DIPC_LOCAL_PID_MSG_RECEIVER &&
		      (int)DIPC_PID_SEM == (int)DIPC_LOCAL_PID_SEM,
	      "dipc.h");

static int64_t pid_node(int id, int which, int num, int *pid)
{
	struct dipc_slot_call c = {.call = DIPC_CALL_PID_NODE};
	int64_t ret;
	int value;

	c.args.ctl.id = id;
	c.args.ctl.cmd = which;
	c.args.ctl.num = num;
	ret = dipc_slot_run(&c);
	if (ret < 0)
		return ret;
	value = (int)(ret & 0x7fffffff);
	if (pid && dipc_copy_out(pid, &value, sizeof(value)))
		return -EFAULT;
	return ret >> 32;
}

static enum dipc_kind which_kind(int which)
{
	if (which == DIPC_PID_SHM_CREATOR || which == DIPC_PID_SHM_LAST)
		return DIPC_KIND_SHM;
	return which == DIPC_PID_SEM ? DIPC_KIND_SEM : DIPC_KIND_MSG;
}

DIPC_EXPORT int dipc_pid_node(int id, int which, int num, int *pid)
{
	int ours = dipc_id_is_ours(which_kind(which), id);

	if (ours == 0)
		ours = -EINVAL; /* the kernel's: no node */
	return (int)dipc_posix_ret(ours < 0 ? ours
					    : pid_node(id, which, num, pid));
}
