/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine's life: join the cluster, serve, beat, follow the membership,
 * leave.
 */
#include "runtime/node/node.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/log.h"
#include "runtime/base/ticket.h"
#include "runtime/node/client.h"
#include "runtime/node/job_futex.h"
#include "runtime/node/keeper.h"
#include "runtime/node/owner.h"
#include "runtime/node/segments.h"

#define SECOND_BEATS_MIN 1u
#define PULSE_NS         DIPC_SEC

/* ---- what arrives from other nodes -------------------------------------- */

static void on_request(void *arg, struct dipc_incoming *in)
{
	struct dipc_node *node = arg;
	struct dipc_answer answer = {.status = -EPROTO};

	switch (in->request.type) {
	case DIPC_REQ_INVALIDATE:
	case DIPC_REQ_RECALL:
	case DIPC_REQ_RECALL_RUN:
		if (!node->segments)
			break;
		dipc_pages_request(dipc_segments_pages(node->segments), in);
		return;
	case DIPC_REQ_CHUNK:
		if (!node->segments)
			break;
		dipc_homes_request(dipc_segments_homes(node->segments), in);
		return;
	case DIPC_REQ_FORGET:
		if (!node->segments)
			break;
		dipc_homes_forget(dipc_segments_homes(node->segments), in);
		return;
	case DIPC_REQ_FUTEX_WAIT:
	case DIPC_REQ_FUTEX_WITHDRAW:
	case DIPC_REQ_FUTEX_WAKE:
	case DIPC_REQ_FUTEX_WOKEN:
		if (!node->futexes)
			break;
		dipc_futexes_request(node->futexes, in);
		return;
	case DIPC_REQ_OWNER:
		answer.status = dipc_owner_is_here(node, in->request.arg[0]);
		break;
	case DIPC_REQ_SEM_FORGET:
	case DIPC_REQ_SEM_CLEAR:
	case DIPC_REQ_SEM_REMOVED:
		if (node->sems) {
			dipc_sems_request(node->sems, in);
			return;
		}
		answer.status = 0; /* nothing is known here yet */
		break;
	case DIPC_REQ_PING:
		answer.status = 0;
		break;
	}
	dipc_incoming_answer(in, &answer);
}

static void on_wake(void *arg, uint32_t index)
{
	struct dipc_node *node = arg;

	if (node->waiters)
		dipc_waiters_hint(node->waiters, index);
}

static int on_admit(void *arg, unsigned other, uint32_t incarnation,
		    const uint8_t ticket[DIPC_TICKET_LEN])
{
	struct dipc_node *node = arg;

	return dipc_ticket_is_valid(node->secret, other, incarnation, ticket)
		       ? 0
		       : -EACCES;
}

static void on_lost(void *arg, unsigned other)
{
	struct dipc_node *node = arg;

	if (node->is_stopping)
		return;
	if (other == DIPC_REFEREE) {
		dipc_error("the referee's memory is out of reach: this node "
			   "stops, its processes get ENOLINK and SIGBUS");
		dipc_node_stop(node, 1);
		return;
	}
	if (node->segments)
		dipc_pages_lost(dipc_segments_pages(node->segments), other);
	if (node->futexes)
		dipc_futexes_lost(node->futexes, other);
	if (node->waiters)
		dipc_waiters_hint(node->waiters, UINT32_MAX);
}

/* ---- membership --------------------------------------------------------- */

/* Node I was alive as we knew it and is not any more, or is another. */
static bool member_has_gone(uint64_t was, uint64_t is)
{
	return was >> 32 == DIPC_NODE_ALIVE && was != is;
}

static int members_read(struct dipc_node *node,
			uint64_t states[DIPC_NODES_MAX + 1])
{
	struct dipc_fabric *f = node->fabric;
	struct dipc_link *link = dipc_fabric_arena(f);
	size_t len = (DIPC_NODES_MAX + 1) * sizeof(struct dipc_arena_node);
	const struct dipc_arena_node *table;
	struct dipc_tx tx;
	unsigned i;
	int ret;

	ret = dipc_tx_begin(&tx, link, len);
	if (ret)
		return ret;
	table = dipc_tx_read(
		&tx, dipc_tx_at(link, dipc_fabric_super(f)->nodes_off), len);
	ret = dipc_tx_run(&tx);
	for (i = 0; ret == 0 && i <= DIPC_NODES_MAX; i++)
		states[i] = table[i].state;
	dipc_tx_end(&tx);
	return ret;
}

/*
 * Fence first, recover afterwards: what is still on its way of OTHER must have
 * landed before its traces are taken away. A late FAA on a word where its bit
 * is cleared by then would borrow from its neighbours'. Fiber.
 */
