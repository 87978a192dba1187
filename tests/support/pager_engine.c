/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/support/pager_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/base/log.h"
#include "runtime/protocol/homes.h"

#define SEGMENT 0x40000001

static struct pager_shared *sh;
static const char *dir;

/* ---- messages ----------------------------------------------------------- */

int pager_message_send(int sock, const struct pager_message *msg, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {(void *)(uintptr_t)msg, sizeof(*msg)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *cmsg;

		mh.msg_control = control;
		mh.msg_controllen = sizeof(control);
		cmsg = CMSG_FIRSTHDR(&mh);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	return sendmsg(sock, &mh, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

bool pager_message_recv(int sock, struct pager_message *msg, int *fd_out)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {msg, sizeof(*msg)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg;

	if (recvmsg(sock, &mh, MSG_CMSG_CLOEXEC) != sizeof(*msg))
		return false;
	*fd_out = -1;
	cmsg = CMSG_FIRSTHDR(&mh);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(fd_out, CMSG_DATA(cmsg), sizeof(*fd_out));
	return true;
}

/* ---- the engine --------------------------------------------------------- */

/* A failure cannot be reported by cmocka here: end the process. */
#define MUST(cond)                                                             \
	do {                                                                   \
		if (!(cond)) {                                                 \
			fprintf(stderr, "engine, line %d: %s: %m\n", __LINE__, \
				#cond);                                        \
			_exit(1);                                              \
		}                                                              \
	} while (0)

struct client_conn {
	struct dipc_watch watch;
	struct engine *engine;
	struct dipc_space *space;
	struct dipc_segment *seg; /* between 'A' and 'M' */
	struct pager_message msg;
};

struct engine {
	unsigned node;
	struct dipc_loop *loop;
	struct dipc_fabric *referee, *fabric;
	struct dipc_pages *pages;
	struct dipc_spaces *spaces;
	struct dipc_region *arena;
	struct dipc_homes *homes;
	struct dipc_pager *pager;
	struct dipc_poller poller;
	struct dipc_timer sweep;
	struct client_conn conn[MAX_CLIENTS];
	unsigned nr_kept;
	bool is_ending;
};

static struct engine *engine; /* of this process */

static void on_keep(void *arg, enum dipc_keep_kind kind, uint32_t id, int fd)
{
	(void)arg;
	(void)kind;
	MUST(id && fcntl(fd, F_GETFD) >= 0);
	engine->nr_kept++;
}

static void on_unkeep(void *arg, enum dipc_keep_kind kind, uint32_t id)
{
	(void)arg;
	(void)kind;
	(void)id;
	MUST(engine->nr_kept--);
}

static void on_attached(void *arg, struct dipc_segment *seg, uint32_t pid,
			int delta)
{
	(void)arg;
	(void)seg;
	(void)pid;
	atomic_fetch_add(&sh->nattch[engine->node], delta);
}

static void on_gone(void *arg, struct dipc_space *space)
{
	unsigned i;

	(void)arg;
	for (i = 0; i < MAX_CLIENTS; i++)
		if (engine->conn[i].space == space)
			engine->conn[i].space = NULL;
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
	(void)arg;
	return dipc_pager_uffd_create(engine->spaces, seg, pager_out);
}

static void on_released(void *arg, struct dipc_segment *seg,
			struct dipc_pager *pager)
{
	(void)arg;
	(void)seg;
	/* INV-8: everything was given back, nothing else was there */
	MUST(dipc_pager_uffd_resident(pager) == 0);
	dipc_pager_uffd_destroy(pager);
}

static const struct dipc_pages_events pages_events = {
	.pager_create = on_pager_create,
	.released = on_released,
};

static void on_request(void *arg, struct dipc_incoming *in)
{
	(void)arg;
	if (in->request.type == DIPC_REQ_CHUNK)
		dipc_homes_request(engine->homes, in);
	else if (in->request.type == DIPC_REQ_FORGET)
		dipc_homes_forget(engine->homes, in);
	else
		dipc_pages_request(engine->pages, in);
}

static void on_lost(void *arg, unsigned node)
{
	(void)arg;
	if (engine->pages)
		dipc_pages_lost(engine->pages, node);
}

static const struct dipc_fabric_events fabric_events = {
	.request = on_request,
	.lost = on_lost,
};

static struct dipc_fabric *fabric_open(unsigned id)
{
	static const uint8_t ticket[DIPC_TICKET_LEN] = {1};
	struct dipc_fabric_config config = {
		.loop = engine->loop,
		.transport = "shm",
		.peer_timeout_ms = 1000,
		.events = &fabric_events,
	};
	struct dipc_fabric *f;
	char path[96];

	snprintf(path, sizeof(path), "%s/%u", dir, id);
	config.listen = path;
	MUST(dipc_fabric_create(&config, &f) == 0);
	dipc_fabric_identify(f, id, 1, ticket);
	return f;
}

/* What of an arena the fabric needs: the node table. */
static void arena_make(void)
{
	struct dipc_arena_super *super;
	struct dipc_arena_node *table;
	unsigned i;

	engine->referee = fabric_open(DIPC_REFEREE);
	MUST(dipc_region_create(dipc_fabric_transport(engine->referee), NULL,
				1 << 20, &engine->arena) == 0);
	super = (void *)engine->arena->base;
	super->magic = DIPC_ARENA_MAGIC;
	super->version = DIPC_ARENA_VERSION;
	super->size = engine->arena->len;
	super->nodes_off = 4096;
	table = (void *)(engine->arena->base + super->nodes_off);
	for (i = 1; i <= NR_NODES; i++) {
		table[i].state = (uint64_t)DIPC_NODE_ALIVE << 32 | 1;
		snprintf(table[i].address, sizeof(table[i].address), "%s/%u",
			 dir, i);
	}
	dipc_fabric_serve_arena(engine->referee, engine->arena, 1);
}

/* Node 1 is the home. */
static void home_make(void)
{
	sh->shm.size = SEG_LEN;
	sh->shm.home = engine->node;
	sh->shm.homes = 1ull << (engine->node - 1);
	sh->shm.block_chunks = 1;
	sh->shm.unit_pages = 1;
	sh->shm.nr_pages = NR_PAGES;
	MUST(dipc_homes_add(engine->homes, SEGMENT, &sh->shm) == 0);
}

static void start_fiber(void *arg)
{
	char path[96];

	(void)arg;
	snprintf(path, sizeof(path), "%s/0", dir);
	MUST(dipc_fabric_open_arena(engine->fabric, path) == 0);
	if (engine->node == 1)
		home_make();
	atomic_fetch_or(&sh->ready, 1u << engine->node);
}

static void attach_fiber(void *arg)
{
	struct client_conn *c = arg;
	struct pager_message answer = {.op = 'A'};
	int fd = -1;

	answer.status =
		dipc_segment_open(engine->pages, SEGMENT, &sh->shm, &c->seg);
	if (answer.status == 0) {
		engine->pager = dipc_segment_pager(c->seg);
		fd = dipc_pager_uffd_fd(engine->pager, c->msg.is_readonly);
	}
	(void)pager_message_send(c->watch.fd, &answer, fd);
}

static void conn_readable(struct dipc_watch *watch, uint32_t events)
{
	struct client_conn *c =
		dipc_container_of(watch, struct client_conn, watch);
	struct pager_message answer = {.op = 'M'};
	int fd;

	(void)events;
	if (!pager_message_recv(watch->fd, &c->msg, &fd)) {
		dipc_loop_unwatch(engine->loop, watch);
		dipc_spaces_sweep(engine->spaces);
		return;
	}
	if (c->msg.op == 'A') {
		if (fd >= 0)
			MUST(dipc_space_create(engine->spaces, fd, c->msg.pid,
					       0, &c->space) == 0);
		MUST(dipc_fiber_spawn(dipc_loop_sched(engine->loop),
				      attach_fiber, c) == 0);
		return;
	}
	answer.status = dipc_space_map(c->space, c->seg, c->msg.addr, SEG_LEN,
				       c->msg.is_readonly);
	if (answer.status == 0)
		atomic_fetch_add(&sh->nattch[engine->node], 1);
	dipc_segment_put(c->seg);
	(void)pager_message_send(watch->fd, &answer, -1);
}

static void sweep_due(struct dipc_timer *timer)
{
	dipc_spaces_sweep(engine->spaces);
	dipc_timer_set(dipc_loop_sched(engine->loop), timer,
		       dipc_fabric_now(engine->fabric) + 100 * DIPC_MSEC);
}

static void end_fiber(void *arg)
{
	(void)arg;
	if (atomic_load(&sh->must_stop)) {
		dipc_pages_stop(engine->pages);
		atomic_fetch_add(&sh->stopped, 1);
		while (!atomic_load(&sh->must_end))
			dipc_fiber_sleep(DIPC_MSEC);
		dipc_spaces_stop(engine->spaces);
	}
	dipc_pages_drain(engine->pages);
	dipc_spaces_stop(engine->spaces); /* of those that had unmapped all */
	dipc_loop_stop(engine->loop);
}

/* Looks at the shared flags: the cases need no other way to an engine. */
static unsigned engine_poll(struct dipc_poller *poller)
{
	(void)poller;
	if (!engine->is_ending &&
	    (atomic_load(&sh->must_end) || atomic_load(&sh->must_stop))) {
		engine->is_ending = true;
		MUST(dipc_fiber_spawn(dipc_loop_sched(engine->loop), end_fiber,
				      NULL) == 0);
	}
	return 0;
}

/* Never sleeps for long, since flags are only seen when awake. */
static int engine_arm(struct dipc_poller *poller)
{
	(void)poller;
	usleep(100);
	return 1;
}

static void engine_close(void)
{
	const struct dipc_spaces_counters *counters =
		dipc_spaces_counters(engine->spaces);

	atomic_fetch_add(&sh->nr_strays, (unsigned)counters->nr_strays);
	MUST(counters->nr_spaces == 0);
	MUST(engine->nr_kept == 0);
	dipc_timer_cancel(&engine->sweep);
	dipc_pages_destroy(engine->pages);
	engine->pages = NULL; /* links still come and go */
	dipc_spaces_destroy(engine->spaces);
	/* the home's memory, and the arena, go with the process */
}

void pager_engine_run(unsigned node, struct pager_shared *shared,
		      const char *sockets, const int *socks,
		      const unsigned *nodes, uint64_t hold_ns)
{
	struct dipc_pages_config config = {.hold_ns = hold_ns,
					   .events = &pages_events};
	struct dipc_homes_config homes_config = {0};
	unsigned i;

	sh = shared;
	dir = sockets;
	engine = calloc(1, sizeof(*engine));
	MUST(engine);
	engine->node = node;
	MUST(dipc_loop_create(dipc_clock_system(), 50 * DIPC_USEC,
			      &engine->loop) == 0);
	if (node == 1)
		arena_make();
	else
		while (!(atomic_load(&sh->ready) & 2))
			usleep(1000);
	engine->fabric = fabric_open(node);
	config.fabric = engine->fabric;
	MUST(dipc_pages_create(&config, &engine->pages) == 0);
	homes_config.fabric = engine->fabric;
	MUST(dipc_homes_create(&homes_config, &engine->homes) == 0);
	MUST(dipc_spaces_create(engine->loop, &spaces_events, NULL,
				&engine->spaces) == 0);
	for (i = 0; i < MAX_CLIENTS; i++) {
		engine->conn[i].engine = engine;
		engine->conn[i].watch.fd = socks[i];
		engine->conn[i].watch.fn = conn_readable;
		if (nodes[i] == node)
			MUST(dipc_loop_watch(engine->loop,
					     &engine->conn[i].watch,
					     EPOLLIN) == 0);
	}
	dipc_timer_init(&engine->sweep, sweep_due);
	sweep_due(&engine->sweep);
	engine->poller.poll = engine_poll;
	engine->poller.arm = engine_arm;
	dipc_loop_add_poller(engine->loop, &engine->poller);
	MUST(dipc_fiber_spawn(dipc_loop_sched(engine->loop), start_fiber,
			      NULL) == 0);
	MUST(dipc_loop_run(engine->loop) == 0);
	engine_close();
	/* node 1 is the home of others' pages: it leaves last */
	while (node == 1 && atomic_load(&sh->must_end) < 2)
		MUST(dipc_loop_once(engine->loop, DIPC_MSEC) == 0);
	_exit(0);
}
