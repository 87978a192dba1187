/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a program does to its mappings, where attachments are among them. All
 * other memory goes to libc after a look at the bounds of the ranges.
 *
 * dipcd hears of munmap and mremap from the kernel; here the ranges follow,
 * and what the kernel would do differently to a segment of ours is refused or
 * done in another way.
 */
#include "runtime/client/client.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "runtime/client/hint.h"
#include "runtime/client/fault.h"
#include "runtime/client/next.h"
#include "runtime/client/range.h"
#include "runtime/base/sys.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* A page that was fetched may be taken away before it is written. */
#define ZERO_TRIES 64u
#define PAGE_SIZE  4096u

static size_t round_up(size_t len)
{
	return (len + PAGE_SIZE - 1) & ~(size_t)(PAGE_SIZE - 1);
}

static long sys_ret(long ret)
{
	return ret < 0 && ret > -4096 ? dipc_posix_ret(ret) : ret;
}

/* ---- the functions behind ------------------------------------------------ */

static void *next_mmap(void *addr, size_t len, int prot, int flags, int fd,
		       off_t off)
{
	static struct dipc_next next = {.name = "mmap"};
	__typeof__(&mmap) fn = DIPC_NEXT(&next, __typeof__(&mmap));

	if (fn)
		return fn(addr, len, prot, flags, fd, off);
	return (void *)sys_ret(dipc_sys6(SYS_mmap, (uintptr_t)addr, len,
					 (uintptr_t)prot, (uintptr_t)flags,
					 (uintptr_t)fd, (uintptr_t)off));
}

static int next_munmap(void *addr, size_t len)
{
	static struct dipc_next next = {.name = "munmap"};
	__typeof__(&munmap) fn = DIPC_NEXT(&next, __typeof__(&munmap));

	if (fn)
		return fn(addr, len);
	return (int)sys_ret(dipc_sys3(SYS_munmap, (uintptr_t)addr, len, 0));
}

static void *next_mremap(void *old, size_t old_len, size_t len, int flags,
			 void *to)
{
	static struct dipc_next next = {.name = "mremap"};
	__typeof__(&mremap) fn = DIPC_NEXT(&next, __typeof__(&mremap));

	if (fn)
		return fn(old, old_len, len, flags, to);
	return (void *)sys_ret(dipc_sys6(SYS_mremap, (uintptr_t)old, old_len,
					 len, (uintptr_t)flags, (uintptr_t)to,
					 0));
}

static int next_mprotect(void *addr, size_t len, int prot)
{
	static struct dipc_next next = {.name = "mprotect"};
	__typeof__(&mprotect) fn = DIPC_NEXT(&next, __typeof__(&mprotect));

	if (fn)
		return fn(addr, len, prot);
	return (int)sys_ret(
		dipc_sys3(SYS_mprotect, (uintptr_t)addr, len, (uintptr_t)prot));
}

static int next_pkey_mprotect(void *addr, size_t len, int prot, int pkey)
{
	static struct dipc_next next = {.name = "pkey_mprotect"};
	__typeof__(&pkey_mprotect) fn =
		DIPC_NEXT(&next, __typeof__(&pkey_mprotect));

	if (fn)
		return fn(addr, len, prot, pkey);
	return (int)sys_ret(dipc_sys4(SYS_pkey_mprotect, (uintptr_t)addr, len,
				      (uintptr_t)prot, (uintptr_t)pkey));
}

static int next_madvise(void *addr, size_t len, int advice)
{
	static struct dipc_next next = {.name = "madvise"};
	__typeof__(&madvise) fn = DIPC_NEXT(&next, __typeof__(&madvise));

	if (fn)
		return fn(addr, len, advice);
	return (int)sys_ret(dipc_sys3(SYS_madvise, (uintptr_t)addr, len,
				      (uintptr_t)advice));
}

/* ---- mapping and unmapping ------------------------------------------------ */

static void *mapping_mmap(void *addr, size_t len, int prot, int flags, int fd,
			  off_t off)
{
	bool is_over = (flags & MAP_FIXED) && dipc_range_overlaps(addr, len);
	void *map;

	if (is_over)
		dipc_conn_lock();
	map = next_mmap(addr, len, prot, flags, fd, off);
	/* also where a range had gone that we did not see go */
	if (map != MAP_FAILED && dipc_range_overlaps(map, len)) {
		if (!is_over)
			dipc_conn_lock();
		is_over = true;
		dipc_range_remove(map, round_up(len));
	}
	if (is_over) {
		dipc_conn_unlock();
		if (map != MAP_FAILED)
			dipc_detach_settle();
	}
	return map;
}

DIPC_EXPORT void *mmap(void *addr, size_t len, int prot, int flags, int fd,
		       off_t off)
{
	return mapping_mmap(addr, len, prot, flags, fd, off);
}