static void member_bury(struct dipc_node *node, unsigned other, uint64_t was)
{
	dipc_info("node %u is gone", other);
	dipc_fabric_fence(node->fabric, other, (uint32_t)was);
	while (!dipc_fabric_is_fenced(node->fabric, other, (uint32_t)was))
		dipc_fiber_sleep(50 * DIPC_USEC);
	dipc_pages_lost(dipc_segments_pages(node->segments), other);
	dipc_futexes_lost(node->futexes, other);
	dipc_futexes_evict(node->futexes, other);
	(void)dipc_homes_evict(dipc_segments_homes(node->segments), other);
}

static void on_membership(void *arg);

static void membership_fiber(void *arg)
{
	struct dipc_node *node = arg;
	uint64_t states[DIPC_NODES_MAX + 1];
	unsigned i, self = dipc_fabric_node(node->fabric);

	if (members_read(node, states) == 0) {
		for (i = 1; i <= DIPC_NODES_MAX; i++) {
			uint64_t was = node->known[i];

			node->known[i] = states[i];
			if (!member_has_gone(was, states[i]))
				continue;
			if (i == self) {
				dipc_error("the referee has evicted this node");
				dipc_node_stop(node, 1);
				break;
			}
			member_bury(node, i, was);
		}
	}
	node->is_checking = false;
	dipc_waiters_hint(node->waiters, UINT32_MAX);
	if (node->must_check) {
		node->must_check = false;
		on_membership(node);
	}
}

static void on_membership(void *arg)
{
	struct dipc_node *node = arg;

	if (!node->is_serving)
		return; /* read in whole before serving */
	if (node->is_checking) {
		node->must_check = true;
		return;
	}
	node->is_checking = true;
	if (dipc_fiber_spawn(dipc_loop_sched(node->loop), membership_fiber,
			     node))
		node->is_checking = false;
}

int dipc_node_await_fenced(struct dipc_node *node, unsigned other)
{
	uint64_t was = node->known[other];
	unsigned tries;

	for (tries = 0; tries < 100; tries++) {
		uint64_t states[DIPC_NODES_MAX + 1];
		struct dipc_link *link;
		int ret = members_read(node, states);

		if (ret)
			return ret;
		if (states[other] >> 32 != DIPC_NODE_ALIVE ||
		    (was && states[other] != was)) {
			dipc_fabric_fence(node->fabric, other, (uint32_t)was);
			return 0;
		}
		if (dipc_fabric_link(node->fabric, other, &link) == 0)
			return -EAGAIN;
		dipc_fiber_sleep(50 * DIPC_MSEC);
	}
	return -EAGAIN;
}

static const struct dipc_fabric_events fabric_events = {
	.request = on_request,
	.wake = on_wake,
	.membership = on_membership,
	.lost = on_lost,
	.admit = on_admit,
};

/* ---- beating ------------------------------------------------------------ */

/* For the keeper: this loop turns, whatever the network does. */
static void pulse(struct dipc_timer *timer)
{
	struct dipc_node *node =
		dipc_container_of(timer, struct dipc_node, pulse);
	struct dipc_sched *sched = dipc_loop_sched(node->loop);

	atomic_fetch_add_explicit(&node->page->heartbeat, 1,
				  memory_order_relaxed);
	dipc_timer_set(sched, timer, dipc_sched_now(sched) + PULSE_NS);
}

/* One RDMA WRITE says that we live; the same doorbell looks at the epoch. */
static int beat(struct dipc_node *node)
{
	struct dipc_fabric *f = node->fabric;
	const struct dipc_arena_super *super = dipc_fabric_super(f);
	struct dipc_link *link = dipc_fabric_arena(f);
	uint64_t off =
		super->nodes_off +
		(uint64_t)dipc_fabric_node(f) * sizeof(struct dipc_arena_node) +
		offsetof(struct dipc_arena_node, heartbeat);
	const uint64_t *epoch;
	struct dipc_tx tx;
	int ret;

	node->heartbeat++;
	ret = dipc_tx_begin(&tx, link, 64);
	if (ret)
		return ret;
	dipc_tx_write(&tx, dipc_tx_at(link, off), &node->heartbeat,
		      sizeof(node->heartbeat));
	epoch = dipc_tx_read(
		&tx, dipc_tx_at(link, offsetof(struct dipc_arena_super, epoch)),
		sizeof(*epoch));
	ret = dipc_tx_run(&tx);
	if (ret == 0 && *epoch != node->epoch) {
		node->epoch = *epoch;
		on_membership(node);
	}
	dipc_tx_end(&tx);
	return ret;
}

