/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SIGBUS handler of DIPC_FAULTS=signal, and what makes the program believe
 * that SIGBUS is its own.
 *
 * The handler touches nothing but its stack and the slots: no lock, no libc.
 * Other handlers wait while it does (sa_mask), so that none of them jumps out
 * of a call with a slot in its hands.
 *
 * Memory ordering: ACTION, the program's own action is two copies and a count
 * of changes, whose lowest bit says which is good: a writer (with `lock`) fills
 * the other one, then counts, RELEASE; a reader copies, then looks whether the
 * count is still what it was (ACQUIRE on both sides of the copy).
 */
#include "runtime/client/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "runtime/base/sys.h"
#include "runtime/client/client.h"
#include "runtime/client/conn.h"
#include "runtime/client/guard.h"
#include "runtime/client/range.h"
#include "runtime/client/signal.h"

/* x86: the access was a write */
#define PAGE_FAULT_WRITE 2

#define SIG_BIT(sig) (1ull << ((sig)-1))
#define MASK_BYTES   8u /* the kernel's */

#define ACTION_WORDS (sizeof(struct sigaction) / sizeof(uint64_t))
static_assert(sizeof(struct sigaction) % sizeof(uint64_t) == 0, "words");

_Atomic bool dipc_fault_is_on;

static struct dipc_lock lock; /* ACTION: one writer at a time */
static _Atomic uint64_t action[2][ACTION_WORDS];
static _Atomic uint32_t changes;

/* ---- the mode ----------------------------------------------------------- */

enum mode {
	MODE_UNKNOWN,
	MODE_TRANSPARENT,
	MODE_SIGNAL,
};

bool dipc_fault_is_wanted(void)
{
	static _Atomic uint32_t mode; /* the same for whoever finds it out */
	uint32_t now = atomic_load_explicit(&mode, memory_order_relaxed);
	const char *value;

	if (now == MODE_UNKNOWN) {
		value = getenv("DIPC_FAULTS");
		now = value && !strcmp(value, "signal") ? MODE_SIGNAL
							: MODE_TRANSPARENT;
		atomic_store_explicit(&mode, now, memory_order_relaxed);
	}
	return now == MODE_SIGNAL;
}

/* ---- the program's own action ------------------------------------------- */

static void action_read(struct sigaction *act)
{
	uint64_t words[ACTION_WORDS];
	uint32_t seen;
	unsigned i;

	do { /* ACTION */
		seen = atomic_load_explicit(&changes, memory_order_acquire);
		for (i = 0; i < ACTION_WORDS; i++)
			words[i] = atomic_load_explicit(&action[seen & 1][i],
							memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
	} while (atomic_load_explicit(&changes, memory_order_relaxed) != seen);
	memcpy(act, words, sizeof(words));
}

/* With `lock`. */
static void action_write(const struct sigaction *act)
{
	uint32_t seen = atomic_load_explicit(&changes, memory_order_relaxed);
	uint64_t words[ACTION_WORDS];
	unsigned i;

	memcpy(words, act, sizeof(words));
	for (i = 0; i < ACTION_WORDS; i++)
		atomic_store_explicit(&action[~seen & 1][i], words[i],
				      memory_order_relaxed);
	/* ACTION */
	atomic_store_explicit(&changes, seen + 1, memory_order_release);
}

void dipc_fault_sigaction(const struct sigaction *act, struct sigaction *old)
{
	struct sigaction before;

	dipc_lock_take(&lock);
	action_read(&before);
	if (act)
		action_write(act);
	dipc_lock_give(&lock);
	if (old)
		*old = before;
}

/* ---- what is not ours --------------------------------------------------- */

/*
 * As if nobody had stood in front: the kernel's default. What the thread did
 * itself it does again when we return, and dies of it.
 */
static void pass_to_default(const siginfo_t *info)
{
	const struct sigaction none = {.sa_handler = SIG_DFL};

	(void)dipc_signal_real(SIGBUS, &none, NULL);
	if (info->si_code <= 0) /* sent by somebody */
		dipc_sys3(SYS_tgkill, (uintptr_t)dipc_sys_getpid(),
			  (uintptr_t)dipc_sys3(SYS_gettid, 0, 0, 0), SIGBUS);
}

static void pass_on(int sig, siginfo_t *info, ucontext_t *uc)
{
	struct sigaction act, none = {.sa_handler = SIG_DFL};
	uint64_t mask, more;

	action_read(&act);
	if (act.sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	if (act.sa_handler == SIG_DFL || act.sa_handler == SIG_IGN) {
		pass_to_default(info);
		return;
	}
	if (act.sa_flags & (int)SA_RESETHAND)
		dipc_fault_sigaction(&none, NULL);
	dipc_slot_signalled();
	/* the mask that the kernel would have made, but for SIGBUS itself: the
	   handler may touch pages, too */
	memcpy(&mask, &uc->uc_sigmask, sizeof(mask));
	memcpy(&more, &act.sa_mask, sizeof(more));
	mask = (mask | more) & ~SIG_BIT(SIGBUS);
	dipc_sys4(SYS_rt_sigprocmask, SIG_SETMASK, (uintptr_t)&mask, 0,
		  MASK_BYTES);
	act.sa_sigaction(sig, info, uc);
}

/* ---- faults ------------------------------------------------------------- */

int dipc_fault_ask(const void *addr, bool is_write)
{
	struct dipc_slot_call call = {
		.call = DIPC_CALL_FAULT,
		.args.fault = {.addr = (uintptr_t)addr, .is_write = is_write}};
	int ret;

	ret = (int)dipc_slot_fault(&call);
	/* the child of a fork, past libc's: now it says who it is */
	if (ret == -ESRCH && dipc_conn_show_tags() == 0)
		ret = (int)dipc_slot_fault(&call);
	return ret;
}

bool dipc_fault_retry(const void *addr, bool is_write)
{
	return dipc_fault_is_installed() && dipc_range_may_hold(addr) &&
	       dipc_range_overlaps(addr, 1) &&
	       dipc_fault_ask(addr, is_write) == 0;
}

static void fault_handler(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	bool is_write = uc->uc_mcontext.gregs[REG_ERR] & PAGE_FAULT_WRITE;

	/* returned to, the instruction does it again */
	if (info->si_code == BUS_ADRERR &&
	    dipc_range_overlaps(info->si_addr, 1) &&
	    dipc_fault_ask(info->si_addr, is_write) == 0)
		return;
	pass_on(sig, info, uc);
}

int dipc_fault_install(void)
{
	struct sigaction act = {.sa_sigaction = fault_handler,
				.sa_flags =
					SA_SIGINFO | SA_ONSTACK | SA_RESTART};
	const uint64_t bus = SIG_BIT(SIGBUS);
	struct sigaction old;
	int ret;

	if (dipc_fault_is_installed())
		return 0;
	sigfillset(&act.sa_mask);
	/* what a thread does to itself would kill it */
	sigdelset(&act.sa_mask, SIGBUS);
	sigdelset(&act.sa_mask, SIGSEGV);
	sigdelset(&act.sa_mask, SIGTRAP);
	sigdelset(&act.sa_mask, SIGSYS);
	ret = dipc_signal_real(SIGBUS, NULL, &old);
	if (ret)
		return ret;
	dipc_fault_sigaction(&old, NULL);
	ret = dipc_signal_real(SIGBUS, &act, NULL);
	if (ret)
		return ret;
	/* a program that starts with it blocked has it from its parent */
	dipc_sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, (uintptr_t)&bus, 0,
		  MASK_BYTES);
	atomic_store_explicit(&dipc_fault_is_on, true, memory_order_release);
	return 0;
}
