/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pieces of attachments, and the ioctls on them. An ioctl fails with EAGAIN
 * while an event of that process waits: the event is read and handled, and the
 * ioctl done again on what the mapping has become.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/base/log.h"
#include "runtime/node/space_private.h"
#include "runtime/node/uffd.h"

/* Faults put off while an ioctl is being retried. */
#define PUT_OFF_MAX 64u
/* An event's process goes on within this time, else something is wrong. */
#define RETRY_NS (5 * DIPC_SEC)

#define PAGE_MASK (DIPC_PAGE_SIZE - 1ull)

static uint64_t spaces_now(struct dipc_spaces *spaces)
{
	return dipc_sched_now(dipc_loop_sched(spaces->loop));
}

/* ---- ioctls that mind events -------------------------------------------- */

struct put_off {
	uint64_t addr[PUT_OFF_MAX];
	unsigned nr;
};

/* Read one event and handle it; faults are put off. False: none waits. */
static bool space_drain_one(struct dipc_space *space, struct put_off *off)
{
	struct uffd_msg msg;
	uint64_t addr;

	if (read(space->watch.fd, &msg, sizeof(msg)) != sizeof(msg))
		return false;
	if (msg.event != UFFD_EVENT_PAGEFAULT) {
		dipc_space_event(space, &msg);
		return true;
	}
	addr = msg.arg.pagefault.address & ~PAGE_MASK;
	if (off->nr < PUT_OFF_MAX)
		off->addr[off->nr++] = addr;
	else
		dipc_uffd_wake(space->watch.fd, addr, DIPC_PAGE_SIZE);
	return true;
}

/*
 * An ioctl met EAGAIN: an event waits, or its process has not gone on yet.
 * 0: try again; -ETIMEDOUT.
 */
static int space_after_eagain(struct dipc_space *space, uint64_t *since)
{
	struct put_off off = {.nr = 0};
	uint64_t now = spaces_now(space->spaces);
	unsigned i;

	space->spaces->counters.nr_retries++;
	if (!*since)
		*since = now;
	if (now - *since > RETRY_NS) {
		dipc_error("process %u does not go on after an event",
			   space->pid);
		return -ETIMEDOUT;
	}
	if (!space_drain_one(space, &off))
		sched_yield();
	else
		while (space_drain_one(space, &off))
			;
	/* the kernel repeats a fault that was woken with nothing done */
	for (i = 0; i < off.nr; i++)
		dipc_uffd_wake(space->watch.fd, off.addr[i], DIPC_PAGE_SIZE);
	return 0;
}

/* The part of NR pages from FIRST on that MAP shows. False: none. */
static bool map_clip(const struct map *map, uint64_t *first, uint64_t *nr)
{
	uint64_t end = *first + *nr;

	if (map->is_gone)
		return false;
	if (*first < map->first)
		*first = map->first;
	if (end > map->first + map->nr)
		end = map->first + map->nr;
	if (*first >= end)
		return false;
	*nr = end - *first;
	return true;
}

static uint64_t map_addr(const struct map *map, uint64_t page)
{
	return map->addr + (page - map->first) * DIPC_PAGE_SIZE;
}

bool dipc_map_has(const struct map *map, uint64_t page)
{
	uint64_t nr = 1;

	return map_clip(map, &page, &nr);
}

/* One ioctl; -ENOENT: the range is not one mapping of the kernel's. */
static int map_protect_once(struct map *map, uint64_t first, uint64_t nr,
			    bool on)
{
	struct dipc_space *space = map->space;
	uint64_t since = 0;
	uint64_t addr, len;
	int ret;

	/* clip anew each time: an event may have changed the mapping */
	while (map_clip(map, &first, &nr)) {
		addr = map_addr(map, first);
		len = nr * DIPC_PAGE_SIZE;
		ret = on ? dipc_uffd_protect(space->watch.fd, addr, len)
			 : dipc_uffd_unprotect(space->watch.fd, addr, len);
		if (ret == -ESRCH) {
			dipc_space_set_dead(space);
			return 0;
		}
		if (ret != -EAGAIN)
			return ret;
		ret = space_after_eagain(space, &since);
		if (ret)
			return ret;
	}
	return 0;
}

