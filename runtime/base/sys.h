/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System calls that go to the kernel and nowhere else, for code that runs in
 * strangers' programs. libc's fstat(), open(), close() and their like may be
 * another preload's, whose own make System V calls, which come back to us.
 * Results are the kernel's: -errno, errno untouched; no cancellation points.
 * x86-64.
 */
#ifndef DIPC_BASE_SYS_H
#define DIPC_BASE_SYS_H

#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>

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

/* ---- descriptors -------------------------------------------------------- */

static inline int dipc_sys_open(const char *path, int flags)
{
	return (int)dipc_sys4(SYS_openat, (uintptr_t)AT_FDCWD, (uintptr_t)path,
			      (uintptr_t)flags, 0);
}

static inline ssize_t dipc_sys_read(int fd, void *buf, size_t len)
{
	return dipc_sys3(SYS_read, (uintptr_t)fd, (uintptr_t)buf, len);
}

static inline ssize_t dipc_sys_write(int fd, const void *buf, size_t len)
{
	return dipc_sys3(SYS_write, (uintptr_t)fd, (uintptr_t)buf, len);
}

static inline int dipc_sys_close(int fd)
{
	return (int)dipc_sys3(SYS_close, (uintptr_t)fd, 0, 0);
}

static inline int dipc_sys_fcntl(int fd, int cmd, uintptr_t arg)
{
	return (int)dipc_sys3(SYS_fcntl, (uintptr_t)fd, (uintptr_t)cmd, arg);
}

static inline int dipc_sys_fstat(int fd, struct stat *st)
{
	return (int)dipc_sys3(SYS_fstat, (uintptr_t)fd, (uintptr_t)st, 0);
}

static inline int dipc_sys_ioctl(int fd, unsigned int cmd, uintptr_t arg)
{
	return (int)dipc_sys3(SYS_ioctl, (uintptr_t)fd, cmd, arg);
}

static inline int dipc_sys_poll(struct pollfd *fds, nfds_t nr, int timeout_ms)
{
	return (int)dipc_sys3(SYS_poll, (uintptr_t)fds, nr,
			      (uintptr_t)timeout_ms);
}

/* ---- sockets ------------------------------------------------------------ */

static inline int dipc_sys_socket(int domain, int type, int protocol)
{
	return (int)dipc_sys3(SYS_socket, (uintptr_t)domain, (uintptr_t)type,
			      (uintptr_t)protocol);
}

static inline int dipc_sys_connect(int fd, const void *addr, socklen_t len)
{
	return (int)dipc_sys3(SYS_connect, (uintptr_t)fd, (uintptr_t)addr, len);
}

static inline int dipc_sys_setsockopt(int fd, int level, int name,
				      const void *value, socklen_t len)
{
	return (int)dipc_sys6(SYS_setsockopt, (uintptr_t)fd, (uintptr_t)level,
			      (uintptr_t)name, (uintptr_t)value, len, 0);
}

static inline int dipc_sys_getsockopt(int fd, int level, int name, void *value,
				      socklen_t *len)
{
	return (int)dipc_sys6(SYS_getsockopt, (uintptr_t)fd, (uintptr_t)level,
			      (uintptr_t)name, (uintptr_t)value, (uintptr_t)len,
			      0);
}

static inline ssize_t dipc_sys_sendmsg(int fd, const struct msghdr *mh,
				       int flags)
{
	return dipc_sys3(SYS_sendmsg, (uintptr_t)fd, (uintptr_t)mh,
			 (uintptr_t)flags);
}

static inline ssize_t dipc_sys_recvmsg(int fd, struct msghdr *mh, int flags)
{
	return dipc_sys3(SYS_recvmsg, (uintptr_t)fd, (uintptr_t)mh,
			 (uintptr_t)flags);
}

static inline int dipc_sys_shutdown(int fd, int how)
{
	return (int)dipc_sys3(SYS_shutdown, (uintptr_t)fd, (uintptr_t)how, 0);
}

/* ---- memory ------------------------------------------------------------- */

/* MAP_FAILED never comes: an address, or -errno as an address. */
static inline void *dipc_sys_mmap(void *addr, size_t len, int prot, int flags,
				  int fd, off_t offset)
{
	return (void *)dipc_sys6(SYS_mmap, (uintptr_t)addr, len,
				 (uintptr_t)prot, (uintptr_t)flags,
				 (uintptr_t)fd, (uintptr_t)offset);
}

/* 0, or the -errno in what dipc_sys_mmap() gave. */
static inline int dipc_sys_mmap_error(const void *addr)
{
	return (uintptr_t)addr >= (uintptr_t)-4095 ? (int)(intptr_t)addr : 0;
}

static inline int dipc_sys_munmap(void *addr, size_t len)
{
	return (int)dipc_sys3(SYS_munmap, (uintptr_t)addr, len, 0);
}

static inline int dipc_sys_mprotect(void *addr, size_t len, int prot)
{
	return (int)dipc_sys3(SYS_mprotect, (uintptr_t)addr, len,
			      (uintptr_t)prot);
}

static inline int dipc_sys_madvise(void *addr, size_t len, int advice)
{
	return (int)dipc_sys3(SYS_madvise, (uintptr_t)addr, len,
			      (uintptr_t)advice);
}

/* ---- threads ------------------------------------------------------------ */

static inline int dipc_sys_getpid(void)
{
	return (int)dipc_sys3(SYS_getpid, 0, 0, 0);
}

static inline int dipc_sys_gettid(void)
{
	return (int)dipc_sys3(SYS_gettid, 0, 0, 0);
}

static inline long dipc_sys_futex(void *word, int op, uint32_t val,
				  const struct timespec *timeout, void *word2,
				  uint32_t val3)
{
	return dipc_sys6(SYS_futex, (uintptr_t)word, (uintptr_t)op, val,
			 (uintptr_t)timeout, (uintptr_t)word2, val3);
}

#endif
