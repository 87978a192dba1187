/* SPDX-License-Identifier: BSD-2-Clause */
/* dipcd's one shape of results into the structures of glibc. */
#ifndef DIPC_CLIENT_STAT_H
#define DIPC_CLIENT_STAT_H

#include "runtime/base/local.h"

struct shmid_ds;
struct semid_ds;
struct msqid_ds;

void dipc_stat_to_shm(const struct dipc_stat *stat, struct shmid_ds *ds_out);
void dipc_stat_to_sem(const struct dipc_stat *stat, struct semid_ds *ds_out);
void dipc_stat_to_msg(const struct dipc_stat *stat, struct msqid_ds *ds_out);

#endif