/* What the kernel does at these pages for threads that wait in it. */
static void map_end_waits(struct map *map, uint64_t first, uint64_t nr,
			  int status)
{
	if (map->space->is_signal && map_clip(map, &first, &nr))
		dipc_space_end_waits(map->space, map_addr(map, first),
				     nr * DIPC_PAGE_SIZE, status);
}

int dipc_map_protect(struct map *map, uint64_t first, uint64_t nr, bool on)
{
	uint64_t i;
	int ret;

	if (map->attach->is_readonly)
		return 0;
	ret = map_protect_once(map, first, nr, on);
	if (!on)
		map_end_waits(map, first, nr, 0);
	if (ret != -ENOENT)
		return ret;
	/* the program cut it in pieces: what is not there needs nothing */
	for (i = 0; i < nr; i++) {
		ret = map_protect_once(map, first + i, 1, on);
		if (ret && ret != -ENOENT)
			return ret;
	}
	return 0;
}

void dipc_map_wake(struct map *map, uint64_t first, uint64_t nr)
{
	if (map->space->is_signal)
		map_end_waits(map, first, nr, 0);
	else if (map_clip(map, &first, &nr))
		dipc_uffd_wake(map->space->watch.fd, map_addr(map, first),
			       nr * DIPC_PAGE_SIZE);
}

int dipc_map_copy(struct map *map, uint64_t first, unsigned nr,
		  const void *data, bool wp)
{
	struct dipc_space *space = map->space;
	uint64_t at = first, since = 0, n = nr;
	int ret;

	while (map_clip(map, &at, &n) && at == first) {
		ret = dipc_uffd_copy(space->watch.fd, map_addr(map, first),
				     n * DIPC_PAGE_SIZE, data, wp);
		if (ret == -ESRCH) {
			dipc_space_set_dead(space);
			return -ENOENT;
		}
		if (ret >= 0) {
			n = (uint64_t)ret / DIPC_PAGE_SIZE;
			map_end_waits(map, first, n, 0);
			return (int)n;
		}
		if (ret != -EAGAIN)
			return ret;
		ret = space_after_eagain(space, &since);
		if (ret)
			return ret;
	}
	return -ENOENT;
}

int dipc_map_poison(struct map *map, uint64_t page)
{
	struct dipc_space *space = map->space;
	uint64_t since = 0;
	int ret;

	if (space->is_signal) { /* it is told, each time that it asks */
		map_end_waits(map, page, 1, -EFAULT);
		return 0;
	}
	if (!space->can_poison)
		return -EOPNOTSUPP;
	/* poison replaces nothing, not even a write-protect marker */
	ret = dipc_map_protect(map, page, 1, false);
	while (ret == 0 && dipc_map_has(map, page)) {
		ret = dipc_uffd_poison(space->watch.fd, map_addr(map, page),
				       DIPC_PAGE_SIZE);
		if (ret == -ESRCH)
			dipc_space_set_dead(space);
		if (ret == 0 || ret == -ESRCH || ret == -ENOENT ||
		    ret == -EEXIST)
			break;
		if (ret == -EAGAIN)
			ret = space_after_eagain(space, &since);
	}
	dipc_map_wake(map, page, 1);
	return ret == -ESRCH || ret == -ENOENT || ret == -EEXIST ? 0 : ret;
}

/* ---- mappings ----------------------------------------------------------- */

struct map *dipc_map_new(struct dipc_space *space, struct attach *attach,
			 struct uffd_pager *pager)
{
	struct map *map = calloc(1, sizeof(*map));

	if (!map)
		return NULL;
	map->space = space;
	map->attach = attach;
	map->pager = pager;
	attach->nr_maps++;
	/* at the tail: see "Lists under iteration" */
	dipc_list_add_tail(&space->maps, &map->in_space);
	dipc_list_add_tail(&pager->maps, &map->in_pager);
	return map;
}

/* A new piece of MAP's attachment. NULL: no memory, all here is lost. */
struct map *dipc_map_clone(struct map *map, uint64_t addr, uint64_t first,
			   uint64_t nr)
{
	struct map *copy = dipc_map_new(map->space, map->attach, map->pager);

	if (!copy) {
		dipc_error("no memory to follow a mapping of process %u",
			   map->space->pid);
		map->pager->base.ops->kill(&map->pager->base);
		return NULL;
	}
	copy->addr = addr;
	copy->first = first;
	copy->nr = nr;
	return copy;
}
