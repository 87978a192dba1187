/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shmat and shmdt. An attachment is mapped PROT_NONE, put under dipcd's care,
 * and only then opened up: nothing, not even mlockall or a fork in between, can
 * touch a page before its faults are served.
 *
 * Here the kernel is called directly: libc's mmap and its like are ours.
 */
#include "runtime/client/client.h"

#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>

#include "runtime/client/maps.h"
#include "runtime/client/range.h"
#include "runtime/base/sys.h"

#define PAGE_SIZE 4096u /* and SHMLBA */

static size_t round_up(uint64_t size)
{
	return (size + PAGE_SIZE - 1) & ~(size_t)(PAGE_SIZE - 1);
}

static void unmap(const char *addr, size_t len)
{
	/* dipcd learns of it from the kernel, as of any other munmap */
	dipc_sys_munmap((void *)(uintptr_t)addr, len);
}

/* ---- attaching ---------------------------------------------------------- */

struct place {
	uintptr_t addr;
	bool is_fixed; /* else anywhere */
};

/* Linux's rules for the address, in its order. */
static int attach_place(const void *wanted, int flags, struct place *place_out)
{
	struct place place = {.addr = (uintptr_t)wanted, .is_fixed = wanted};

	if (!wanted && (flags & SHM_REMAP))
		return -EINVAL;
	if (place.addr % PAGE_SIZE) {
		if (!(flags & SHM_RND))
			return -EINVAL;
		place.addr -= place.addr % PAGE_SIZE;
		if (place.addr == 0 && (flags & SHM_REMAP))
			return -EINVAL;
	}
	*place_out = place;
	return 0;
}

static int attach_map(const struct place *place, size_t len, int fd, int flags,
		      char **addr_out)
{
	int how = MAP_NORESERVE;
	void *map;
	int ret;

	how |= (flags & SHM_RDONLY) ? MAP_PRIVATE : MAP_SHARED;
	if (place->is_fixed && !(flags & SHM_REMAP)) {
		if (place->addr + len < place->addr)
			return -EINVAL;
		/* rounded down to 0, Linux replaces what is there */
		how |= place->addr ? MAP_FIXED_NOREPLACE : MAP_FIXED;
	} else if (place->is_fixed) {
		how |= MAP_FIXED;
	}
	map = dipc_sys_mmap((void *)place->addr, len, PROT_NONE, how, fd, 0);
	ret = dipc_sys_mmap_error(map);
	if (ret)
		return ret == -EEXIST ? -EINVAL : ret;
	dipc_sys_madvise(map, len, MADV_NOHUGEPAGE);
	*addr_out = map;
	return 0;
}

static int attach_protection(int flags)
{
	int prot = PROT_READ;

	if (!(flags & SHM_RDONLY))
		prot |= PROT_WRITE;
	if (flags & SHM_EXEC)
		prot |= PROT_EXEC;
	return prot;
}

/* RANGE is mapped: let dipcd serve it, then open it. With the lock. */
static int attach_open(const struct dipc_range *range, int flags)
{
	struct dipc_sock_msg q = {.type = DIPC_SOCK_MAPPED,
				  .id = range->id,
				  .flags = flags,
				  .addr = (uintptr_t)range->start,
				  .size = range->len};
	struct dipc_sock_msg a;
	int ret;

	ret = dipc_conn_ask(&q, -1, &a, NULL);
	if (ret == 0)
		ret = a.status;
	if (ret)
		return ret;
	return dipc_sys_mprotect(range->start, range->len,
				 attach_protection(flags));
}

/* With the lock. FD is what ATTACH answered, for a segment of SIZE bytes. */
static int attach_fd(int id, const struct place *place, int flags, int fd,
		     uint64_t size, char **addr_out)
{
	static uint32_t last_attach; /* guarded by the lock */
	struct dipc_range range = {.id = id,
				   .len = round_up(size),
				   .segment_size = size,
				   .attach = ++last_attach,
				   .is_readonly = flags & SHM_RDONLY};
	struct stat st;
	int ret;

	ret = dipc_sys_fstat(fd, &st);
	if (ret)
		return ret;
	range.dev = st.st_dev;
	range.ino = st.st_ino;
	ret = attach_map(place, range.len, fd, flags, &range.start);
	if (ret)
		return ret;
	ret = dipc_range_add(&range);
	if (ret)
		goto err_map;
	ret = attach_open(&range, flags);
	if (ret)
		goto err_range;
	*addr_out = range.start;
	return 0;

err_range:
	dipc_range_remove(range.start, range.len);
err_map:
	unmap(range.start, range.len);
	return ret;
}

