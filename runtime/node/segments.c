/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counting. `nattch` in the arena goes up before a client maps and down when
 * the kernel says that the mapping is gone. `opens` counts nodes: up before
 * the first use of the home's memory, down when the last page went home. Both
 * only by atomics, posted in the order in which things happen, so that an
 * IPC_STAT that follows a shmdt on this node sees it.
 */
#include "runtime/node/segments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <unistd.h>

#include "runtime/base/log.h"
#include "runtime/node/pager_uffd.h"

#define CACHE_PAGES_MIN 256u
#define DRAIN_NS        (2 * DIPC_SEC)

struct dipc_segments {
	struct dipc_node *node;     /* borrowed */
	struct dipc_pages *pages;   /* owned */
	struct dipc_spaces *spaces; /* owned */
	struct dipc_homes *homes;   /* owned */
	/* opened by an attach that has not returned yet; compared only */
	const struct dipc_segment *newest;
	bool is_drained;
	struct dipc_waitq drained;
};

struct dipc_pages *dipc_segments_pages(struct dipc_segments *segments)
{
	return segments->pages;
}

struct dipc_spaces *dipc_segments_spaces(struct dipc_segments *segments)
{
	return segments->spaces;
}

/* ---- the object's counters ---------------------------------------------- */

static uint64_t shm_off(struct dipc_fabric *f, int32_t id, size_t field)
{
	return dipc_object_off(dipc_fabric_super(f), dipc_id_slot(id)) +
	       offsetof(struct dipc_arena_object, shm) + field;
}

#define SHM_OFF(f, id, field)                                                  \
	shm_off(f, id, offsetof(struct dipc_arena_shm, field))

/*
 * Nobody waits for what is posted here, but it is posted at once: who asks
 * later sees it.
 */
static int count_post(struct dipc_tx *tx, int32_t id)
{
	int ret = dipc_tx_post(tx);

	/* too many is a leak; too few, and the link is gone with all */
	if (ret)
		dipc_debug("segment 0x%x: not counted", (unsigned)id);
	return ret;
}

struct reap_job {
	struct dipc_node *node;
	int32_t id;
};

/* Was that the last of a removed segment? Then the referee frees it. */
static void reap_fiber(void *arg)
{
	struct reap_job *job = arg;
	struct dipc_fabric *f = job->node->fabric;
	uint32_t slot = dipc_id_slot(job->id);
	struct dipc_arena_object obj;

	if (dipc_arena_read(f, dipc_object_off(dipc_fabric_super(f), slot),
			    &obj, sizeof(obj)) == 0 &&
	    (obj.state & DIPC_OBJECT_REMOVED) && obj.shm.nattch == 0 &&
	    obj.shm.opens == 0)
		dipc_fabric_hint_reap(f, slot);
	free(job);
}

static void reap_start(struct dipc_node *node, int32_t id)
{
	struct reap_job *job = malloc(sizeof(*job));

	if (!job)
		return; /* the referee looks by itself, later */
	job->node = node;
	job->id = id;
	if (dipc_fiber_spawn(dipc_loop_sched(node->loop), reap_fiber, job))
		free(job);
}

/* The last process that attached or detached, and when. */
static void add_trace(struct dipc_tx *tx, struct dipc_node *node, int32_t id,
		      uint64_t time_off, uint32_t pid)
{
	struct dipc_fabric *f = node->fabric;
	struct dipc_link *link = dipc_fabric_arena(f);
	uint64_t now = (uint64_t)dipc_fabric_wall(f);
	uint32_t who;

	dipc_tx_write(tx, dipc_tx_at(link, time_off), &now, sizeof(now));
	if (!pid)
		return;
	/* the upper half of `pids` */
	who = dipc_who(dipc_fabric_node(f), pid);
	dipc_tx_write(tx, dipc_tx_at(link, SHM_OFF(f, id, pids) + sizeof(who)),
		      &who, sizeof(who));
}