static void beat_fiber(void *arg)
{
	struct dipc_node *node = arg;
	uint64_t period = node->heartbeat_ms * DIPC_MSEC;
	unsigned beats = 0, beats_a_second;

	beats_a_second = 1000 / (node->heartbeat_ms ? node->heartbeat_ms : 1);
	if (beats_a_second < SECOND_BEATS_MIN)
		beats_a_second = SECOND_BEATS_MIN;
	while (!node->is_stopping) {
		if (beat(node))
			break; /* on_lost() says the rest */
		if (++beats % beats_a_second == 0) {
			dipc_spaces_sweep(dipc_segments_spaces(node->segments));
			/* who may have died must be fenced first */
			if (!node->is_checking)
				dipc_homes_reap(
					dipc_segments_homes(node->segments));
		}
		dipc_fiber_sleep(period);
	}
}

void dipc_node_process_gone(struct dipc_node *node, uint32_t pid)
{
	(void)pid;
	if (node->segments && !node->is_stopping)
		dipc_spaces_sweep(dipc_segments_spaces(node->segments));
}

/* ---- joining ------------------------------------------------------------ */

static void on_lookup_lost(void *arg, int reason)
{
	struct dipc_node *node = arg;

	if (node->is_stopping)
		return;
	dipc_error("the referee at %s closed the session (%s): this node "
		   "stops",
		   node->conf->referee, strerror(-reason));
	dipc_node_stop(node, 1);
}

static int node_join(struct dipc_node *node, char arena_address[128])
{
	struct dipc_lookup_join join = {.node = node->conf->node};
	struct dipc_lookup_joined joined;
	int ret;

	ret = dipc_lookup_connect(node->loop, node->conf, on_lookup_lost, node,
				  &node->lookup);
	if (ret)
		return ret;
	strncpy(join.transport, node->conf->transport,
		sizeof(join.transport) - 1);
	strncpy(join.address,
		dipc_transport_address(dipc_fabric_transport(node->fabric)),
		sizeof(join.address) - 1);
	gethostname(join.name, sizeof(join.name) - 1);
	ret = dipc_lookup_join(node->lookup, &join, &joined);
	if (ret == 0)
		ret = joined.status;
	if (ret) {
		dipc_error("the referee at %s does not let us join as node "
			   "%u: %s",
			   node->conf->referee, join.node, strerror(-ret));
		return ret;
	}
	memcpy(node->secret, joined.secret, sizeof(node->secret));
	node->incarnation = joined.incarnation;
	node->heartbeat_ms = joined.heartbeat_ms ? joined.heartbeat_ms : 200;
	memcpy(arena_address, joined.arena_address, 128);
	arena_address[127] = '\0';
	dipc_fabric_identify(node->fabric, joined.node, joined.incarnation,
			     joined.ticket);
	return 0;
}

static int node_open_services(struct dipc_node *node)
{
	int ret;

	ret = dipc_waiters_create(node->fabric, &node->waiters);
	if (ret)
		return ret;
	ret = dipc_sems_create(node->fabric, node->waiters, &node->sems);
	if (ret)
		return ret;
	ret = dipc_msgs_create(node->fabric, node->waiters, &node->msgs);
	if (ret)
		return ret;
	ret = dipc_futexes_create(node->fabric, dipc_job_futex_may_take,
				  &node->futexes);
	if (ret)
		return ret;
	ret = dipc_segments_create(node);
	if (ret)
		return ret;
	ret = members_read(node, node->known);
	if (ret)
		return ret;
	return dipc_clients_listen(node);
}

static void start_fiber(void *arg)
{
	struct dipc_node *node = arg;
	char arena_address[128];
	int ret;

	ret = node_join(node, arena_address);
	if (ret)
		goto err_stop;
	ret = dipc_fabric_open_arena(node->fabric, arena_address);
	if (ret) {
		dipc_error("cannot reach the referee's memory at %s over %s: "
			   "%s",
			   arena_address, node->conf->transport,
			   strerror(-ret));
		goto err_stop;
	}
	ret = node_open_services(node);
	if (ret)
		goto err_stop;
	ret = dipc_fiber_spawn(dipc_loop_sched(node->loop), beat_fiber, node);
	if (ret)
		goto err_stop;
	node->is_serving = true;
	dipc_info("node %u serves on %s", dipc_fabric_node(node->fabric),
		  node->conf->socket);
	if (node->ready_fd >= 0 && write(node->ready_fd, "ready\n", 6) < 0)
		dipc_warn("nobody waits for us to be ready");
	return;

err_stop:
	dipc_node_stop(node, 1);
}