DIPC_EXPORT void *mmap64(void *addr, size_t len, int prot, int flags, int fd,
			 off64_t off)
{
	return mapping_mmap(addr, len, prot, flags, fd, off);
}

DIPC_EXPORT int munmap(void *addr, size_t len)
{
	int ret;

	if (!dipc_range_overlaps(addr, len))
		return next_munmap(addr, len);
	dipc_conn_lock();
	ret = next_munmap(addr, len);
	if (ret == 0)
		dipc_range_remove(addr, round_up(len));
	dipc_conn_unlock();
	if (ret == 0)
		dipc_detach_settle();
	return ret;
}

/* ---- mremap --------------------------------------------------------------- */

/* Beyond the end of the segment there is SIGBUS, but it is one mapping. */
static void mapping_grown(char *start, size_t len)
{
	struct dipc_range r;

	if (dipc_range_find(start - PAGE_SIZE, &r))
		return;
	r.offset += PAGE_SIZE;
	r.start = start;
	r.len = len;
	(void)dipc_range_add(&r); /* there is room */
}

/* With the lock. */
static void *mapping_mremap(char *old, size_t old_len, size_t len, int flags,
			    void *to)
{
	size_t kept = old_len < len ? old_len : len;
	char *map;

	/*
	 * A second mapping of the pages, or what MREMAP_DONTUNMAP leaves, would
	 * be one that nobody serves: it would read zeros.
	 */
	if (old_len == 0 || (flags & MREMAP_DONTUNMAP))
		return (void *)dipc_posix_ret(-EINVAL);
	if (dipc_range_reserve(dipc_range_count(old, old_len) + 6))
		return (void *)dipc_posix_ret(-ENOMEM);
	map = next_mremap(old, old_len, len, flags, to);
	if (map == MAP_FAILED)
		return map;
	if (map != old)
		dipc_range_move(old, kept, map);
	if (len < old_len)
		dipc_range_remove(old + len, old_len - len);
	else if (len > old_len)
		mapping_grown(map + old_len, len - old_len);
	return map;
}

DIPC_EXPORT void *mremap(void *old, size_t old_len, size_t len, int flags, ...)
{
	void *to = NULL, *map;
	va_list ap;

	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
		va_start(ap, flags);
		to = va_arg(ap, void *);
		va_end(ap);
	}
	old_len = round_up(old_len);
	if (!dipc_range_overlaps(old, old_len ? old_len : 1) &&
	    !(to && dipc_range_overlaps(to, len)))
		return next_mremap(old, old_len, len, flags, to);
	len = round_up(len);
	dipc_conn_lock();
	if (dipc_range_overlaps(old, old_len ? old_len : 1)) {
		map = mapping_mremap(old, old_len, len, flags, to);
	} else {
		map = next_mremap(old, old_len, len, flags, to);
		if (map != MAP_FAILED)
			dipc_range_remove(map, len);
	}
	dipc_conn_unlock();
	if (map != MAP_FAILED)
		dipc_detach_settle();
	return map;
}

/* What it makes is a new mapping of the same file: nobody would serve it. */
DIPC_EXPORT int remap_file_pages(void *addr, size_t len, int prot, size_t pgoff,
				 int flags)
{
	static struct dipc_next next = {.name = "remap_file_pages"};
	__typeof__(&remap_file_pages) fn =
		DIPC_NEXT(&next, __typeof__(&remap_file_pages));

	if (!fn || dipc_range_overlaps(addr, len))
		return (int)dipc_posix_ret(-EINVAL);
	return fn(addr, len, prot, pgoff, flags);
}

/* ---- protection ----------------------------------------------------------- */

/*
 * A read-only attachment is a private mapping for the kernel, which would make
 * it writable. The first byte of such in [ADDR, ADDR + LEN), or NULL.
 */
static char *readonly_in(char *addr, size_t len)
{
	char *at = addr;
	struct dipc_range r;

	while (at < addr + len && dipc_range_next(at, &r) == 0 &&
	       r.start < addr + len) {
		if (r.is_readonly)
			return r.start > addr ? r.start : addr;
		at = r.start + r.len;
	}
	return NULL;
}

DIPC_EXPORT int mprotect(void *addr, size_t len, int prot)
{
	char *bad = NULL;

	if ((prot & PROT_WRITE) && (uintptr_t)addr % PAGE_SIZE == 0 &&
	    dipc_range_overlaps(addr, len))
		bad = readonly_in(addr, len);
	if (!bad)
		return next_mprotect(addr, len, prot);
	/* as the kernel: what lies before is changed */
	if (bad > (char *)addr &&
	    next_mprotect(addr, (size_t)(bad - (char *)addr), prot))
		return -1;
	return (int)dipc_posix_ret(-EACCES);
}