/* An attachment that was counted is mapped now, by process PID. */
static void attach_trace(struct dipc_node *node, int32_t id, uint32_t pid)
{
	struct dipc_tx tx;

	if (dipc_tx_begin(&tx, dipc_fabric_arena(node->fabric), 64))
		return;
	add_trace(&tx, node, id, SHM_OFF(node->fabric, id, atime), pid);
	(void)count_post(&tx, id);
}

/* PID (0: not known) attached, DELTA 1, or detached, -1, a mapping. */
static void attach_count_posted(struct dipc_node *node, int32_t id,
				uint32_t pid, int delta)
{
	struct dipc_link *link = dipc_fabric_arena(node->fabric);
	struct dipc_tx tx;

	if (dipc_tx_begin(&tx, link, 64))
		return;
	dipc_tx_faa(&tx, dipc_tx_at(link, SHM_OFF(node->fabric, id, nattch)),
		    (uint64_t)(int64_t)delta);
	add_trace(&tx, node, id,
		  delta > 0 ? SHM_OFF(node->fabric, id, atime)
			    : SHM_OFF(node->fabric, id, dtime),
		  pid);
	if (count_post(&tx, id) == 0 && delta < 0)
		reap_start(node, id);
}

/* What ATTACH counted and is not to be: nothing was attached. */
static void uncount_posted(struct dipc_node *node, int32_t id, bool is_nattch,
			   bool is_open)
{
	struct dipc_link *link = dipc_fabric_arena(node->fabric);
	struct dipc_tx tx;

	if (dipc_tx_begin(&tx, link, 64))
		return;
	if (is_nattch)
		dipc_tx_faa(&tx,
			    dipc_tx_at(link, SHM_OFF(node->fabric, id, nattch)),
			    (uint64_t)-1);
	if (is_open)
		dipc_tx_faa(&tx,
			    dipc_tx_at(link, SHM_OFF(node->fabric, id, opens)),
			    (uint64_t)-1);
	if (count_post(&tx, id) == 0)
		reap_start(node, id);
}

/* ---- events of the address spaces and the page protocol ----------------- */

static void on_keep(void *arg, enum dipc_keep_kind kind, uint32_t id, int fd)
{
	struct dipc_segments *s = arg;

	dipc_keeper_add(s->node->keeper, kind, id, fd);
}

static void on_unkeep(void *arg, enum dipc_keep_kind kind, uint32_t id)
{
	struct dipc_segments *s = arg;

	dipc_keeper_del(s->node->keeper, kind, id);
}

static void on_attached(void *arg, struct dipc_segment *seg, uint32_t pid,
			int delta)
{
	struct dipc_segments *s = arg;

	attach_count_posted(s->node, dipc_segment_id(seg), pid, delta);
}

static void on_gone(void *arg, struct dipc_space *space)
{
	struct dipc_segments *s = arg;
	struct dipc_list *pos;

	dipc_list_for_each (pos, &s->node->clients) {
		struct dipc_client *c =
			dipc_container_of(pos, struct dipc_client, entry);

		if (c->space == space)
			c->space = NULL;
	}
}

static const struct dipc_spaces_events spaces_events = {
	.keep = on_keep,
	.unkeep = on_unkeep,
	.attached = on_attached,
	.gone = on_gone,
};

static int on_pager_create(void *arg, struct dipc_segment *seg,
			   struct dipc_pager **pager_out)
{
	struct dipc_segments *s = arg;

	s->newest = seg;
	return dipc_pager_uffd_create(s->spaces, seg, pager_out);
}

static void on_released(void *arg, struct dipc_segment *seg,
			struct dipc_pager *pager)
{
	struct dipc_segments *s = arg;

	dipc_pager_uffd_destroy(pager);
	uncount_posted(s->node, dipc_segment_id(seg), false, true);
}

static int on_await_fenced(void *arg, unsigned node)
{
	struct dipc_segments *s = arg;

	return dipc_node_await_fenced(s->node, node);
}

static uint64_t on_available(void *arg)
{
	(void)arg;
	return dipc_memory_available();
}

static void on_over(void *arg, int32_t id)
{
	struct dipc_segments *s = arg;

	dipc_futexes_forget(s->node->futexes, id);
}

