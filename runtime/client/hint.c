/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dipc_prefetch and dipc_release. One call to dipcd for each piece of an
 * attachment in the range; how large it is does not matter here: dipcd does it
 * in portions and looks between them whether we still want it.
 */
#include "runtime/client/hint.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include "dipc/dipc.h"
#include "runtime/base/sys.h"
#include "runtime/client/client.h"
#include "runtime/client/fault.h"
#include "runtime/client/range.h"

#define PAGE_SIZE 4096u

static_assert((int)DIPC_PREFETCH_WRITE == (int)DIPC_LOCAL_PREFETCH_WRITE,
	      "dipc.h");

/* The part of R that lies in [START, END). */
static void range_clip(struct dipc_range *r, char *start, char *end)
{
	if (r->start < start) {
		r->offset += (uint64_t)(start - r->start);
		r->len -= (size_t)(start - r->start);
		r->start = start;
	}
	if (r->len > (size_t)(end - r->start))
		r->len = (size_t)(end - r->start);
}

/*
 * To let a process write is its own fault's doing. With DIPC_FAULTS=signal a
 * system call cannot fault, so it is done here; no message is sent for it.
 */
static int piece_may_write(const struct dipc_range *r)
{
	size_t off;
	int ret = 0;

	for (off = 0; off < r->len && ret == 0; off += PAGE_SIZE)
		ret = dipc_fault_ask(r->start + off, true);
	return ret == -EFAULT ? -EIO : ret;
}

static int hint_piece(const struct dipc_hint *hint, const struct dipc_range *r)
{
	struct dipc_slot_call call = {.call = hint->call,
				      .is_interruptible = true,
				      .is_cancel_point = hint->is_cancel_point};
	int64_t ret;

	call.args.pages.id = r->id;
	call.args.pages.flags = hint->flags;
	call.args.pages.first = r->offset / PAGE_SIZE;
	call.args.pages.nr = r->len / PAGE_SIZE;
	do /* what was done before a handler ran stays done */
		ret = dipc_conn_use() > 0 ? dipc_slot_run(&call) : -ENOLINK;
	while (ret == -EINTR);
	if (ret == 0 && hint->call == DIPC_CALL_PREFETCH &&
	    (hint->flags & DIPC_LOCAL_PREFETCH_WRITE) &&
	    dipc_fault_is_installed())
		ret = piece_may_write(r);
	return (int)ret;
}

int dipc_hint_ask(const struct dipc_hint *hint, char *start, char *end)
{
	int saved = errno, ret = 0, err;
	struct dipc_range r;

	while (start < end && dipc_range_next(start, &r) == 0 &&
	       r.start < end) {
		range_clip(&r, start, end);
		start = r.start + r.len;
		err = hint_piece(hint, &r);
		if (err && !ret)
			ret = err;
	}
	errno = saved;
	return ret;
}

/* ---- the public calls ---------------------------------------------------- */

struct span {
	char *start, *end; /* whole pages */
};

static int span_of(const void *addr, size_t len, struct span *span_out)
{
	uintptr_t start = (uintptr_t)addr & ~(uintptr_t)(PAGE_SIZE - 1);
	uintptr_t end = (uintptr_t)addr + len;

	if (end < (uintptr_t)addr || end > UINTPTR_MAX - PAGE_SIZE)
		return -EINVAL;
	end = (end + PAGE_SIZE - 1) & ~(uintptr_t)(PAGE_SIZE - 1);
	if (!len)
		end = start; /* no byte, no page */
	*span_out = (struct span){.start = (char *)start, .end = (char *)end};
	return 0;
}

/* Before anything is done: may all of it be written? */
static bool span_has_readonly(const struct span *span)
{
	char *at = span->start;
	struct dipc_range r;

	while (at < span->end && dipc_range_next(at, &r) == 0 &&
	       r.start < span->end) {
		if (r.is_readonly)
			return true;
		at = r.start + r.len;
	}
	return false;
}

/* Memory that is not of a distributed segment: as the kernel brings it. */
static int populate_others(const struct span *span, int advice)
{
	char *at = span->start;
	struct dipc_range r;
	int ret = 0;

	while (at < span->end && ret == 0) {
		if (dipc_range_next(at, &r) || r.start >= span->end) {
			r.start = span->end;
			r.len = 0;
		}
		if (r.start > at)
			ret = dipc_sys_madvise(at, (size_t)(r.start - at),
					       advice);
		at = r.start + r.len;
	}
	return ret;
}

DIPC_EXPORT int dipc_prefetch(const void *addr, size_t len, int flags)
{
	bool is_write = flags & DIPC_PREFETCH_WRITE;
	struct dipc_hint hint = {.call = DIPC_CALL_PREFETCH,
				 .flags = (uint32_t)flags,
				 .is_cancel_point = true};
	struct span span;
	int ret;

	ret = flags & ~DIPC_PREFETCH_WRITE ? -EINVAL
					   : span_of(addr, len, &span);
	if (ret == 0 && is_write && span_has_readonly(&span))
		ret = -EACCES;
	if (ret == 0)
		ret = populate_others(&span, is_write ? MADV_POPULATE_WRITE
						      : MADV_POPULATE_READ);
	if (ret == 0)
		ret = dipc_hint_ask(&hint, span.start, span.end);
	return (int)dipc_posix_ret(ret);
}

DIPC_EXPORT int dipc_release(void *addr, size_t len)
{
	struct dipc_hint hint = {.call = DIPC_CALL_RELEASE,
				 .is_cancel_point = true};
	struct span span;
	int ret = span_of(addr, len, &span);

	if (ret == 0)
		ret = dipc_hint_ask(&hint, span.start, span.end);
	return (int)dipc_posix_ret(ret);
}
