/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/node/space.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "runtime/base/log.h"
#include "runtime/node/space_private.h"
#include "runtime/node/uffd.h"

#define FEATURES                                                               \
	((uint64_t)(UFFD_FEATURE_MISSING_SHMEM |                               \
		    UFFD_FEATURE_WP_HUGETLBFS_SHMEM |                          \
		    UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_EVENT_FORK | \
		    UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP |      \
		    UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_THREAD_ID))

#define EVENT_BATCH 16u
/* Batches read in one round of the loop, so that others get their turn. */
#define EVENT_ROUNDS 8u

#define PAGE_MASK (DIPC_PAGE_SIZE - 1ull)

/* ---- ends --------------------------------------------------------------- */

static uint64_t spaces_now(struct dipc_spaces *spaces)
{
	return dipc_sched_now(dipc_loop_sched(spaces->loop));
}

static void spaces_want_reap(struct dipc_spaces *spaces)
{
	spaces->must_reap = true;
	dipc_timer_set(dipc_loop_sched(spaces->loop), &spaces->reap,
		       spaces_now(spaces));
}

void dipc_map_set_gone(struct map *map)
{
	map->is_gone = true;
	spaces_want_reap(map->space->spaces);
}

void dipc_space_set_dead(struct dipc_space *space)
{
	struct dipc_list *pos;

	if (space->is_dead)
		return;
	space->is_dead = true;
	dipc_space_end_waits(space, 0, UINT64_MAX, 0);
	dipc_list_for_each (pos, &space->maps)
		dipc_container_of(pos, struct map, in_space)->is_gone = true;
	spaces_want_reap(space->spaces);
}

void dipc_map_count(struct dipc_space *space, const struct attach *attach,
		    int delta)
{
	struct dipc_spaces *spaces = space->spaces;

	if (spaces->events->attached && !attach->is_silent)
		spaces->events->attached(spaces->arg, attach->seg, space->pid,
					 delta);
}

static void map_free(struct map *map)
{
	struct attach *attach = map->attach;

	dipc_map_count(map->space, attach, -1);
	dipc_list_del(&map->in_space);
	dipc_list_del(&map->in_pager);
	free(map);
	if (--attach->nr_maps)
		return;
	dipc_segment_put(attach->seg);
	free(attach);
}

static void space_free(struct dipc_space *space)
{
	struct dipc_spaces *spaces = space->spaces;

	if (spaces->events->gone)
		spaces->events->gone(spaces->arg, space);
	dipc_space_forget_end(space);
	dipc_space_forget_hot(space);
	dipc_loop_unwatch(spaces->loop, &space->watch);
	if (spaces->events->unkeep)
		spaces->events->unkeep(spaces->arg, DIPC_KEEP_FAULTS,
				       space->id);
	close(space->watch.fd);
	dipc_list_del(&space->node);
	spaces->counters.nr_spaces--;
	free(space);
}

static void space_reap(struct dipc_space *space)
{
	struct dipc_list *pos, *tmp;

	dipc_list_for_each_safe (pos, tmp, &space->maps) {
		struct map *map = dipc_container_of(pos, struct map, in_space);

		if (map->is_gone)
			map_free(map);
	}
	if (space->is_dead)
		space_free(space);
}

static void spaces_reap(struct dipc_timer *timer)
{
	struct dipc_spaces *spaces =
		dipc_container_of(timer, struct dipc_spaces, reap);
	struct dipc_list *pos, *tmp;
	int round;

	spaces->must_reap = false;
	dipc_timer_cancel(timer);
	/* the dead ended before whoever unmapped and lives: LAST-IS-LAST */
	for (round = 0; round < 2; round++) {
		dipc_list_for_each_safe (pos, tmp, &spaces->spaces) {
			struct dipc_space *space =
				dipc_container_of(pos, struct dipc_space, node);

			if (space->is_dead || round)
				space_reap(space);
		}
	}
}

/* ---- mappings ----------------------------------------------------------- */

struct map *dipc_space_find(struct dipc_space *space, uint64_t addr)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &space->maps) {
		struct map *map = dipc_container_of(pos, struct map, in_space);

		if (!map->is_gone && addr >= map->addr &&
		    addr - map->addr < map->nr * DIPC_PAGE_SIZE)
			return map;
	}
	return NULL;
}

