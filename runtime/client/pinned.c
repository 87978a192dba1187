/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device that writes to memory of the program writes past write protection,
 * and nobody hears of it: the page may have gone to another node meanwhile, and
 * what was read is lost. Where libc or a library is asked for such input into
 * an attachment it goes through memory of ours (read and its like, of a file
 * opened with O_DIRECT) or is refused with EOPNOTSUPP. For other memory and
 * other files there is no more than a look at the bounds of the ranges.
 */
#include "runtime/client/client.h"

#include <aio.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <sys/uio.h>
#include <unistd.h>

#include "runtime/base/sys.h"
#include "runtime/client/away.h"
#include "runtime/client/copy.h"
#include "runtime/client/next.h"
#include "runtime/client/range.h"

#define CHUNK    (1u << 20)
#define IOV_MOST 1024 /* the kernel's limit */

/* Does reading FD write to memory by itself? */
static bool is_direct(int fd)
{
	int flags = dipc_sys_fcntl(fd, F_GETFL, 0);
	struct stat st;

	/* of a pipe O_DIRECT means something else */
	return flags >= 0 && (flags & O_DIRECT) &&
	       dipc_sys_fstat(fd, &st) == 0 && !S_ISFIFO(st.st_mode);
}

/* ---- through memory of ours ----------------------------------------------- */

struct input {
	int fd;
	off_t offset; /* -1: at the file's position */
	int flags;    /* preadv2's */
};

/* The kernel's result: no libc in between, so no cancellation either. */
static ssize_t input_read(const struct input *in, void *buf, size_t len,
			  size_t done)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	off_t offset = in->offset < 0 ? -1 : in->offset + (off_t)done;

	if (in->flags)
		return dipc_sys6(SYS_preadv2, (uintptr_t)in->fd,
				 (uintptr_t)&iov, 1, (uintptr_t)offset, 0,
				 (uintptr_t)in->flags);
	if (offset < 0)
		return dipc_sys_read(in->fd, buf, len);
	return dipc_sys4(SYS_pread64, (uintptr_t)in->fd, (uintptr_t)buf, len,
			 (uintptr_t)offset);
}

/* N bytes of BUF to where the bytes from DONE on of IOV belong. */
static int scatter(const struct iovec *iov, int nr, size_t done,
		   const char *buf, size_t n)
{
	struct iovec part;
	size_t len;
	int i;

	for (i = 0; i < nr && n; i++) {
		if (dipc_copy_in(&part, &iov[i], sizeof(part)))
			return -EFAULT;
		if (done >= part.iov_len) {
			done -= part.iov_len;
			continue;
		}
		len = part.iov_len - done;
		if (len > n)
			len = n;
		if (dipc_copy_out((char *)part.iov_base + done, buf, len))
			return -EFAULT;
		done = 0;
		buf += len;
		n -= len;
	}
	return 0;
}

