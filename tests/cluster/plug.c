/* SPDX-License-Identifier: BSD-2-Clause */
/* A plugin: is a set that it asks for distributed? By call and by pointer. */
#include <sys/ipc.h>
#include <sys/sem.h>

#include "dipc/dipc.h"

__attribute__((visibility("default"))) int plug_is_distributed(void);

static int (*const control)(int, int, int, ...) = semctl;

int plug_is_distributed(void)
{
	int id = semget(IPC_PRIVATE, 1, IPC_CREAT | IPC_DIPC | 0600);

	return control(id, 0, IPC_RMID) == 0 && id >= 0x40000000;
}