/* An attachment of ID that PID has, one for writing if it must be; NULL. */
static struct attach *spaces_find(struct dipc_spaces *spaces, uint32_t pid,
				  int32_t id, bool is_write)
{
	struct dipc_list *pos, *mpos;

	dipc_list_for_each (pos, &spaces->spaces) {
		struct dipc_space *space =
			dipc_container_of(pos, struct dipc_space, node);

		if (space->is_dead || (space->pid && space->pid != pid))
			continue;
		dipc_list_for_each (mpos, &space->maps) {
			struct map *map =
				dipc_container_of(mpos, struct map, in_space);

			if (!map->is_gone &&
			    dipc_segment_id(map->attach->seg) == id &&
			    !(is_write && map->attach->is_readonly))
				return map->attach;
		}
	}
	return NULL;
}

struct dipc_segment *dipc_spaces_find(struct dipc_spaces *spaces, uint32_t pid,
				      int32_t id)
{
	struct attach *attach = spaces_find(spaces, pid, id, false);

	return attach ? attach->seg : NULL;
}

bool dipc_spaces_may_write(struct dipc_spaces *spaces, uint32_t pid, int32_t id)
{
	return spaces_find(spaces, pid, id, true);
}

/* Let a mapping end at ADDR, where one goes on beyond. */
static void space_split(struct dipc_space *space, uint64_t addr)
{
	struct map *map = dipc_space_find(space, addr);
	uint64_t head;

	if (!map || map->addr == addr)
		return;
	head = (addr - map->addr) / DIPC_PAGE_SIZE;
	if (!dipc_map_clone(map, addr, map->first + head, map->nr - head))
		return;
	map->nr = head;
	dipc_map_count(space, map->attach, 1);
}

/* ---- events ------------------------------------------------------------- */

static void on_unmap(struct dipc_space *space, uint64_t start, uint64_t end)
{
	struct dipc_list *pos;

	space_split(space, start);
	space_split(space, end);
	dipc_space_end_waits(space, start, end - start, 0);
	dipc_list_for_each (pos, &space->maps) {
		struct map *map = dipc_container_of(pos, struct map, in_space);

		if (!map->is_gone && map->addr >= start && map->addr < end)
			dipc_map_set_gone(map);
	}
}

static void on_remap(struct dipc_space *space, uint64_t from, uint64_t to,
		     uint64_t len)
{
	struct dipc_list *pos;
	struct map *map;

	if (len == 0) {
		/* old size 0: a second mapping, of a length we do not learn */
		map = dipc_space_find(space, from);
		if (!map)
			return;
		from = (from - map->addr) / DIPC_PAGE_SIZE;
		map = dipc_map_clone(map, to, map->first + from,
				     map->nr - from);
		if (!map)
			return;
		dipc_map_count(space, map->attach, 1);
		(void)dipc_uffd_pager_protect_new(map->pager, map);
		return;
	}
	space_split(space, from);
	space_split(space, from + len);
	dipc_space_end_waits(space, from, len, 0);
	dipc_list_for_each (pos, &space->maps) {
		map = dipc_container_of(pos, struct map, in_space);
		if (map->is_gone || map->addr < from || map->addr >= from + len)
			continue;
		map->addr += to - from;
		/* a new mapping, then the old one goes */
		dipc_map_count(space, map->attach, 1);
		dipc_map_count(space, map->attach, -1);
	}
}

/*
 * A fault that no mapping of ours explains. Mostly it was unmapped or moved
 * just now, and the program finds out by itself. If it is something else that
 * was passed off as a segment, the fault must not come again and again.
 */
static void on_stray_fault(struct dipc_space *space, uint64_t addr)
{
	int fd = space->watch.fd;

	dipc_debug("process %u: fault at an unknown address", space->pid);
	if (!space->can_poison || dipc_uffd_poison(fd, addr, DIPC_PAGE_SIZE))
		dipc_uffd_unregister(fd, addr, DIPC_PAGE_SIZE);
	dipc_uffd_wake(fd, addr, DIPC_PAGE_SIZE);
}

