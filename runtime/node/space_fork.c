/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Children of forks: what they inherit, and how it is learned who they are.
 * docs/design/node.md, "Who a space is".
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/base/log.h"
#include "runtime/node/space_private.h"
#include "runtime/node/uffd.h"

/* ---- names -------------------------------------------------------------- */

int dipc_space_protect_name(struct dipc_space *space)
{
	return dipc_uffd_protect(space->watch.fd, space->name_page,
				 DIPC_PAGE_SIZE);
}

void dipc_space_forget_end(struct dipc_space *space)
{
	if (space->end.fd < 0)
		return;
	dipc_loop_unwatch(space->spaces->loop, &space->end);
	close(space->end.fd);
	space->end.fd = -1;
}

static void space_ended(struct dipc_watch *watch, uint32_t events)
{
	struct dipc_space *space =
		dipc_container_of(watch, struct dipc_space, end);

	(void)events;
	dipc_space_forget_end(space);
	dipc_space_check(space);
}

/*
 * Its end is watched from now on; if that is not possible, or it has come
 * already, the sweep once a second finds it.
 */
void dipc_space_set_pid(struct dipc_space *space, uint32_t pid)
{
	space->pid = pid;
	space->end.fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	space->end.fn = space_ended;
	if (space->end.fd >= 0 &&
	    dipc_loop_watch(space->spaces->loop, &space->end, EPOLLIN)) {
		close(space->end.fd);
		space->end.fd = -1;
	}
}

/*
 * The child of a fork wrote its page: TID, its only thread's, is its pid.
 */
void dipc_space_on_name(struct dipc_space *space, uint32_t tid)
{
	if (space->pid == 0)
		dipc_space_set_pid(space, tid);
	space->is_named = true;
	if (dipc_uffd_unprotect(space->watch.fd, space->name_page,
				DIPC_PAGE_SIZE))
		dipc_uffd_wake(space->watch.fd, space->name_page,
			       DIPC_PAGE_SIZE);
}

/* ---- fork --------------------------------------------------------------- */

/* A child's attachment like PARENT's, made at its first piece. */
static struct attach *attach_copy(struct attach *parent)
{
	struct attach *copy = parent->copy;

	if (copy)
		return copy;
	copy = calloc(1, sizeof(*copy));
	if (!copy)
		return NULL;
	copy->seg = parent->seg;
	copy->is_readonly = parent->is_readonly;
	dipc_segment_get(copy->seg);
	parent->copy = copy;
	return copy;
}

/*
 * Has CHILD what MAP is in its parent? Not after MADV_DONTFORK, and of that no
 * event tells. To register it again changes nothing, but fails where nothing
 * is.
 */
static bool fork_has_map(struct dipc_space *child, const struct map *map)
{
	return dipc_uffd_register(child->watch.fd, map->addr,
				  map->nr * DIPC_PAGE_SIZE,
				  !map->attach->is_readonly) != -EINVAL;
}

static int fork_copy_maps(struct dipc_space *child, struct dipc_space *parent)
{
	struct dipc_list *pos;
	struct attach *attach;
	struct map *copy;

	dipc_list_for_each (pos, &parent->maps) {
		struct map *map = dipc_container_of(pos, struct map, in_space);

		if (map->is_gone || !fork_has_map(child, map))
			continue;
		attach = attach_copy(map->attach);
		copy = attach ? dipc_map_new(child, attach, map->pager) : NULL;
		if (!copy)
			return -ENOMEM;
		copy->addr = map->addr;
		copy->first = map->first;
		copy->nr = map->nr;
		dipc_map_count(parent, attach, 1); /* the parent did it */
	}
	return 0;
}

void dipc_space_on_fork(struct dipc_space *parent, int uffd)
{
	struct dipc_space *child;
	struct dipc_list *pos;
	int ret;

	ret = dipc_space_new(parent->spaces, uffd, 0, parent->can_poison,
			     &child);
	if (ret == 0) {
		child->name_page = parent->name_page;
		child->is_signal = parent->is_signal;
		if (child->is_signal)
			dipc_space_tag(child);
		if (parent->is_named && dipc_space_protect_name(child))
			child->name_page = 0; /* it stays without a name */
		ret = fork_copy_maps(child, parent);
	}
	dipc_list_for_each (pos, &parent->maps) {
		struct map *map = dipc_container_of(pos, struct map, in_space);

		map->attach->copy = NULL;
		/* a child that we cannot follow would read zeros */
		if (ret)
			map->pager->base.ops->kill(&map->pager->base);
	}
	/* nothing to serve: what it maps itself it brings a descriptor for */
	if (ret == 0 && dipc_list_is_empty(&child->maps))
		dipc_space_set_dead(child);
	if (ret)
		dipc_error("cannot follow a fork of process %u: error %d",
			   parent->pid, -ret);
}
