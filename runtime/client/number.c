/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls by number, as programs make them through libc's syscall(): the System V
 * ones, those that change who a thread is, and futexes in a segment.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "runtime/base/sys.h"
#include "runtime/client/client.h"
#include "runtime/client/door.h"
#include "runtime/client/futex.h"
#include "runtime/client/range.h"

/* ---- futexes ------------------------------------------------------------ */

/*
 * A private one is of one process, here as in the kernel, and stays there; so
 * do those that the kernel refuses.
 */
static bool futex_is_ours(const void *word, int op)
{
	return !(op & FUTEX_PRIVATE_FLAG) && (uintptr_t)word % 4 == 0 &&
	       dipc_range_any() && dipc_range_overlaps(word, 4);
}

/* ---- identities --------------------------------------------------------- */

/* Of the calling thread alone, unlike libc's functions. */
static int64_t identity_call(long nr, uintptr_t a, uintptr_t b, uintptr_t c)
{
	int64_t ret = dipc_sys3(nr, a, b, c);

	dipc_conn_identity_changed(false);
	return ret;
}

/* ---- all ---------------------------------------------------------------- */

bool dipc_call_is_ours(long nr, uintptr_t a, uintptr_t b)
{
	switch (nr) {
	case SYS_shmget:
	case SYS_shmat:
	case SYS_shmctl:
	case SYS_shmdt:
	case SYS_semget:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_semctl:
	case SYS_msgget:
	case SYS_msgsnd:
	case SYS_msgrcv:
	case SYS_msgctl:
	case SYS_setuid:
	case SYS_setreuid:
	case SYS_setresuid:
	case SYS_setgid:
	case SYS_setregid:
	case SYS_setresgid:
	case SYS_setgroups:
	case SYS_capset:
		return true;
	case SYS_futex:
		return futex_is_ours((const void *)a, (int)b);
	default:
		return false;
	}
}

static long sysv_by_number(long nr, uintptr_t a, uintptr_t b, uintptr_t c,
			   uintptr_t d, uintptr_t e)
{
	switch (nr) {
	case SYS_shmget:
		return shmget((key_t)a, b, (int)c);
	case SYS_shmat:
		return (long)shmat((int)a, (void *)b, (int)c);
	case SYS_shmctl:
		return shmctl((int)a, (int)b, (void *)c);
	case SYS_shmdt:
		return shmdt((void *)a);
	case SYS_semget:
		return semget((key_t)a, (int)b, (int)c);
	case SYS_semop:
		return semop((int)a, (void *)b, (unsigned)c);
	case SYS_semtimedop:
		return semtimedop((int)a, (void *)b, (unsigned)c, (void *)d);
	case SYS_semctl:
		return semctl((int)a, (int)b, (int)c, d);
	case SYS_msgget:
		return msgget((key_t)a, (int)b);
	case SYS_msgsnd:
		return msgsnd((int)a, (void *)b, c, (int)d);
	case SYS_msgrcv:
		return msgrcv((int)a, (void *)b, c, (long)d, (int)e);
	default:
		return msgctl((int)a, (int)b, (void *)c);
	}
}

long dipc_call_by_number(long nr, uintptr_t a, uintptr_t b, uintptr_t c,
			 uintptr_t d, uintptr_t e, uintptr_t f)
{
	switch (nr) {
	case SYS_setuid:
	case SYS_setreuid:
	case SYS_setresuid:
	case SYS_setgid:
	case SYS_setregid:
	case SYS_setresgid:
	case SYS_setgroups:
	case SYS_capset:
		return dipc_posix_ret(identity_call(nr, a, b, c));
	case SYS_futex:
		return dipc_posix_ret(
			dipc_futex_syscall((uint32_t *)a, (int)b, (uint32_t)c,
					   (void *)d, (void *)e, (uint32_t)f));
	default:
		return sysv_by_number(nr, a, b, c, d, e);
	}
}