/* With the lock. */
static int attach(int id, const void *wanted, int flags, char **addr_out)
{
	struct dipc_sock_msg q = {
		.type = DIPC_SOCK_ATTACH, .id = id, .flags = flags};
	struct dipc_sock_msg a;
	struct place place;
	int fd, ret;

	ret = attach_place(wanted, flags, &place);
	if (ret)
		return ret;
	ret = dipc_conn_need_faults();
	if (ret)
		return ret;
	ret = dipc_conn_ask(&q, -1, &a, &fd);
	if (ret)
		return ret;
	ret = a.status;
	if (ret == 0 && fd < 0)
		ret = -EPROTO;
	if (ret == 0) {
		ret = attach_fd(id, &place, flags, fd, a.size, addr_out);
		if (ret) { /* it was counted */
			q.type = DIPC_SOCK_NOT_MAPPED;
			(void)dipc_conn_ask(&q, -1, &a, NULL);
		}
	}
	if (fd >= 0)
		dipc_sys_close(fd);
	return ret;
}

DIPC_EXPORT void *shmat(int id, const void *wanted, int flags)
{
	int ret = dipc_id_is_ours(DIPC_KIND_SHM, id);
	int saved = errno;
	char *addr;

	if (ret == 0)
		return dipc_real()->shmat(id, wanted, flags);
	if (ret > 0) {
		dipc_conn_lock();
		ret = attach(id, wanted, flags, &addr);
		dipc_conn_unlock();
	}
	if (ret)
		return (void *)dipc_posix_ret(ret);
	errno = saved;
	return addr;
}

/* ---- detaching ---------------------------------------------------------- */

/*
 * As Linux: the attachment is what is mapped so that its first page would be
 * at ADDR, whether that page still is or not; of several the one that is found
 * first from ADDR on; and all of its pieces go.
 */
struct detach {
	const char *addr;
	uint32_t attach;
	bool is_found;
	bool is_kernels; /* a segment of the kernel's comes first */
};

static bool detach_fits(const struct detach *d, const struct dipc_range *r)
{
	return (uintptr_t)r->start - r->offset == (uintptr_t)d->addr &&
	       (!d->is_found || r->attach == d->attach);
}

/* What lies in [START, END) of pieces that belong to it. With the lock. */
static void detach_pieces(struct detach *d, uintptr_t start, uintptr_t end,
			  const struct dipc_maps_line *line)
{
	struct dipc_range r;

	while (start < end && dipc_range_next((void *)start, &r) == 0) {
		uintptr_t from = (uintptr_t)r.start;
		uintptr_t to = from + r.len;

		start = to;
		if (from >= end)
			break;
		if (!detach_fits(d, &r))
			continue;
		if (line && (r.dev != line->dev || r.ino != line->ino ||
			     from - r.offset != line->start - line->offset))
			continue; /* replaced, unseen */
		if (line && from < line->start)
			from = line->start;
		if (line && to > line->end)
			to = line->end;
		d->is_found = true;
		d->attach = r.attach;
		unmap((char *)from, to - from);
		dipc_range_remove((char *)from, to - from);
	}
}

/* The ranges that were not seen in /proc/self/maps are stale. */
static void detach_forget(const struct detach *d)
{
	const char *at = d->addr;
	struct dipc_range r;

	while (dipc_range_next(at, &r) == 0) {
		at = r.start + r.len;
		if (detach_fits(d, &r))
			dipc_range_remove(r.start, r.len);
	}
}

/* With the lock. */
static void detach(struct detach *d)
{
	struct dipc_maps_line line;
	struct dipc_maps maps;

	if (dipc_maps_open(&maps)) {
		/* no /proc: what we remember is all there is */
		detach_pieces(d, (uintptr_t)d->addr, UINTPTR_MAX, NULL);
		return;
	}
	while (!d->is_kernels && dipc_maps_next(&maps, &line) > 0) {
		if (line.end <= (uintptr_t)d->addr)
			continue;
		if (line.is_sysv)
			d->is_kernels =
				!d->is_found &&
				line.start - line.offset == (uintptr_t)d->addr;
		else
			detach_pieces(d, line.start, line.end, &line);
	}
	dipc_maps_close(&maps);
	if (d->is_found)
		detach_forget(d);
}

void dipc_detach_settle(void)
{
	struct dipc_slot_call c = {.call = DIPC_CALL_SHM_SETTLE};

	/* without dipcd there is nothing left that could be counted */
	if (dipc_conn_use() > 0)
		(void)dipc_slot_run(&c);
}

DIPC_EXPORT int shmdt(const void *addr)
{
	struct detach d = {.addr = addr};

	if (dipc_range_any() && (uintptr_t)addr % PAGE_SIZE == 0) {
		dipc_conn_lock();
		detach(&d);
		dipc_conn_unlock();
	}
	if (d.is_found)
		dipc_detach_settle();
	return d.is_found ? 0 : dipc_real()->shmdt(addr);
}
