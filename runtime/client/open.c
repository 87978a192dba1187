/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * open() and its relatives, for the few files of sysvipc.c; every other path
 * goes on to whoever stands behind us. These are called everywhere: inside
 * other preloads, allocators and start-up code, in signal handlers and after
 * vfork. So nothing here locks, allocates or touches errno on the way past.
 *
 * The symbols have names of their own in C: the headers define some of them as
 * inline functions when compiled with _FORTIFY_SOURCE.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/sys.h"
#include "runtime/client/client.h"
#include "runtime/client/sysvipc.h"

#define NAMED(symbol) __asm__(symbol)

/* What glibc exports beside the names that everybody interposes. */
extern int libc_open(const char *path, int flags, ...) NAMED("__open64");
extern FILE *libc_fopen(const char *path, const char *mode) NAMED("_IO_fopen");

/* ---- who stands behind us ----------------------------------------------- */

typedef void next_fn(void);

/*
 * NEXT_1 relaxed: whoever looks it up finds the same; the functions are older
 * than this library.
 */
struct next {
	const char *name;
	_Atomic(next_fn *) fn;
};

/* dlsym may come back here, through an allocator that opens a file. */
static _Thread_local bool is_finding __attribute__((tls_model("initial-exec")));

static next_fn *next_find(struct next *next)
{
	next_fn *fn = atomic_load_explicit(&next->fn, memory_order_relaxed);
	void *symbol;

	if (fn || is_finding)
		return fn;
	is_finding = true;
	symbol = dlsym(RTLD_NEXT, next->name);
	is_finding = false;
	memcpy(&fn, &symbol, sizeof(fn));
	atomic_store_explicit(&next->fn, fn, memory_order_relaxed);
	return fn;
}

/* ---- descriptors -------------------------------------------------------- */

/* Did we open PATH? Then *FD_OUT is what the program gets. */
static bool opened(const char *path, int flags, int *fd_out)
{
	int which = dipc_sysvipc_find(path);
	int fd;

	if (which < 0)
		return false;
	fd = dipc_sysvipc_open(which, flags);
	if (fd == -ENOSYS)
		return false;
	*fd_out = (int)dipc_posix_ret(fd);
	return true;
}

static int open_next(struct next *next, const char *path, int flags,
		     unsigned mode)
{
	int (*fn)(const char *, int, unsigned) = (void *)next_find(next);
	int fd;

	if (opened(path, flags, &fd))
		return fd;
	return fn ? fn(path, flags, mode) : libc_open(path, flags, mode);
}

static int openat_next(struct next *next, int dir, const char *path, int flags,
		       unsigned mode)
{
	int (*fn)(int, const char *, int, unsigned) = (void *)next_find(next);
	int fd;

	if (opened(path, flags, &fd))
		return fd;
	if (fn)
		return fn(dir, path, flags, mode);
	return (int)dipc_posix_ret(dipc_sys4(SYS_openat, (uintptr_t)dir,
					     (uintptr_t)path, (uintptr_t)flags,
					     mode));
}

/* The mode is there or not; who needs none does not look at it. */
#define MODE_OF(flags, mode)                                                   \
	do {                                                                   \
		va_list ap;                                                    \
                                                                               \
		va_start(ap, flags);                                           \
		(mode) = va_arg(ap, unsigned);                                 \
		va_end(ap);                                                    \
	} while (0)

#define OPEN(fn, symbol)                                                       \
	DIPC_EXPORT int fn(const char *path, int flags, ...) NAMED(symbol);    \
	int fn(const char *path, int flags, ...)                               \
	{                                                                      \
		static struct next next = {.name = symbol};                    \
		unsigned mode;                                                 \
                                                                               \
		MODE_OF(flags, mode);                                          \
		return open_next(&next, path, flags, mode);                    \
	}

#define OPENAT(fn, symbol)                                                     \
	DIPC_EXPORT int fn(int dir, const char *path, int flags, ...)          \
		NAMED(symbol);                                                 \
	int fn(int dir, const char *path, int flags, ...)                      \
	{                                                                      \
		static struct next next = {.name = symbol};                    \
		unsigned mode;                                                 \
                                                                               \
		MODE_OF(flags, mode);                                          \
		return openat_next(&next, dir, path, flags, mode);             \
	}

#define OPEN_2(fn, symbol)                                                     \
	DIPC_EXPORT int fn(const char *path, int flags) NAMED(symbol);         \
	int fn(const char *path, int flags)                                    \
	{                                                                      \
		static struct next next = {.name = symbol};                    \
                                                                               \
		return open_next(&next, path, flags, 0);                       \
	}

#define OPENAT_2(fn, symbol)                                                   \
	DIPC_EXPORT int fn(int dir, const char *path, int flags)               \
		NAMED(symbol);                                                 \
	int fn(int dir, const char *path, int flags)                           \
	{                                                                      \
		static struct next next = {.name = symbol};                    \
                                                                               \
		return openat_next(&next, dir, path, flags, 0);                \
	}

OPEN(file_open, "open")
OPEN(file_open64, "open64")
OPEN_2(file_open_2, "__open_2")
OPEN_2(file_open64_2, "__open64_2")
OPENAT(file_openat, "openat")
OPENAT(file_openat64, "openat64")
OPENAT_2(file_openat_2, "__openat_2")
OPENAT_2(file_openat64_2, "__openat64_2")

/* ---- streams ------------------------------------------------------------ */

static FILE *fopen_next(struct next *next, const char *path, const char *mode)
{
	FILE *(*fn)(const char *, const char *) = (void *)next_find(next);
	FILE *file;
	int fd;

	/* "r", with whatever letters behind it; not "r+" */
	if (mode && mode[0] == 'r' && !strchr(mode, '+') &&
	    opened(path, strchr(mode, 'e') ? O_CLOEXEC : 0, &fd)) {
		file = fd < 0 ? NULL : fdopen(fd, "r");
		if (!file && fd >= 0)
			dipc_sys_close(fd);
		return file;
	}
	return fn ? fn(path, mode) : libc_fopen(path, mode);
}

#define FOPEN(fn, symbol)                                                      \
	DIPC_EXPORT FILE *fn(const char *path, const char *mode)               \
		NAMED(symbol);                                                 \
	FILE *fn(const char *path, const char *mode)                           \
	{                                                                      \
		static struct next next = {.name = symbol};                    \
                                                                               \
		return fopen_next(&next, path, mode);                          \
	}

FOPEN(file_fopen, "fopen")
FOPEN(file_fopen64, "fopen64")