static const struct dipc_pages_events pages_events = {
	.pager_create = on_pager_create,
	.released = on_released,
	.await_fenced = on_await_fenced,
};

/* ---- life --------------------------------------------------------------- */

/* A limit that some windows and faults in flight do not exceed at once. */
static uint64_t cache_pages(const struct dipc_config *conf)
{
	uint64_t pages = conf->cache_size / DIPC_PAGE_SIZE;

	if (conf->cache_size && pages < CACHE_PAGES_MIN)
		pages = CACHE_PAGES_MIN;
	return pages;
}

int dipc_segments_create(struct dipc_node *node)
{
	struct dipc_segments *s = calloc(1, sizeof(*s));
	struct dipc_pages_config config = {
		.fabric = node->fabric,
		.hold_ns = node->conf->hold_us * DIPC_USEC,
		.prefetch_pages = node->conf->prefetch_pages,
		.cache_pages = cache_pages(node->conf),
		.events = &pages_events,
		.arg = s,
	};
	struct dipc_homes_config homes_config = {
		.fabric = node->fabric,
		.available = on_available,
		.over = on_over,
		.arg = s,
	};
	int ret;

	if (!s)
		return -ENOMEM;
	s->node = node;
	dipc_waitq_init(&s->drained);
	ret = dipc_spaces_create(node->loop, &spaces_events, s, &s->spaces);
	if (ret)
		goto err_segments;
	ret = dipc_homes_create(&homes_config, &s->homes);
	if (ret)
		goto err_spaces;
	ret = dipc_pages_create(&config, &s->pages);
	if (ret)
		goto err_homes;
	node->segments = s;
	return 0;

err_homes:
	dipc_homes_destroy(s->homes);
err_spaces:
	dipc_spaces_destroy(s->spaces);
err_segments:
	free(s);
	return ret;
}

static void drain_fiber(void *arg)
{
	struct dipc_segments *s = arg;

	/* modified pages go home before anybody's mapping goes */
	dipc_pages_stop(s->pages);
	dipc_spaces_stop(s->spaces);
	dipc_pages_drain(s->pages);
	s->is_drained = true;
	dipc_waitq_wake_all(&s->drained);
}

void dipc_segments_drain(struct dipc_node *node)
{
	struct dipc_segments *s = node->segments;

	if (dipc_fiber_spawn(dipc_loop_sched(node->loop), drain_fiber, s))
		return;
	if (dipc_waitq_wait(&s->drained,
			    dipc_sched_now(dipc_loop_sched(node->loop)) +
				    DRAIN_NS))
		dipc_warn("some pages could not be given back in time");
}

/* ---- homes -------------------------------------------------------------- */

int dipc_segments_created(struct dipc_node *node, int32_t id, uint64_t size)
{
	uint64_t nr = (size + DIPC_PAGE_SIZE - 1) / DIPC_PAGE_SIZE;
	struct dipc_lookup_created created = {.id = id,
					      .nr_pages = (uint32_t)nr};
	struct dipc_arena_object obj;
	int ret;

	ret = dipc_lookup_created(node->lookup, &created);
	if (ret)
		return ret;
	/* removed already: no harm; else on_over() is to follow */
	if (dipc_object_read(node->fabric, id, DIPC_KIND_SHM, &obj) == 0 &&
	    dipc_shm_is_home(&obj.shm, dipc_fabric_node(node->fabric)))
		ret = dipc_homes_add(node->segments->homes, id, &obj.shm);
	return ret;
}

struct dipc_homes *dipc_segments_homes(struct dipc_segments *segments)
{
	return segments->homes;
}

uint64_t dipc_segments_rss(struct dipc_node *node, int32_t id)
{
	struct dipc_segment *seg = dipc_segment_find(node->segments->pages, id);
	/* none while it is being opened */
	struct dipc_pager *pager = seg ? dipc_segment_pager(seg) : NULL;

	return pager ? dipc_pager_uffd_resident(pager) * DIPC_PAGE_SIZE : 0;
}

/* ---- attaching ---------------------------------------------------------- */