static void on_fault(struct dipc_space *space, uint64_t addr, uint64_t flags,
		     uint32_t tid)
{
	struct map *map;
	bool is_write;

	addr &= ~PAGE_MASK;
	if (addr == space->name_page) {
		dipc_space_on_name(space, tid);
		return;
	}
	map = dipc_space_find(space, addr);
	if (!map) {
		on_stray_fault(space, addr);
		return;
	}
	is_write = flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP);
	if (map->attach->is_readonly)
		is_write = false; /* of its private copy */
	/* -EAGAIN: no room to remember it; woken, it comes again */
	if (dipc_pages_fault(map->attach->seg,
			     map->first + (addr - map->addr) / DIPC_PAGE_SIZE,
			     is_write, space->id))
		dipc_uffd_wake(space->watch.fd, addr, DIPC_PAGE_SIZE);
}

void dipc_space_event(struct dipc_space *space, const struct uffd_msg *msg)
{
	if (msg->event == UFFD_EVENT_PAGEFAULT) {
		dipc_space_set_hot(space);
		on_fault(space, msg->arg.pagefault.address,
			 msg->arg.pagefault.flags,
			 msg->arg.pagefault.feat.ptid);
		return;
	}
	space->spaces->counters.nr_events++;
	switch (msg->event) {
	case UFFD_EVENT_FORK:
		dipc_space_on_fork(space, (int)msg->arg.fork.ufd);
		break;
	case UFFD_EVENT_REMAP:
		on_remap(space, msg->arg.remap.from, msg->arg.remap.to,
			 msg->arg.remap.len);
		break;
	case UFFD_EVENT_UNMAP:
		on_unmap(space, msg->arg.remove.start, msg->arg.remove.end);
		break;
	case UFFD_EVENT_REMOVE:
		/*
		 * Markers stay, and a page that is gone from the memfd is
		 * noticed at the next fault there: see pager resolve().
		 */
		break;
	default:
		dipc_warn("unknown event 0x%x of process %u", msg->event,
			  space->pid);
		break;
	}
}

/* E.g. EMFILE for a fork's descriptor: the fork waits until we can. */
static void space_complain(struct dipc_space *space)
{
	if (!space->has_complained)
		dipc_error("events of process %u cannot be read: %m",
			   space->pid);
	space->has_complained = true;
}

/* How many events there were. */
static unsigned space_read(struct dipc_space *space)
{
	struct uffd_msg msg[EVENT_BATCH];
	unsigned round, i, nr, sum = 0;
	ssize_t n;

	for (round = 0; round < EVENT_ROUNDS && !space->is_dead; round++) {
		n = read(space->watch.fd, msg, sizeof(msg));
		if (n <= 0) {
			if (n < 0 && errno != EAGAIN && errno != EINTR)
				space_complain(space);
			break;
		}
		nr = (unsigned)((size_t)n / sizeof(msg[0]));
		sum += nr;
		for (i = 0; i < nr; i++)
			dipc_space_event(space, &msg[i]);
		if (nr < EVENT_BATCH)
			break;
	}
	return sum;
}

static bool space_has_segment(struct dipc_space *space, int32_t id)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &space->maps) {
		struct map *map = dipc_container_of(pos, struct map, in_space);

		if (!map->is_gone &&
		    (id < 0 || dipc_segment_id(map->attach->seg) == id))
			return true;
	}
	return false;
}

/* Those that have segment ID (< 0: any) attached: which are dead by now? */
static void spaces_probe(struct dipc_spaces *spaces, int32_t id)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &spaces->spaces) {
		struct dipc_space *space =
			dipc_container_of(pos, struct dipc_space, node);

		if (!space->is_dead && space_has_segment(space, id) &&
		    dipc_uffd_probe(space->watch.fd) == -ESRCH)
			dipc_space_set_dead(space);
	}
}

/*
 * LAST-IS-LAST: shm_lpid is of who went last. Who ended before SPACE unmapped,
 * its children say, is to be counted before it.
 */
static void space_settle_before(struct dipc_space *space)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &space->maps) {
		struct map *map = dipc_container_of(pos, struct map, in_space);

		if (map->is_gone)
			spaces_probe(space->spaces,
				     dipc_segment_id(map->attach->seg));
	}
}