/* ---- leaving ------------------------------------------------------------ */

static void leave_fiber(void *arg)
{
	struct dipc_node *node = arg;

	dipc_clients_close(node);
	if (node->segments)
		dipc_segments_drain(node);
	if (node->msgs)
		dipc_msgs_flush(node->msgs);
	if (node->lookup)
		(void)dipc_lookup_leave(node->lookup);
	dipc_loop_stop(node->loop);
}

void dipc_node_stop(struct dipc_node *node, int status)
{
	if (node->is_stopping)
		return;
	node->is_stopping = true;
	node->status = status;
	if (status && node->segments)
		dipc_pages_kill(dipc_segments_pages(node->segments));
	/* an orderly leave needs the cluster; without it, just go: the keeper
	   ends what is left, and the socket stays to say so */
	if (status == 0 && node->is_serving &&
	    dipc_fiber_spawn(dipc_loop_sched(node->loop), leave_fiber, node) ==
		    0)
		return;
	dipc_loop_stop(node->loop);
}

static void signals_readable(struct dipc_watch *watch, uint32_t events)
{
	struct dipc_node *node =
		dipc_container_of(watch, struct dipc_node, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) == sizeof(info))
		dipc_node_stop(node, 0);
}

/* ---- setting up --------------------------------------------------------- */

static int node_open_page(struct dipc_node *node)
{
	int fd = memfd_create("dipc-engine", MFD_CLOEXEC);
	struct dipc_engine_page *page;
	char path[64];
	int ret;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, 4096)) {
		ret = -errno;
		goto err_fd;
	}
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED) {
		ret = -errno;
		goto err_fd;
	}
	node->page = page;
	page->magic = DIPC_LOCAL_MAGIC;
	page->version = DIPC_LOCAL_VERSION;
	/* with one processor, spinning keeps the engine from running */
	atomic_store(&page->spin_ns, sysconf(_SC_NPROCESSORS_ONLN) > 1
					     ? node->conf->spin_us * 1000u
					     : 0u);
	/* clients get a descriptor that cannot be written, nor reopened so */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	node->page_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (node->page_fd < 0 || fchmod(fd, 0600)) {
		ret = -errno;
		goto err_fd;
	}
	close(fd);
	if (node->keeper >= 0)
		dipc_keeper_add(node->keeper, DIPC_KEEP_PAGE, 0, node->page_fd);
	return 0;

err_fd:
	close(fd);
	return ret;
}

static int node_open_signals(struct dipc_node *node)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signal(SIGPIPE, SIG_IGN);
	node->signals.fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (node->signals.fd < 0)
		return -errno;
	node->signals.fn = signals_readable;
	return dipc_loop_watch(node->loop, &node->signals, EPOLLIN);
}

static int node_open(struct dipc_node *node)
{
	struct dipc_fabric_config fc = {
		.loop = node->loop,
		.transport = node->conf->transport,
		.listen = node->conf->address,
		.peer_timeout_ms = node->conf->peer_timeout_ms,
		.events = &fabric_events,
		.arg = node,
	};
	int ret;

	node->uffd_dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	ret = node_open_page(node);
	if (ret)
		return ret;
	ret = node_open_signals(node);
	if (ret)
		return ret;
	ret = dipc_processes_open(node);
	if (ret)
		return ret;
	return dipc_fabric_create(&fc, &node->fabric);
}

int dipc_node_run(const struct dipc_config *conf, int keeper, int ready_fd)
{
	struct dipc_node *node = calloc(1, sizeof(*node));
	int ret;

	if (!node)
		return 1;
	node->conf = conf;
	node->keeper = keeper;
	node->ready_fd = ready_fd;
	node->listener.fd = -1;
	node->by_name.fd = -1;
	dipc_list_init(&node->clients);
	dipc_list_init(&node->processes);
	ret = dipc_loop_create(dipc_clock_system(), conf->spin_us * DIPC_USEC,
			       &node->loop);
	if (ret)
		return 1;
	ret = node_open(node);
	if (ret == 0) {
		dipc_timer_init(&node->pulse, pulse);
		pulse(&node->pulse);
	}
	if (ret == 0)
		ret = dipc_fiber_spawn(dipc_loop_sched(node->loop), start_fiber,
				       node);
	if (ret)
		return 1; /* the cause is logged; the process ends */
	ret = dipc_loop_run(node->loop);
	/*
	 * The process ends here and the kernel frees what it holds: fibers may
	 * still be parked in calls that will never return.
	 */
	return ret ? 1 : node->status;
}