void dipc_segments_faults(struct dipc_client *client,
			  const struct dipc_sock_msg *msg, int fd)
{
	struct dipc_spaces *spaces = client->node->segments->spaces;
	uint32_t pid = client->process->pid;

	struct dipc_sock_msg answer = {.magic = DIPC_LOCAL_MAGIC,
				       .version = DIPC_LOCAL_VERSION,
				       .type = DIPC_SOCK_FAULTS};

	if (fd < 0 || client->space) {
		if (fd >= 0)
			close(fd);
		answer.status = -EINVAL;
	} else if (msg->flags & DIPC_SOCK_BY_SIGNAL) {
		answer.status = dipc_space_create_signal(
			spaces, fd, pid, msg->addr, &client->space);
	} else {
		answer.status = dipc_space_create(spaces, fd, pid, msg->addr,
						  &client->space);
	}
	dipc_client_reply(client, &answer, NULL, 0);
}

void dipc_segments_faults_tag(struct dipc_client *client,
			      const struct dipc_sock_msg *msg)
{
	struct dipc_sock_msg answer = {.magic = DIPC_LOCAL_MAGIC,
				       .version = DIPC_LOCAL_VERSION,
				       .type = DIPC_SOCK_FAULTS_TAG};
	struct dipc_space *space;

	answer.status =
		dipc_spaces_name(client->node->segments->spaces, msg->addr,
				 client->process->pid, &space);
	if (answer.status == 0 && !client->space)
		client->space = space;
	dipc_client_reply(client, &answer, NULL, 0);
}

/*
 * A removed segment may be attached as long as others than us (OURS) have it
 * attached, as Linux has it.
 */
static bool attach_is_possible(const struct dipc_arena_object *obj,
			       int64_t ours)
{
	return !(obj->state & DIPC_OBJECT_REMOVED) ||
	       (int64_t)obj->shm.nattch > ours;
}

/*
 * Count the attachment, then look again: a segment that was freed meanwhile
 * must not be touched.
 */
static int attach_count(struct dipc_fabric *f, int32_t id,
			struct dipc_arena_object *obj)
{
	uint64_t slot_off =
		dipc_object_off(dipc_fabric_super(f), dipc_id_slot(id));
	struct dipc_link *link = dipc_fabric_arena(f);
	struct dipc_tx tx;
	const void *after;
	int ret;

	ret = dipc_tx_begin(&tx, link, 512);
	if (ret)
		return ret;
	dipc_tx_faa(&tx, dipc_tx_at(link, SHM_OFF(f, id, nattch)), 1);
	dipc_tx_faa(&tx, dipc_tx_at(link, SHM_OFF(f, id, opens)), 1);
	after = dipc_tx_read(&tx, dipc_tx_at(link, slot_off), sizeof(*obj));
	ret = dipc_tx_run(&tx);
	if (ret == 0)
		memcpy(obj, after, sizeof(*obj));
	dipc_tx_end(&tx);
	if (ret == 0 && (obj->id != id || !attach_is_possible(obj, 1)))
		ret = -EINVAL;
	return ret;
}

/* The kernel's rules for shmat's access. */
static int attach_allowed(const struct dipc_client *client,
			  const struct dipc_arena_object *obj, int32_t flags)
{
	unsigned want = DIPC_WANT_READ;

	if (!(flags & SHM_RDONLY))
		want |= DIPC_WANT_WRITE;
	if (flags & SHM_EXEC)
		want |= DIPC_WANT_EXEC;
	return dipc_object_allows(obj, &client->cred, want);
}

/* Open the segment for one more attachment of CLIENT. Fiber. */
static int attach_open(struct dipc_client *client, int32_t id, int32_t flags,
		       struct dipc_segment **seg_out)
{
	struct dipc_node *node = client->node;
	struct dipc_arena_object obj;
	struct dipc_segment *seg;
	int ret;