static ssize_t bounce(const struct input *in, const struct iovec *iov, int nr,
		      size_t total)
{
	size_t room = total < CHUNK ? total : CHUNK;
	ssize_t n = 0, ret = 0;
	size_t len, done = 0;
	char *buf;

	buf = dipc_away_mmap(room, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (dipc_sys_mmap_error(buf))
		return dipc_posix_ret(-ENOMEM);
	while (done < total) {
		len = total - done < room ? total - done : room;
		n = input_read(in, buf, len, done);
		if (n > 0 && scatter(iov, nr, done, buf, (size_t)n))
			n = -EFAULT;
		if (n <= 0)
			break;
		done += (size_t)n;
		if ((size_t)n < len)
			break;
	}
	dipc_sys_munmap(buf, room);
	ret = done ? (ssize_t)done : n;
	return dipc_posix_ret(ret);
}

static ssize_t bounce_one(int fd, void *buf, size_t len, off_t offset)
{
	struct input in = {.fd = fd, .offset = offset};
	struct iovec iov = {.iov_base = buf, .iov_len = len};

	return bounce(&in, &iov, 1, len);
}

/* ---- read ------------------------------------------------------------------ */

static bool must_bounce(int fd, const void *buf, size_t len)
{
	return dipc_range_overlaps(buf, len) && is_direct(fd);
}

DIPC_EXPORT ssize_t read(int fd, void *buf, size_t len)
{
	static struct dipc_next next = {.name = "read"};
	__typeof__(&read) fn = DIPC_NEXT(&next, __typeof__(&read));

	if (must_bounce(fd, buf, len))
		return bounce_one(fd, buf, len, -1);
	return fn ? fn(fd, buf, len)
		  : dipc_posix_ret(dipc_sys_read(fd, buf, len));
}

static ssize_t pinned_pread(struct dipc_next *next, int fd, void *buf,
			    size_t len, off_t offset)
{
	__typeof__(&pread) fn = DIPC_NEXT(next, __typeof__(&pread));

	if (offset >= 0 && must_bounce(fd, buf, len))
		return bounce_one(fd, buf, len, offset);
	return fn ? fn(fd, buf, len, offset)
		  : dipc_posix_ret(dipc_sys4(SYS_pread64, (uintptr_t)fd,
					     (uintptr_t)buf, len,
					     (uintptr_t)offset));
}

DIPC_EXPORT ssize_t pread(int fd, void *buf, size_t len, off_t offset)
{
	static struct dipc_next next = {.name = "pread"};

	return pinned_pread(&next, fd, buf, len, offset);
}

DIPC_EXPORT ssize_t pread64(int fd, void *buf, size_t len, off64_t offset)
{
	static struct dipc_next next = {.name = "pread64"};

	return pinned_pread(&next, fd, buf, len, offset);
}

/* What programs built with _FORTIFY_SOURCE call; libc compares the lengths. */
DIPC_EXPORT ssize_t __read_chk(int fd, void *buf, size_t len, size_t room);
DIPC_EXPORT ssize_t __pread_chk(int fd, void *buf, size_t len, off_t offset,
				size_t room);
DIPC_EXPORT ssize_t __pread64_chk(int fd, void *buf, size_t len, off64_t offset,
				  size_t room);

DIPC_EXPORT ssize_t __read_chk(int fd, void *buf, size_t len, size_t room)
{
	static struct dipc_next next = {.name = "__read_chk"};
	__typeof__(&__read_chk) fn = DIPC_NEXT(&next, __typeof__(&__read_chk));

	if (len > room ? fn != NULL : fn && !must_bounce(fd, buf, len))
		return fn(fd, buf, len, room);
	return read(fd, buf, len);
}

DIPC_EXPORT ssize_t __pread_chk(int fd, void *buf, size_t len, off_t offset,
				size_t room)
{
	static struct dipc_next next = {.name = "__pread_chk"};
	__typeof__(&__pread_chk) fn =
		DIPC_NEXT(&next, __typeof__(&__pread_chk));

	if (len > room ? fn != NULL : fn && !must_bounce(fd, buf, len))
		return fn(fd, buf, len, offset, room);
	return pread(fd, buf, len, offset);
}

DIPC_EXPORT ssize_t __pread64_chk(int fd, void *buf, size_t len, off64_t offset,
				  size_t room)
{
	return __pread_chk(fd, buf, len, offset, room);
}

/* ---- readv ----------------------------------------------------------------- */

/*
 * Must IOV go through memory of ours? *TOTAL_OUT: its bytes. What is wrong with
 * it the kernel shall say.
 */
static bool must_bounce_iov(int fd, const struct iovec *iov, int nr,
			    size_t *total_out)
{
	bool is_ours = false;
	struct iovec part;
	size_t total = 0;
	int i;

	if (!dipc_range_any() || nr <= 0 || nr > IOV_MOST)
		return false;
	for (i = 0; i < nr; i++) {
		if (dipc_copy_in(&part, &iov[i], sizeof(part)) ||
		    part.iov_len > (size_t)INT64_MAX - total)
			return false;
		total += part.iov_len;
		is_ours |= dipc_range_overlaps(part.iov_base, part.iov_len);
	}
	*total_out = total;
	return is_ours && is_direct(fd);
}

DIPC_EXPORT ssize_t readv(int fd, const struct iovec *iov, int nr)
{
	static struct dipc_next next = {.name = "readv"};
	__typeof__(&readv) fn = DIPC_NEXT(&next, __typeof__(&readv));
	struct input in = {.fd = fd, .offset = -1};
	size_t total;

	if (must_bounce_iov(fd, iov, nr, &total))
		return bounce(&in, iov, nr, total);
	return fn ? fn(fd, iov, nr)
		  : dipc_posix_ret(dipc_sys3(SYS_readv, (uintptr_t)fd,
					     (uintptr_t)iov, (uintptr_t)nr));
}

static ssize_t pinned_preadv(struct dipc_next *next, int fd,
			     const struct iovec *iov, int nr, off_t offset)
{
	__typeof__(&preadv) fn = DIPC_NEXT(next, __typeof__(&preadv));
	struct input in = {.fd = fd, .offset = offset};
	size_t total;

	if (offset >= 0 && must_bounce_iov(fd, iov, nr, &total))
		return bounce(&in, iov, nr, total);
	return fn ? fn(fd, iov, nr, offset)
		  : dipc_posix_ret(dipc_sys6(SYS_preadv, (uintptr_t)fd,
					     (uintptr_t)iov, (uintptr_t)nr,
					     (uintptr_t)offset, 0, 0));
}

DIPC_EXPORT ssize_t preadv(int fd, const struct iovec *iov, int nr,
			   off_t offset)
{
	static struct dipc_next next = {.name = "preadv"};

	return pinned_preadv(&next, fd, iov, nr, offset);
}

DIPC_EXPORT ssize_t preadv64(int fd, const struct iovec *iov, int nr,
			     off64_t offset)
{
	static struct dipc_next next = {.name = "preadv64"};

	return pinned_preadv(&next, fd, iov, nr, offset);
}

static ssize_t pinned_preadv2(struct dipc_next *next, int fd,
			      const struct iovec *iov, int nr, off_t offset,
			      int flags)
{
	__typeof__(&preadv2) fn = DIPC_NEXT(next, __typeof__(&preadv2));
	struct input in = {.fd = fd, .offset = offset, .flags = flags};
	size_t total;

	if (offset >= -1 && must_bounce_iov(fd, iov, nr, &total))
		return bounce(&in, iov, nr, total);
	return fn ? fn(fd, iov, nr, offset, flags)
		  : dipc_posix_ret(dipc_sys6(SYS_preadv2, (uintptr_t)fd,
					     (uintptr_t)iov, (uintptr_t)nr,
					     (uintptr_t)offset, 0,
					     (uintptr_t)flags));
}

DIPC_EXPORT ssize_t preadv2(int fd, const struct iovec *iov, int nr,
			    off_t offset, int flags)
{
	static struct dipc_next next = {.name = "preadv2"};

	return pinned_preadv2(&next, fd, iov, nr, offset, flags);
}

DIPC_EXPORT ssize_t preadv64v2(int fd, const struct iovec *iov, int nr,
			       off64_t offset, int flags)
{
	static struct dipc_next next = {.name = "preadv64v2"};

	return pinned_preadv2(&next, fd, iov, nr, offset, flags);
}

/* ---- POSIX AIO: threads of libc's that read -------------------------------- */

static bool aio_is_bad(int fd, const volatile void *buf, size_t len)
{
	return must_bounce(fd, (const void *)(uintptr_t)buf, len);
}

DIPC_EXPORT int aio_read(struct aiocb *cb)
{
	static struct dipc_next next = {.name = "aio_read",
					.library = "librt.so.1"};
	__typeof__(&aio_read) fn = DIPC_NEXT(&next, __typeof__(&aio_read));

	if (aio_is_bad(cb->aio_fildes, cb->aio_buf, cb->aio_nbytes))
		return (int)dipc_posix_ret(-EOPNOTSUPP);
	return fn ? fn(cb) : (int)dipc_posix_ret(-ENOSYS);
}

DIPC_EXPORT int aio_read64(struct aiocb64 *cb)
{
	static struct dipc_next next = {.name = "aio_read64",
					.library = "librt.so.1"};
	__typeof__(&aio_read64) fn = DIPC_NEXT(&next, __typeof__(&aio_read64));

	if (aio_is_bad(cb->aio_fildes, cb->aio_buf, cb->aio_nbytes))
		return (int)dipc_posix_ret(-EOPNOTSUPP);
	return fn ? fn(cb) : (int)dipc_posix_ret(-ENOSYS);
}

/* All or none: what lio_listio reports of single requests is in their aiocb. */
DIPC_EXPORT int lio_listio(int mode, struct aiocb *const list[], int nr,
			   struct sigevent *event)
{
	static struct dipc_next next = {.name = "lio_listio",
					.library = "librt.so.1"};
	__typeof__(&lio_listio) fn = DIPC_NEXT(&next, __typeof__(&lio_listio));
	int i;

	for (i = 0; dipc_range_any() && i < nr; i++)
		if (list[i] && list[i]->aio_lio_opcode == LIO_READ &&
		    aio_is_bad(list[i]->aio_fildes, list[i]->aio_buf,
			       list[i]->aio_nbytes))
			return (int)dipc_posix_ret(-EOPNOTSUPP);
	return fn ? fn(mode, list, nr, event) : (int)dipc_posix_ret(-ENOSYS);
}

DIPC_EXPORT int lio_listio64(int mode, struct aiocb64 *const list[], int nr,
			     struct sigevent *event)
{
	static struct dipc_next next = {.name = "lio_listio64",
					.library = "librt.so.1"};
	__typeof__(&lio_listio64) fn =
		DIPC_NEXT(&next, __typeof__(&lio_listio64));
	int i;

	for (i = 0; dipc_range_any() && i < nr; i++)
		if (list[i] && list[i]->aio_lio_opcode == LIO_READ &&
		    aio_is_bad(list[i]->aio_fildes, list[i]->aio_buf,
			       list[i]->aio_nbytes))
			return (int)dipc_posix_ret(-EOPNOTSUPP);
	return fn ? fn(mode, list, nr, event) : (int)dipc_posix_ret(-ENOSYS);
}

/* ---- libaio ---------------------------------------------------------------- */

static bool iocb_is_bad(const struct iocb *cb)
{
	size_t total;
	int fd = (int)cb->aio_fildes;

	switch (cb->aio_lio_opcode) {
	case IOCB_CMD_PREAD:
		return must_bounce(fd, (void *)(uintptr_t)cb->aio_buf,
				   cb->aio_nbytes);
	case IOCB_CMD_PREADV:
		return must_bounce_iov(fd, (void *)(uintptr_t)cb->aio_buf,
				       (int)cb->aio_nbytes, &total);
	default:
		return false;
	}
}

DIPC_EXPORT int io_submit(aio_context_t ctx, long nr, struct iocb **cbs);

/* Results are -errno here. Those before a bad one are submitted. */
DIPC_EXPORT int io_submit(aio_context_t ctx, long nr, struct iocb **cbs)
{
	static struct dipc_next next = {.name = "io_submit",
					.library = "libaio.so.1"};
	__typeof__(&io_submit) fn = DIPC_NEXT(&next, __typeof__(&io_submit));
	struct iocb *cb, copy;
	long i;

	for (i = 0; dipc_range_any() && i < nr; i++)
		if (dipc_copy_in(&cb, &cbs[i], sizeof(cb)) == 0 &&
		    dipc_copy_in(&copy, cb, sizeof(copy)) == 0 &&
		    iocb_is_bad(&copy)) {
			if (i == 0)
				return -EOPNOTSUPP;
			nr = i;
		}
	return fn ? fn(ctx, nr, cbs)
		  : (int)dipc_sys3(SYS_io_submit, ctx, (uintptr_t)nr,
				   (uintptr_t)cbs);
}