unsigned dipc_space_serve(struct dipc_space *space)
{
	struct dipc_spaces *spaces = space->spaces;
	unsigned nr = space_read(space);

	/*
	 * Nobody walks the lists here, so what went can go at once: whoever
	 * unmapped runs on by now, and may ask for nattch next.
	 */
	if (spaces->must_reap) {
		space_settle_before(space);
		spaces_reap(&spaces->reap);
	}
	return nr;
}

static void space_readable(struct dipc_watch *watch, uint32_t events)
{
	(void)events;
	dipc_space_serve(dipc_container_of(watch, struct dipc_space, watch));
}

/* ---- spaces ------------------------------------------------------------- */

/* Owns UFFD from here on, which is ready for events. */
int dipc_space_new(struct dipc_spaces *spaces, int uffd, uint32_t pid,
		   bool can_poison, struct dipc_space **space_out)
{
	struct dipc_space *space = calloc(1, sizeof(*space));
	int flags = fcntl(uffd, F_GETFL);
	int ret = -ENOMEM;

	if (!space)
		goto err_uffd;
	space->spaces = spaces;
	space->pid = pid;
	space->id = ++spaces->last_id;
	space->can_poison = can_poison;
	space->end.fd = -1;
	space->watch.fd = uffd;
	space->watch.fn = space_readable;
	dipc_list_init(&space->maps);
	dipc_list_init(&space->waits);
	if (flags < 0 || fcntl(uffd, F_SETFL, flags | O_NONBLOCK)) {
		ret = -errno;
		goto err_space;
	}
	if (spaces->events->keep)
		spaces->events->keep(spaces->arg, DIPC_KEEP_FAULTS, space->id,
				     uffd);
	ret = dipc_loop_watch(spaces->loop, &space->watch, EPOLLIN);
	if (ret)
		goto err_keep;
	dipc_list_add_tail(&spaces->spaces, &space->node);
	spaces->counters.nr_spaces++;
	*space_out = space;
	return 0;

err_keep:
	if (spaces->events->unkeep)
		spaces->events->unkeep(spaces->arg, DIPC_KEEP_FAULTS,
				       space->id);
err_space:
	free(space);
err_uffd:
	close(uffd);
	return ret;
}

/* Settle what UFFD reports. 0 or -errno, and it is closed. */
static int space_api(int uffd, uint64_t features, bool *can_poison_out)
{
	int ret;

	/* a refusal settles nothing, so it may be asked again with less */
	*can_poison_out = true;
	ret = dipc_uffd_api(uffd, features | UFFD_FEATURE_POISON);
	if (ret == -EINVAL) {
		*can_poison_out = false;
		ret = dipc_uffd_api(uffd, features);
	}
	if (ret == 0)
		return 0;
	close(uffd);
	return ret == -ENOTTY ? -EINVAL : ret;
}

int dipc_space_create(struct dipc_spaces *spaces, int uffd, uint32_t pid,
		      uint64_t name_page, struct dipc_space **space_out)
{
	struct dipc_space *space;
	bool can_poison;
	int ret;

	ret = space_api(uffd, FEATURES, &can_poison);
	if (ret)
		return ret;
	ret = dipc_space_new(spaces, uffd, pid, can_poison, &space);
	if (ret)
		return ret;
	if (name_page) {
		ret = dipc_uffd_register_protect(uffd, name_page,
						 DIPC_PAGE_SIZE);
		space->name_page = name_page;
		if (ret == 0)
			ret = dipc_space_protect_name(space);
	}
	if (ret) {
		space_free(space);
		return ret;
	}
	*space_out = space;
	return 0;
}

int dipc_space_create_signal(struct dipc_spaces *spaces, int uffd, uint32_t pid,
			     uint64_t tag_page, struct dipc_space **space_out)
{
	struct dipc_space *space;
	bool can_poison;
	int ret;

	ret = space_api(uffd, FEATURES | UFFD_FEATURE_SIGBUS, &can_poison);
	if (ret)
		return ret;
	ret = dipc_space_new(spaces, uffd, pid, can_poison, &space);
	if (ret)
		return ret;
	space->is_signal = true;
	space->name_page = tag_page;
	ret = dipc_uffd_register(uffd, tag_page, DIPC_PAGE_SIZE, false);
	if (ret) {
		space_free(space);
		return ret;
	}
	*space_out = space;
	return 0;
}

