/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/stat.h"

#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static void stat_to_perm(const struct dipc_stat *stat, unsigned mode_mask,
			 struct ipc_perm *perm)
{
	perm->__key = stat->key;
	perm->uid = stat->uid;
	perm->gid = stat->gid;
	perm->cuid = stat->cuid;
	perm->cgid = stat->cgid;
	perm->mode = stat->mode & mode_mask;
	perm->__seq = (unsigned short)stat->seq;
}

void dipc_stat_to_shm(const struct dipc_stat *stat, struct shmid_ds *ds)
{
	memset(ds, 0, sizeof(*ds));
	stat_to_perm(stat, 07777, &ds->shm_perm); /* with SHM_DEST */
	ds->shm_segsz = stat->size;
	ds->shm_atime = stat->time1;
	ds->shm_dtime = stat->time2;
	ds->shm_ctime = stat->ctime;
	ds->shm_cpid = stat->pid1;
	ds->shm_lpid = stat->pid2;
	ds->shm_nattch = stat->count;
}

void dipc_stat_to_sem(const struct dipc_stat *stat, struct semid_ds *ds)
{
	memset(ds, 0, sizeof(*ds));
	stat_to_perm(stat, 0777, &ds->sem_perm);
	ds->sem_otime = stat->time1;
	ds->sem_ctime = stat->ctime;
	ds->sem_nsems = stat->size;
}

void dipc_stat_to_msg(const struct dipc_stat *stat, struct msqid_ds *ds)
{
	memset(ds, 0, sizeof(*ds));
	stat_to_perm(stat, 0777, &ds->msg_perm);
	ds->msg_stime = stat->time1;
	ds->msg_rtime = stat->time2;
	ds->msg_ctime = stat->ctime;
	ds->__msg_cbytes = stat->bytes;
	ds->msg_qnum = stat->count;
	ds->msg_qbytes = stat->size;
	ds->msg_lspid = stat->pid1;
	ds->msg_lrpid = stat->pid2;
}
