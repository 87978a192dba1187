/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread that faults with SIGBUS blocked is killed. With DIPC_FAULTS=signal
 * the calls that would block it therefore leave it out, and tell the program
 * that it is blocked.
 */
#include "runtime/client/mask.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "runtime/client/client.h"
#include "runtime/client/fault.h"
#include "runtime/client/next.h"

/* What the program believes. */
static _Thread_local DIPC_TLS_EARLY bool is_blocked;

static struct dipc_next next_sigprocmask = {.name = "sigprocmask"};
static struct dipc_next next_sigmask = {.name = "pthread_sigmask"};

typedef int (*mask_fn)(int, const sigset_t *, sigset_t *);

void dipc_mask_of_action(int sig, struct sigaction *act)
{
	if (sig != SIGBUS && dipc_fault_is_wanted())
		sigdelset(&act->sa_mask, SIGBUS);
}

static int set_mask(mask_fn real, int how, const sigset_t *set, sigset_t *old)
{
	bool was_blocked = is_blocked;
	sigset_t ours;
	int ret;

	if (set && how != SIG_UNBLOCK) {
		ours = *set;
		sigdelset(&ours, SIGBUS);
	}
	ret = real(how, set && how != SIG_UNBLOCK ? &ours : set, old);
	if (ret)
		return ret;
	if (set && how == SIG_SETMASK)
		is_blocked = sigismember(set, SIGBUS) == 1;
	else if (set && sigismember(set, SIGBUS) == 1)
		is_blocked = how == SIG_BLOCK;
	if (old && was_blocked)
		sigaddset(old, SIGBUS);
	return 0;
}

DIPC_EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	mask_fn real = DIPC_NEXT(&next_sigprocmask, mask_fn);

	if (dipc_fault_is_wanted())
		return set_mask(real, how, set, old);
	return real(how, set, old);
}

DIPC_EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	mask_fn real = DIPC_NEXT(&next_sigmask, mask_fn);

	if (dipc_fault_is_wanted())
		return set_mask(real, how, set, old);
	return real(how, set, old);
}
