/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes whose threads post their faults themselves (DIPC_FAULTS=signal):
 * the userfaultfd tells of events only, and what would wake a thread in the
 * kernel ends a wait here. docs/design/faults.md.
 *
 * The child of a fork is known by a tag, a random number in a page that is
 * wiped in children, so that nobody else can read it.
 */
#include <errno.h>
#include <sys/random.h>

#include "runtime/base/log.h"
#include "runtime/node/space_private.h"
#include "runtime/node/uffd.h"

#define PAGE_MASK (DIPC_PAGE_SIZE - 1ull)
/* An event of the child itself may wait when it is given its tag. */
#define TAG_TRIES 16u

/* ---- children ----------------------------------------------------------- */

void dipc_space_tag(struct dipc_space *child)
{
	uint64_t page[DIPC_PAGE_SIZE / 8] = {0};
	unsigned i;
	int ret = -EAGAIN;

	if (getrandom(page, 8, 0) == 8)
		for (i = 0; ret == -EAGAIN && i < TAG_TRIES; i++)
			ret = dipc_uffd_copy(child->watch.fd, child->name_page,
					     DIPC_PAGE_SIZE, page, false);
	/* without one its faults end in SIGBUS: loud enough */
	if (ret >= 0)
		child->tag = page[0];
	else if (ret != -ESRCH)
		dipc_error("a child of a fork got no tag: error %d", -ret);
}

int dipc_spaces_name(struct dipc_spaces *spaces, uint64_t tag, uint32_t pid,
		     struct dipc_space **space_out)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &spaces->spaces) {
		struct dipc_space *space =
			dipc_container_of(pos, struct dipc_space, node);

		if (!tag || space->is_dead || space->tag != tag)
			continue;
		space->tag = 0;
		dipc_space_set_pid(space, pid);
		*space_out = space;
		return 0;
	}
	return -ESRCH;
}

/* ---- waits -------------------------------------------------------------- */

void dipc_space_end_waits(struct dipc_space *space, uint64_t addr, uint64_t len,
			  int status)
{
	struct dipc_list *pos, *tmp;

	dipc_list_for_each_safe (pos, tmp, &space->waits) {
		struct dipc_space_wait *wait =
			dipc_container_of(pos, struct dipc_space_wait, node);

		if (wait->addr - addr >= len)
			continue;
		dipc_list_del(&wait->node);
		wait->done(wait, status);
	}
}

/* Where ADDR of process PID is, looked for in SPACE first. */
static struct map *spaces_find_map(struct dipc_spaces *spaces,
				   struct dipc_space *space, uint32_t pid,
				   uint64_t addr)
{
	struct map *map = space ? dipc_space_find(space, addr) : NULL;
	struct dipc_list *pos;

	if (map && space->is_signal)
		return map;
	dipc_list_for_each (pos, &spaces->spaces) {
		space = dipc_container_of(pos, struct dipc_space, node);
		if (!space->is_signal || space->is_dead || space->pid != pid)
			continue;
		map = dipc_space_find(space, addr);
		if (map)
			return map;
	}
	return NULL;
}

int dipc_spaces_fault(struct dipc_spaces *spaces, struct dipc_space *space,
		      uint32_t pid, uint64_t addr, bool is_write,
		      struct dipc_space_wait *wait)
{
	struct map *map;

	addr &= ~PAGE_MASK;
	map = spaces_find_map(spaces, space, pid, addr);
	if (!map)
		return -ESRCH;
	space = map->space;
	wait->addr = addr;
	if (dipc_segment_is_dead(map->attach->seg)) {
		wait->done(wait, -EFAULT);
		return 0;
	}
	if (map->attach->is_readonly)
		is_write = false; /* of its private copy */
	dipc_list_add_tail(&space->waits, &wait->node);
	/* -EAGAIN: no room to remember it; told so, it comes again */
	if (dipc_pages_fault(map->attach->seg,
			     map->first + (addr - map->addr) / DIPC_PAGE_SIZE,
			     is_write, space->id))
		dipc_space_end_waits(space, addr, DIPC_PAGE_SIZE, 0);
	return 0;
}
