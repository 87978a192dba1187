/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System calls that go to the kernel and nowhere else. libc's stat(), open(),
 * close() and their like may be another preload's, which may make System V
 * calls of its own, and those come back to us. Results are the kernel's:
 * -errno, errno untouched. x86-64.
 */
#ifndef DIPC_CLIENT_SYS_H
#define DIPC_CLIENT_SYS_H

#include <stdint.h>
#include <sys/syscall.h>

static inline long dipc_sys6(long nr, uintptr_t a, uintptr_t b, uintptr_t c,
			     uintptr_t d, uintptr_t e, uintptr_t f)
{
	register uintptr_t r10 __asm__("r10") = d;
	register uintptr_t r8 __asm__("r8") = e;
	register uintptr_t r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
			   "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long dipc_sys4(long nr, uintptr_t a, uintptr_t b, uintptr_t c,
			     uintptr_t d)
{
	register uintptr_t r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long dipc_sys3(long nr, uintptr_t a, uintptr_t b, uintptr_t c)
{
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return ret;
}

#endif
