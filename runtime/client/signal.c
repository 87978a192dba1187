/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sigaction(2) and its kin. Where the program gives a handler, the kernel gets
 * a stub of ours that ends the thread's blocked call (slot.c) and goes on to
 * the handler; where the program asks, it is told of its handler again.
 *
 * There is nothing to keep in step with the kernel: flags and mask are there,
 * and which handler a signal has is the address of its stub. So what is atomic
 * in the kernel is atomic here, whatever runs meanwhile: handlers, threads,
 * the child of a vfork.
 *
 * Memory ordering: HANDLER, an entry of `handlers` goes from 0 to its value
 * once and stays; a stub's address is only known after that. Relaxed.
 */
#include "runtime/client/signal.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "runtime/client/client.h"
#include "runtime/client/elf.h"
#include "runtime/client/fault.h"
#include "runtime/client/guard.h"
#include "runtime/client/mask.h"

/* HANDLER. Handlers by stub; an address is put where its hash says, or in the
   next free entry. Functions are few, so nothing is ever taken out. */
static _Atomic uintptr_t handlers[DIPC_SIGNAL_STUBS];

typedef void (*handler_fn)(int);

static struct {
	int (*sigaction)(int, const struct sigaction *, struct sigaction *);
	handler_fn (*signal)(int, handler_fn);
	handler_fn (*sysv_signal)(int, handler_fn);
	handler_fn (*sigset)(int, handler_fn);
} real;
static struct dipc_once real_once = DIPC_ONCE_INIT;

/* The first call in a process is not in a handler: nobody installed one. */
static void real_find(void)
{
	void *sym[] = {dipc_elf_next("sigaction"), dipc_elf_next("signal"),
		       dipc_elf_next("sysv_signal"), dipc_elf_next("sigset")};

	__builtin_memcpy(&real, sym, sizeof(real));
}

/* ---- handlers and their stubs ------------------------------------------- */

static uintptr_t stub_address(unsigned index)
{
	return (uintptr_t)dipc_signal_stubs +
	       ((uintptr_t)index << DIPC_SIGNAL_STUB_SHIFT);
}

uintptr_t dipc_signal_enter(uint32_t index)
{
	dipc_slot_signalled();
	/* HANDLER */
	return atomic_load_explicit(&handlers[index], memory_order_relaxed);
}

/* What the kernel is to be given; with all stubs in use, HANDLER itself. */
static uintptr_t stub_of(uintptr_t handler)
{
	unsigned start = (unsigned)((handler >> 4) * 0x9e3779b1u >> 16);
	unsigned i, n;

	for (i = 0; i < DIPC_SIGNAL_STUBS; i++) {
		uintptr_t there = 0;

		n = (start + i) % DIPC_SIGNAL_STUBS;
		/* HANDLER */
		if (atomic_compare_exchange_strong_explicit(
			    &handlers[n], &there, handler, memory_order_relaxed,
			    memory_order_relaxed) ||
		    there == handler)
			return stub_address(n);
	}
	return handler;
}

/* SIG_DFL, SIG_IGN, SIG_HOLD and SIG_ERR are no functions. */
static bool is_function(uintptr_t handler)
{
	return handler > 2 && handler != (uintptr_t)SIG_ERR;
}

static handler_fn to_kernel(handler_fn handler)
{
	uintptr_t h = (uintptr_t)handler;

	return is_function(h) ? (handler_fn)stub_of(h) : handler;
}

static handler_fn to_program(handler_fn handler)
{
	uintptr_t index = ((uintptr_t)handler - stub_address(0)) >>
			  DIPC_SIGNAL_STUB_SHIFT;

	if (index >= DIPC_SIGNAL_STUBS)
		return handler;
	/* HANDLER */
	return (handler_fn)atomic_load_explicit(&handlers[index],
						memory_order_relaxed);
}

/* ---- the calls ---------------------------------------------------------- */

int dipc_signal_real(int sig, const struct sigaction *act,
		     struct sigaction *old)
{
	int saved = errno, ret;

	dipc_once(&real_once, real_find);
	ret = real.sigaction(sig, act, old) ? -errno : 0;
	errno = saved;
	if (ret == 0 && old)
		old->sa_handler = to_program(old->sa_handler);
	return ret;
}

static int do_sigaction(int sig, const struct sigaction *act,
			struct sigaction *old)
{
	struct sigaction ours;
	int ret;

	if (sig == SIGBUS && dipc_fault_is_installed()) {
		dipc_fault_sigaction(act, old);
		return 0;
	}
	dipc_once(&real_once, real_find);
	if (act) {
		ours = *act;
		/* a union: sa_sigaction lies in the same place */
		ours.sa_handler = to_kernel(act->sa_handler);
		dipc_mask_of_action(sig, &ours);
	}
	ret = real.sigaction(sig, act ? &ours : NULL, old);
	if (ret == 0 && old)
		old->sa_handler = to_program(old->sa_handler);
	return ret;
}

/* signal() and its kin of SIGBUS, where our handler stays: FLAGS as libc. */
static handler_fn bus_signal(handler_fn handler, int flags)
{
	struct sigaction act = {.sa_handler = handler, .sa_flags = flags}, old;

	dipc_fault_sigaction(&act, &old);
	return old.sa_handler;
}

DIPC_EXPORT int sigaction(int sig, const struct sigaction *act,
			  struct sigaction *old)
{
	return do_sigaction(sig, act, old);
}

static handler_fn do_signal(int sig, handler_fn handler)
{
	if (sig == SIGBUS && dipc_fault_is_installed())
		return bus_signal(handler, SA_RESTART);
	dipc_once(&real_once, real_find);
	return to_program(real.signal(sig, to_kernel(handler)));
}

static handler_fn do_sysv_signal(int sig, handler_fn handler)
{
	if (sig == SIGBUS && dipc_fault_is_installed())
		return bus_signal(handler, (int)(SA_RESETHAND | SA_NODEFER));
	dipc_once(&real_once, real_find);
	return to_program(real.sysv_signal(sig, to_kernel(handler)));
}

DIPC_EXPORT handler_fn signal(int sig, handler_fn handler)
{
	return do_signal(sig, handler);
}

DIPC_EXPORT handler_fn ssignal(int sig, handler_fn handler)
{
	return do_signal(sig, handler);
}

DIPC_EXPORT handler_fn sysv_signal(int sig, handler_fn handler)
{
	return do_sysv_signal(sig, handler);
}

DIPC_EXPORT handler_fn sigset(int sig, handler_fn handler)
{
	if (sig == SIGBUS && dipc_fault_is_installed() &&
	    handler != (handler_fn)2) /* SIG_HOLD: it is never blocked */
		return bus_signal(handler, 0);
	dipc_once(&real_once, real_find);
	return to_program(real.sigset(sig, to_kernel(handler)));
}

/* libc's other names, which its headers do not always declare. */
handler_fn bsd_signal(int sig, handler_fn handler);
int __sigaction(int sig, const struct sigaction *act, struct sigaction *old);

DIPC_EXPORT handler_fn bsd_signal(int sig, handler_fn handler)
{
	return do_signal(sig, handler);
}

DIPC_EXPORT handler_fn __sysv_signal(int sig, handler_fn handler)
{
	return do_sysv_signal(sig, handler);
}

DIPC_EXPORT int __sigaction(int sig, const struct sigaction *act,
			    struct sigaction *old)
{
	return do_sigaction(sig, act, old);
}
