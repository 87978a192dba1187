/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a program sees of the whole system: *_INFO, *_STAT and *_STAT_ANY. They
 * take an index, or nothing, so they do not say whose objects they mean. Where
 * all keys are distributed it is the cluster's; elsewhere it is the kernel's,
 * unless an identifier of ours is given.
 */
#include "runtime/client/client.h"

#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "runtime/client/copy.h"
#include "runtime/client/stat.h"

/* glibc shows these three to _GNU_SOURCE only, and older ones not at all. */
#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif
#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif
#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif

/* Of the kernel's headers: what *_INFO gives though no limit stands behind. */
#define SEM_VALUE_MAX_ 32767
#define SEMUSZ_        20
#define MSGSSZ_        16
#define MSGSEG_        0xffff

static bool cmd_is_info(enum dipc_kind kind, int cmd)
{
	if (cmd == IPC_INFO)
		return true;
	switch (kind) {
	case DIPC_KIND_SHM:
		return cmd == SHM_INFO || cmd == SHM_STAT ||
		       cmd == SHM_STAT_ANY;
	case DIPC_KIND_SEM:
		return cmd == SEM_INFO || cmd == SEM_STAT ||
		       cmd == SEM_STAT_ANY;
	case DIPC_KIND_MSG:
		return cmd == MSG_INFO || cmd == MSG_STAT ||
		       cmd == MSG_STAT_ANY;
	case DIPC_KIND_NONE:
		break;
	}
	return false;
}

int dipc_ctl_is_ours(enum dipc_kind kind, int id, int cmd)
{
	if (!cmd_is_info(kind, cmd))
		return dipc_id_is_ours(kind, id);
	if (id < 0)
		return 0; /* EINVAL, says the kernel */
	if (!dipc_keys_are_all())
		return dipc_id_is_ours(kind, id);
	return dipc_conn_use();
}

static int to_int(uint64_t v)
{
	return v > INT32_MAX ? INT32_MAX : (int)v;
}

/* The answer's numbers into INFO. The highest index in use, or -errno. */
static int64_t info_get(enum dipc_kind kind, bool must_walk,
			struct dipc_info *info)
{
	struct dipc_slot_call c = {.call = DIPC_CALL_INFO};
	int64_t ret;

	c.args.ctl.num = (int32_t)kind;
	c.args.ctl.cmd = must_walk;
	c.out = info;
	c.out_max = sizeof(*info);
	ret = dipc_slot_run(&c);
	if (ret < 0)
		return ret;
	return to_int(info->max_index);
}

static int64_t stat_get(enum dipc_kind kind, int id, int cmd,
			struct dipc_stat *stat)
{
	struct dipc_slot_call c = {.call = DIPC_CALL_STAT_INDEX};

	c.args.ctl.num = (int32_t)kind;
	c.args.ctl.id = id;
	c.args.ctl.cmd = cmd;
	c.out = stat;
	c.out_max = sizeof(*stat);
	return dipc_slot_run(&c);
}

/* RET, or -EFAULT when LEN bytes of IMAGE do not get to BUF. */
static int64_t give(int64_t ret, void *buf, const void *image, size_t len)
{
	if (ret < 0)
		return ret;
	return dipc_copy_out(buf, image, len) ? -EFAULT : ret;
}

/* ---- segments ----------------------------------------------------------- */

bool dipc_info_shm(int id, int cmd, void *buf, int64_t *ret_out)
{
	struct dipc_info info = {0};
	struct dipc_stat stat = {0};
	struct shmid_ds ds;
	int64_t ret;

	if (!cmd_is_info(DIPC_KIND_SHM, cmd))
		return false;
	if (cmd == IPC_INFO) {
		struct shminfo si = {0};

		ret = info_get(DIPC_KIND_SHM, false, &info);
		si.shmmax = info.shmmax;
		si.shmmin = 1;
		si.shmmni = info.shmmni;
		si.shmseg = info.shmmni;
		si.shmall = info.shmall;
		*ret_out = give(ret, buf, &si, sizeof(si));
	} else if (cmd == SHM_INFO) {
		struct shm_info si = {0};

		ret = info_get(DIPC_KIND_SHM, true, &info);
		si.used_ids = to_int(info.nr);
		si.shm_tot = info.total;
		si.shm_rss = info.rss;
		*ret_out = give(ret, buf, &si, sizeof(si));
	} else {
		ret = stat_get(DIPC_KIND_SHM, id, cmd, &stat);
		dipc_stat_to_shm(&stat, &ds);
		*ret_out = give(ret, buf, &ds, sizeof(ds));
	}
	return true;
}

/* ---- semaphores --------------------------------------------------------- */

bool dipc_info_sem(int id, int cmd, void *buf, int64_t *ret_out)
{
	struct dipc_info info = {0};
	struct dipc_stat stat = {0};
	struct seminfo si = {0};
	struct semid_ds ds;
	int64_t ret;

	if (!cmd_is_info(DIPC_KIND_SEM, cmd))
		return false;
	if (cmd != IPC_INFO && cmd != SEM_INFO) {
		ret = stat_get(DIPC_KIND_SEM, id, cmd, &stat);
		dipc_stat_to_sem(&stat, &ds);
		*ret_out = give(ret, buf, &ds, sizeof(ds));
		return true;
	}
	ret = info_get(DIPC_KIND_SEM, false, &info);
	si.semmni = to_int(info.semmni);
	si.semmns = to_int(info.semmns);
	si.semmsl = to_int(info.semmsl);
	si.semopm = to_int(info.semopm);
	/* not used, says semctl(2): what they are in the kernel */
	si.semmap = si.semmns;
	si.semmnu = si.semmns;
	si.semume = si.semopm;
	si.semvmx = SEM_VALUE_MAX_;
	si.semusz = cmd == SEM_INFO ? to_int(info.nr) : SEMUSZ_;
	si.semaem = cmd == SEM_INFO ? to_int(info.total) : SEM_VALUE_MAX_;
	*ret_out = give(ret, buf, &si, sizeof(si));
	return true;
}

/* ---- queues ------------------------------------------------------------- */

bool dipc_info_msg(int id, int cmd, void *buf, int64_t *ret_out)
{
	struct dipc_info info = {0};
	struct dipc_stat stat = {0};
	struct msginfo mi;
	struct msqid_ds ds;
	int64_t ret;

	if (!cmd_is_info(DIPC_KIND_MSG, cmd))
		return false;
	if (cmd != IPC_INFO && cmd != MSG_INFO) {
		ret = stat_get(DIPC_KIND_MSG, id, cmd, &stat);
		dipc_stat_to_msg(&stat, &ds);
		*ret_out = give(ret, buf, &ds, sizeof(ds));
		return true;
	}
	ret = info_get(DIPC_KIND_MSG, cmd == MSG_INFO, &info);
	memset(&mi, 0, sizeof(mi)); /* its padding goes out, too */
	mi.msgmax = to_int(info.msgmax);
	mi.msgmnb = to_int(info.msgmnb);
	mi.msgmni = to_int(info.msgmni);
	mi.msgssz = MSGSSZ_;
	mi.msgseg = MSGSEG_;
	if (cmd == MSG_INFO) {
		mi.msgpool = to_int(info.nr);
		mi.msgmap = to_int(info.qnum);
		mi.msgtql = to_int(info.cbytes);
	} else {
		/* constants of the kernel's headers, whatever msgmni is */
		mi.msgpool = 32000 * 16384 / 1024;
		mi.msgmap = 16384;
		mi.msgtql = 16384;
	}
	*ret_out = give(ret, buf, &mi, sizeof(mi));
	return true;
}
