/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/copy.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "runtime/base/sys.h"
#include "runtime/client/fault.h"

#define PAGE_SIZE 4096u

/* A page that was fetched may be taken away again before it is looked at. */
#define FETCH_TRIES 64u

/*
 * rt_sigprocmask reads the new mask before it looks at what to do with it:
 * with an impossible HOW it is a read of 8 bytes and nothing else.
 */
static bool word_can_be_read(uintptr_t word)
{
	uint64_t value;
	struct iovec here = {.iov_base = &value, .iov_len = sizeof(value)};
	struct iovec there = {.iov_base = (void *)word,
			      .iov_len = sizeof(value)};
	long ret;

	if (word == 0) /* there a mask is none, not a bad one */
		return false;
	ret = dipc_sys4(SYS_rt_sigprocmask, (uintptr_t)-1, word, 0,
			sizeof(value));
	if (ret == -EFAULT || ret == -EINVAL)
		return ret == -EINVAL;
	/* a filter of system calls answered; if here too, let it be tried */
	ret = dipc_sys6(SYS_process_vm_readv, (uintptr_t)dipc_sys_getpid(),
			(uintptr_t)&here, 1, (uintptr_t)&there, 1, 0);
	return ret != -EFAULT;
}

/*
 * FUTEX_WAKE_OP adds 0 to a word, atomically, and wakes nobody who was not
 * waiting there. It cannot wait for a page that a userfaultfd serves, so its
 * "no" is asked again of madvise, which can but is slower.
 */
static bool word_can_be_written(uintptr_t word)
{
	static uint32_t nobody;
	long ret;

	ret = dipc_sys6(SYS_futex, (uintptr_t)&nobody,
			FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0, word,
			FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_LT, 0));
	if (ret >= 0)
		return true;
	return dipc_sys3(SYS_madvise, word & ~(uintptr_t)(PAGE_SIZE - 1),
			 PAGE_SIZE, MADV_POPULATE_WRITE) == 0;
}

/*
 * With DIPC_FAULTS=signal an absent page is EFAULT to the kernel: then it is
 * fetched first.
 */
static bool word_is_readable(uintptr_t word)
{
	unsigned i;

	for (i = 0; i < FETCH_TRIES; i++) {
		if (word_can_be_read(word))
			return true;
		if (!dipc_fault_retry((const void *)word, false))
			return false;
	}
	return false;
}

static bool word_is_writable(uintptr_t word)
{
	unsigned i;

	for (i = 0; i < FETCH_TRIES; i++) {
		if (word_can_be_written(word))
			return true;
		if (!dipc_fault_retry((const void *)word, true))
			return false;
	}
	return false;
}

/* In the page that our own stack is in: it can be read and written. */
static bool is_underfoot(uintptr_t addr)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	return addr / PAGE_SIZE == here / PAGE_SIZE;
}

/* Bytes from ADDR to the end of its page, LEN at most. */
static size_t chunk_len(uintptr_t addr, size_t len)
{
	size_t left = PAGE_SIZE - addr % PAGE_SIZE;

	return len < left ? len : left;
}

int dipc_copy_in(void *dst, const void *user, size_t len)
{
	uintptr_t from = (uintptr_t)user;
	char *to = dst;
	size_t n;

	for (; len; len -= n, from += n, to += n) {
		n = chunk_len(from, len);
		if (!is_underfoot(from) &&
		    !word_is_readable(from & ~(uintptr_t)7))
			return -EFAULT;
		memcpy(to, (const void *)from, n);
	}
	return 0;
}

int dipc_copy_out(void *user, const void *src, size_t len)
{
	uintptr_t to = (uintptr_t)user;
	const char *from = src;
	size_t n;

	for (; len; len -= n, to += n, from += n) {
		n = chunk_len(to, len);
		if (!is_underfoot(to) && !word_is_writable(to & ~(uintptr_t)3))
			return -EFAULT;
		memcpy((void *)to, from, n);
	}
	return 0;
}
