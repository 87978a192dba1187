/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/client.h"

#include <errno.h>

long dipc_posix_ret(int64_t ret)
{
	if (ret >= 0)
		return (long)ret;
	errno = (int)-ret;
	return -1;
}

int64_t dipc_ctl(enum dipc_local_call call, int id, int cmd,
		 struct dipc_stat *stat)
{
	struct dipc_slot_call c = {.call = call};

	c.args.ctl.id = id;
	c.args.ctl.cmd = cmd;
	if (stat) {
		c.in = stat;
		c.in_len = sizeof(*stat);
		c.out = stat;
		c.out_max = sizeof(*stat);
	}
	return dipc_slot_run(&c);
}
