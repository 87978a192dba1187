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

int dipc_id_is_ours(int id)
{
	if (id < 0 || !((uint32_t)id & DIPC_ID_MARK))
		return 0;
	return dipc_conn_use();
}

int64_t dipc_get(enum dipc_local_call call, key_t key, uint64_t size, int flags)
{
	struct dipc_slot_call c = {.call = call};

	c.args.get.key = key;
	c.args.get.flags = flags;
	c.args.get.size = size;
	return dipc_slot_run(&c);
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
