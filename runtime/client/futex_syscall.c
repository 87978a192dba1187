/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The futex system call as a program makes it by libc's syscall(), carried out
 * with waiting and waking over nodes.
 */
#include <errno.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stddef.h>

#include "runtime/base/sys.h"
#include "runtime/client/copy.h"
#include "runtime/client/futex.h"

static _Atomic uint32_t *atomic_word(uint32_t *word)
{
	return (_Atomic uint32_t *)(void *)word;
}

/* The kernel wakes one even if asked for none, or for fewer. */
static unsigned nr_to_wake(uint32_t nr)
{
	return (int32_t)nr < 1 ? 1 : nr;
}

static int deadline_get(const struct timespec *timeout, clockid_t clock,
			bool is_relative, struct timespec *deadline)
{
	struct timespec now = {0};
	int ret;

	ret = dipc_copy_in(deadline, timeout, sizeof(*deadline));
	if (ret || !is_relative)
		return ret;
	if (deadline->tv_sec < 0 || deadline->tv_nsec < 0 ||
	    deadline->tv_nsec >= 1000000000)
		return -EINVAL;
	dipc_sys3(SYS_clock_gettime, (uintptr_t)clock, (uintptr_t)&now, 0);
	deadline->tv_nsec += now.tv_nsec;
	if (deadline->tv_nsec >= 1000000000) {
		deadline->tv_nsec -= 1000000000;
		now.tv_sec++;
	}
	if (__builtin_add_overflow(deadline->tv_sec, now.tv_sec,
				   &deadline->tv_sec))
		deadline->tv_sec = INT64_MAX;
	return 0;
}

static long futex_wait(uint32_t *word, int op, uint32_t val,
		       const struct timespec *timeout, uint32_t bitset)
{
	clockid_t clock =
		op & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC;
	bool is_relative = (op & FUTEX_CMD_MASK) == FUTEX_WAIT;
	struct timespec deadline;
	uint32_t value;
	int ret = 0;

	if (bitset == 0)
		return -EINVAL;
	if (timeout)
		ret = deadline_get(timeout, clock, is_relative, &deadline);
	if (ret == 0)
		ret = dipc_copy_in(&value, word, sizeof(value));
	if (ret)
		return ret;
	return dipc_futex_wait_bitset(atomic_word(word), val, clock,
				      timeout ? &deadline : NULL, bitset);
}

static long futex_wake(uint32_t *word, uint32_t nr, uint32_t bitset)
{
	if (bitset == 0)
		return -EINVAL;
	return dipc_futex_wake_bitset(atomic_word(word), nr_to_wake(nr),
				      bitset);
}

/*
 * Who is to be moved to another word is woken instead: a wake-up without a
 * cause is allowed, and a move over two homes would have to be undone when one
 * of them dies in between.
 */
static long futex_requeue(uint32_t *word, uint32_t nr_wake, uint32_t nr_move)
{
	if ((int32_t)nr_wake < 0 || (int32_t)nr_move < 0)
		return -EINVAL;
	return dipc_futex_wake(atomic_word(word), nr_wake + nr_move);
}

/* ---- FUTEX_WAKE_OP ------------------------------------------------------ */

static int32_t field(uint32_t code, unsigned shift)
{
	uint32_t bits = code >> shift & 0xfff;

	return (int32_t)(bits ^ 0x800) - 0x800; /* 12 bits with a sign */
}

static int op_apply(uint32_t code, uint32_t old, uint32_t *new_out)
{
	uint32_t arg = (uint32_t)field(code, 12);
	unsigned op = code >> 28 & 7;

	if (code >> 28 & FUTEX_OP_OPARG_SHIFT)
		arg = 1u << (arg & 31);
	switch (op) {
	case FUTEX_OP_SET:
		*new_out = arg;
		return 0;
	case FUTEX_OP_ADD:
		*new_out = old + arg;
		return 0;
	case FUTEX_OP_OR:
		*new_out = old | arg;
		return 0;
	case FUTEX_OP_ANDN:
		*new_out = old & ~arg;
		return 0;
	case FUTEX_OP_XOR:
		*new_out = old ^ arg;
		return 0;
	default:
		return -ENOSYS;
	}
}

/* 1, 0, or -ENOSYS. */
static int op_compare(uint32_t code, uint32_t value)
{
	int32_t old = (int32_t)value, arg = field(code, 0);

	switch (code >> 24 & 15) {
	case FUTEX_OP_CMP_EQ:
		return old == arg;
	case FUTEX_OP_CMP_NE:
		return old != arg;
	case FUTEX_OP_CMP_LT:
		return old < arg;
	case FUTEX_OP_CMP_LE:
		return old <= arg;
	case FUTEX_OP_CMP_GT:
		return old > arg;
	case FUTEX_OP_CMP_GE:
		return old >= arg;
	default:
		return -ENOSYS;
	}
}

static long futex_wake_op(uint32_t *word, uint32_t nr, uint32_t nr2,
			  uint32_t *word2, uint32_t code)
{
	_Atomic uint32_t *at = atomic_word(word2);
	uint32_t old, new;
	long woken, woken2;
	int ret;

	if ((uintptr_t)word2 % sizeof(*word2))
		return -EINVAL;
	ret = dipc_copy_in(&old, word2, sizeof(old));
	if (ret)
		return ret;
	if (op_compare(code, old) < 0)
		return -ENOSYS;
	do {
		ret = op_apply(code, old, &new);
		if (ret)
			return ret;
	} while (!atomic_compare_exchange_weak_explicit(
		at, &old, new, memory_order_seq_cst, memory_order_seq_cst));
	woken = dipc_futex_wake(atomic_word(word), nr_to_wake(nr));
	if (woken < 0 || !op_compare(code, old))
		return woken;
	woken2 = dipc_futex_wake(at, nr_to_wake(nr2));
	return woken2 < 0 ? woken2 : woken + woken2;
}

long dipc_futex_syscall(uint32_t *word, int op, uint32_t val,
			const struct timespec *timeout, uint32_t *word2,
			uint32_t val3)
{
	uint32_t val2 = (uint32_t)(uintptr_t)timeout;
	int cmd = op & FUTEX_CMD_MASK;

	if ((uintptr_t)word % sizeof(*word))
		return -EINVAL;
	if ((op & FUTEX_CLOCK_REALTIME) && cmd != FUTEX_WAIT &&
	    cmd != FUTEX_WAIT_BITSET)
		return -ENOSYS;
	switch (cmd) {
	case FUTEX_WAIT:
		return futex_wait(word, op, val, timeout,
				  FUTEX_BITSET_MATCH_ANY);
	case FUTEX_WAIT_BITSET:
		return futex_wait(word, op, val, timeout, val3);
	case FUTEX_WAKE:
		return futex_wake(word, val, FUTEX_BITSET_MATCH_ANY);
	case FUTEX_WAKE_BITSET:
		return futex_wake(word, val, val3);
	case FUTEX_CMP_REQUEUE:
		if (atomic_load_explicit(atomic_word(word),
					 memory_order_seq_cst) != val3)
			return -EAGAIN;
		return futex_requeue(word, val, val2);
	case FUTEX_REQUEUE:
		return futex_requeue(word, val, val2);
	case FUTEX_WAKE_OP:
		return futex_wake_op(word, val, val2, word2, val3);
	default:
		return -ENOSYS;
	}
}