uint32_t dipc_space_pid(const struct dipc_space *space)
{
	return space->pid;
}

/* ---- attaching ---------------------------------------------------------- */

int dipc_space_map(struct dipc_space *space, struct dipc_segment *seg,
		   uint64_t addr, uint64_t len, bool is_readonly)
{
	struct uffd_pager *p = dipc_uffd_pager(dipc_segment_pager(seg));
	struct attach *attach;
	struct map *map;
	int ret;

	if (space->is_dead)
		return -ESRCH;
	len = (len + PAGE_MASK) & ~PAGE_MASK;
	if (!len || addr & PAGE_MASK || addr + len < addr ||
	    len / DIPC_PAGE_SIZE != p->nr_pages ||
	    dipc_space_find(space, addr) ||
	    dipc_space_find(space, addr + len - DIPC_PAGE_SIZE))
		return -EINVAL;
	attach = calloc(1, sizeof(*attach));
	if (!attach)
		return -ENOMEM;
	attach->seg = seg;
	attach->is_readonly = is_readonly;
	ret = dipc_uffd_register(space->watch.fd, addr, len, !is_readonly);
	if (ret)
		goto err_attach;
	map = dipc_map_new(space, attach, p);
	if (!map) {
		ret = -ENOMEM;
		goto err_register;
	}
	map->addr = addr;
	map->nr = p->nr_pages;
	dipc_segment_get(seg);
	ret = dipc_uffd_pager_protect_new(p, map);
	if (ret == 0 && map->is_gone)
		ret = -ESRCH; /* unmapped again, or the process died */
	if (ret) {
		/* ends as any attachment does, but was never counted */
		attach->is_silent = true;
		on_unmap(space, addr, addr + len);
	}
	return ret;

err_register:
	dipc_uffd_unregister(space->watch.fd, addr, len);
err_attach:
	free(attach);
	if (ret == -ESRCH)
		dipc_space_set_dead(space);
	return ret;
}

/* ---- all of them -------------------------------------------------------- */

void dipc_space_check(struct dipc_space *space)
{
	if (!space->is_dead && dipc_uffd_probe(space->watch.fd) == -ESRCH)
		dipc_space_set_dead(space);
}

void dipc_spaces_sweep(struct dipc_spaces *spaces)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &spaces->spaces)
		dipc_space_check(
			dipc_container_of(pos, struct dipc_space, node));
}

void dipc_spaces_settle(struct dipc_spaces *spaces, int32_t id)
{
	spaces_probe(spaces, id);
	/* fibers and callbacks do not interrupt walks over these lists */
	if (spaces->must_reap)
		spaces_reap(&spaces->reap);
}

int dipc_spaces_create(struct dipc_loop *loop,
		       const struct dipc_spaces_events *events, void *arg,
		       struct dipc_spaces **spaces_out)
{
	struct dipc_spaces *spaces = calloc(1, sizeof(*spaces));

	if (!spaces)
		return -ENOMEM;
	spaces->nr_refs = 1;
	spaces->loop = loop;
	spaces->events = events;
	spaces->arg = arg;
	dipc_list_init(&spaces->spaces);
	dipc_timer_init(&spaces->reap, spaces_reap);
	dipc_spaces_hot_init(spaces);
	*spaces_out = spaces;
	return 0;
}

void dipc_spaces_stop(struct dipc_spaces *spaces)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &spaces->spaces)
		dipc_space_set_dead(
			dipc_container_of(pos, struct dipc_space, node));
	spaces_reap(&spaces->reap);
}

void dipc_spaces_put(struct dipc_spaces *spaces)
{
	assert(spaces->nr_refs);
	if (--spaces->nr_refs == 0)
		free(spaces);
}

void dipc_spaces_destroy(struct dipc_spaces *spaces)
{
	if (!spaces)
		return;
	dipc_spaces_stop(spaces);
	dipc_spaces_hot_fini(spaces);
	dipc_timer_cancel(&spaces->reap);
	dipc_spaces_put(spaces);
}

const struct dipc_spaces_counters *
dipc_spaces_counters(const struct dipc_spaces *spaces)
{
	return &spaces->counters;
}