DIPC_EXPORT int pkey_mprotect(void *addr, size_t len, int prot, int pkey)
{
	char *bad = NULL;

	if ((prot & PROT_WRITE) && (uintptr_t)addr % PAGE_SIZE == 0 &&
	    dipc_range_overlaps(addr, len))
		bad = readonly_in(addr, len);
	if (!bad)
		return next_pkey_mprotect(addr, len, prot, pkey);
	if (bad > (char *)addr &&
	    next_pkey_mprotect(addr, (size_t)(bad - (char *)addr), prot, pkey))
		return -1;
	return (int)dipc_posix_ret(-EACCES);
}

/* ---- advice --------------------------------------------------------------- */

/*
 * MADV_REMOVE would take pages from this node's cache alone. Zeros are what it
 * leaves in a kernel's segment, for everybody; so they are written. The kernel
 * writes, as for a debugger, so that a page we may not write is an error.
 */
static int range_zero(char *addr, size_t len)
{
	static const char zeros[16 * PAGE_SIZE];
	struct iovec from = {.iov_base = (void *)(uintptr_t)zeros};
	struct iovec to;
	uintptr_t pid = (uintptr_t)dipc_sys3(SYS_getpid, 0, 0, 0);
	unsigned tries = 0;
	long n;

	for (; len; len -= (size_t)n, addr += n) {
		from.iov_len = len < sizeof(zeros) ? len : sizeof(zeros);
		to.iov_base = addr;
		to.iov_len = from.iov_len;
		n = dipc_sys6(SYS_process_vm_writev, pid, (uintptr_t)&from, 1,
			      (uintptr_t)&to, 1, 0);
		if (n == -EFAULT && ++tries < ZERO_TRIES &&
		    dipc_fault_retry(addr, true)) {
			n = 0; /* absent, and here now */
			continue;
		}
		if (n == -EFAULT || n == 0)
			return -EACCES;
		tries = 0;
		if (n < 0)
			return -EOPNOTSUPP; /* e.g. not let by a filter */
	}
	return 0;
}

static int mapping_remove(char *addr, size_t len)
{
	char *end = addr + len;
	struct dipc_range r;
	size_t part;
	int ret;

	while (addr < end) {
		if (dipc_range_next(addr, &r) || r.start >= end)
			return next_madvise(addr, (size_t)(end - addr),
					    MADV_REMOVE);
		if (r.start > addr) {
			part = (size_t)(r.start - addr);
			if (next_madvise(addr, part, MADV_REMOVE))
				return -1;
			addr = r.start;
		}
		part = (size_t)(r.start + r.len - addr);
		if (part > (size_t)(end - addr))
			part = (size_t)(end - addr);
		ret = r.is_readonly ? -EACCES : range_zero(addr, part);
		if (ret)
			return (int)dipc_posix_ret(ret);
		addr += part;
	}
	return 0;
}

/* First what dipcd can do at once; the kernel then meets pages that are here. */
static int mapping_populate(char *addr, size_t len, int advice)
{
	const struct dipc_hint hint = {
		.call = DIPC_CALL_PREFETCH,
		.flags = advice == MADV_POPULATE_WRITE
				 ? DIPC_LOCAL_PREFETCH_WRITE
				 : 0,
	};

	/* what it could not do the kernel finds out for itself */
	(void)dipc_hint_ask(&hint, addr, addr + round_up(len));
	return next_madvise(addr, len, advice);
}

/*
 * The kernel sees whether it is good advice; MADV_WILLNEED does not wait for
 * what it begins, as there. Nothing that goes wrong is an error of advice.
 */
static int mapping_advise(char *addr, size_t len, int advice)
{
	const struct dipc_hint hint = {
		.call = advice == MADV_WILLNEED ? DIPC_CALL_PREFETCH
						: DIPC_CALL_RELEASE,
		.flags = DIPC_LOCAL_PREFETCH_START,
	};

	if (next_madvise(addr, len, advice))
		return -1;
	(void)dipc_hint_ask(&hint, addr, addr + round_up(len));
	return 0;
}

DIPC_EXPORT int madvise(void *addr, size_t len, int advice)
{
	if (!dipc_range_overlaps(addr, len) || (uintptr_t)addr % PAGE_SIZE)
		return next_madvise(addr, len, advice);
	switch (advice) {
	case MADV_REMOVE:
		return mapping_remove(addr, round_up(len));
	case MADV_WILLNEED:
	case MADV_DONTNEED:
		return mapping_advise(addr, len, advice);
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return mapping_populate(addr, len, advice);
	case MADV_HUGEPAGE:
		return 0; /* a wish; pages travel one by one */
	case MADV_COLLAPSE:
		return (int)dipc_posix_ret(-EINVAL);
	default:
		return next_madvise(addr, len, advice);
	}
}
