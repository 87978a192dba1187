/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/client.h"

#include "runtime/client/elf.h"
#include "runtime/client/guard.h"

static struct dipc_real real;
static struct dipc_once real_once = DIPC_ONCE_INIT;

/* It gives an object pointer; ISO C wants the detour to a function's. */
#define FIND(name)                                                             \
	do {                                                                   \
		void *sym = dipc_elf_next(#name);                              \
		__builtin_memcpy(&real.name, &sym, sizeof(sym));               \
	} while (0)

static void real_find(void)
{
	FIND(shmget);
	FIND(shmat);
	FIND(shmdt);
	FIND(shmctl);
	FIND(semget);
	FIND(semop);
	FIND(semtimedop);
	FIND(semctl);
	FIND(msgget);
	FIND(msgsnd);
	FIND(msgrcv);
	FIND(msgctl);
}

const struct dipc_real *dipc_real(void)
{
	dipc_once(&real_once, real_find);
	return &real;
}