	ret = dipc_object_read(node->fabric, id, DIPC_KIND_SHM, &obj);
	if (ret == -EIDRM) {
		/* a removed segment is there as long as somebody lives */
		dipc_spaces_settle(node->segments->spaces, id);
		ret = dipc_object_read(node->fabric, id, DIPC_KIND_SHM, &obj);
	}
	if (ret == -EIDRM)
		ret = attach_is_possible(&obj, 0) ? 0 : -EINVAL;
	if (ret)
		return ret;
	ret = attach_allowed(client, &obj, flags);
	if (ret)
		return ret;
	ret = attach_count(node->fabric, id, &obj);
	if (ret) {
		uncount_posted(node, id, true, true);
		return ret;
	}
	ret = dipc_segment_open(node->segments->pages, id, &obj.shm, &seg);
	if (ret) {
		uncount_posted(node, id, true, true);
		return ret;
	}
	/* a node counts once in `opens`, however many attachments it has */
	if (node->segments->newest == seg)
		node->segments->newest = NULL;
	else
		uncount_posted(node, id, false, true);
	*seg_out = seg;
	return 0;
}

struct attach_job {
	struct dipc_client *client; /* a reference */
	int32_t id;
	int32_t flags;
};

static void attach_fiber(void *arg)
{
	struct attach_job *job = arg;
	struct dipc_client *client = job->client;
	struct dipc_sock_msg answer = {.magic = DIPC_LOCAL_MAGIC,
				       .version = DIPC_LOCAL_VERSION,
				       .type = DIPC_SOCK_ATTACH,
				       .id = job->id};
	struct dipc_segment *seg = NULL;
	int fd = -1;

	answer.status = attach_open(client, job->id, job->flags, &seg);
	client->is_attaching = false;
	if (seg) {
		client->attaching = seg;
		client->attaching_readonly = job->flags & SHM_RDONLY;
		answer.size = dipc_segment_size(seg);
		fd = dipc_pager_uffd_fd(dipc_segment_pager(seg),
					job->flags & SHM_RDONLY);
	}
	if (client->is_closed)
		dipc_segments_forget(client);
	else
		dipc_client_reply(client, &answer, &fd, seg ? 1 : 0);
	free(job);
	dipc_client_put(client);
}

void dipc_segments_attach(struct dipc_client *client,
			  const struct dipc_sock_msg *msg)
{
	struct dipc_sock_msg answer = *msg;
	struct attach_job *job;

	/* a client that asked before and never mapped */
	dipc_segments_forget(client);
	if (client->is_attaching) {
		answer.status = -EBUSY; /* not what our library does */
		dipc_client_reply(client, &answer, NULL, 0);
		return;
	}
	job = malloc(sizeof(*job));
	if (!job)
		goto err_answer;
	job->client = client;
	job->id = msg->id;
	job->flags = msg->flags;
	dipc_client_get(client);
	client->is_attaching = true;
	if (dipc_fiber_spawn(dipc_loop_sched(client->node->loop), attach_fiber,
			     job) == 0)
		return;
	client->is_attaching = false;
	dipc_client_put(client);
	free(job);
err_answer:
	answer.status = -ENOMEM;
	dipc_client_reply(client, &answer, NULL, 0);
}

void dipc_segments_mapped(struct dipc_client *client,
			  const struct dipc_sock_msg *msg)
{
	struct dipc_segment *seg = client->attaching;
	struct dipc_sock_msg answer = *msg;

	if (!seg || !client->space || dipc_segment_id(seg) != msg->id) {
		answer.status = -EINVAL;
		dipc_client_reply(client, &answer, NULL, 0);
		return;
	}
	/* read-only or not is what ATTACH checked, not what it says now */
	answer.status = dipc_space_map(client->space, seg, msg->addr, msg->size,
				       client->attaching_readonly);
	if (answer.status) {
		dipc_segments_forget(client);
	} else {
		client->attaching = NULL;
		attach_trace(client->node, msg->id, client->process->pid);
		dipc_segment_put(seg); /* the attachment has its own */
	}
	dipc_client_reply(client, &answer, NULL, 0);
}

void dipc_segments_forget(struct dipc_client *client)
{
	struct dipc_segment *seg = client->attaching;

	if (!seg)
		return;
	client->attaching = NULL;
	uncount_posted(client->node, dipc_segment_id(seg), true, false);
	dipc_segment_put(seg);
}
