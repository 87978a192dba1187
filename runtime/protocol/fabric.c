/* SPDX-License-Identifier: BSD-2-Clause */
/* Links: who is connected to whom, the handshake, and what arrives on them. */
#include "runtime/protocol/fabric_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "runtime/base/log.h"

#define HELLO_MAGIC   0x44495043u
#define HELLO_VERSION 1u
#define POLL_BUDGET   64u

struct hello {
	uint32_t magic;
	uint16_t version;
	uint16_t node;
	uint32_t incarnation;
	uint32_t mailbox_rkey;
	uint64_t mailbox_addr;
	uint8_t ticket[DIPC_TICKET_LEN];
};

struct hello_reply {
	uint32_t magic;
	uint16_t version;
	uint16_t node;
	uint32_t mailbox_rkey;
	uint32_t base_rkey;
	uint64_t mailbox_addr;
	uint64_t base_addr; /* the arena; 0 and rkey 0 elsewhere */
	uint64_t generation;
};

static_assert(sizeof(struct hello) == 40, "wire");
static_assert(sizeof(struct hello_reply) == 40, "wire");

/* ---- mailboxes ---------------------------------------------------------- */

static int mailbox_get(struct dipc_fabric *f, unsigned *index_out)
{
	unsigned i;

	for (i = 0; i < f->nr_mailboxes; i++) {
		if (f->mailbox_used[i])
			continue;
		f->mailbox_used[i] = true;
		*index_out = i;
		return 0;
	}
	dipc_error("more than %u connections", f->nr_mailboxes);
	return -ENOSPC;
}

static struct dipc_remote mailbox_remote(const struct dipc_fabric *f,
					 unsigned index)
{
	struct dipc_remote remote = f->mailboxes->remote;

	remote.addr += (uint64_t)index * MAILBOX_LEN;
	return remote;
}

/* ---- links -------------------------------------------------------------- */

static int link_new(struct dipc_fabric *f, unsigned node,
		    struct dipc_link **link_out)
{
	struct dipc_link *link = calloc(1, sizeof(*link));
	int ret;

	if (!link)
		return -ENOMEM;
	ret = mailbox_get(f, &link->mailbox);
	if (ret) {
		free(link);
		return ret;
	}
	link->fabric = f;
	link->node = node;
	link->state = LINK_CONNECTING;
	dipc_list_init(&link->node_entry);
	dipc_list_init(&link->backlog);
	dipc_list_init(&link->pending);
	dipc_waitq_init(&link->opened);
	dipc_waitq_init(&link->slot_free);
	*link_out = link;
	return 0;
}

static void link_free(struct dipc_link *link)
{
	link->fabric->mailbox_used[link->mailbox] = false;
	dipc_list_del(&link->node_entry);
	free(link);
}

/* ---- transport events --------------------------------------------------- */

static int hello_check(struct dipc_fabric *f, const struct hello *hello,
		       size_t len)
{
	if (len < sizeof(*hello) || hello->magic != HELLO_MAGIC ||
	    hello->version != HELLO_VERSION || hello->node > f->max_nodes)
		return -EPROTO;
	if (hello->incarnation <= f->fenced[hello->node])
		return -ESTALE;
	if (!f->is_identified)
		return -EAGAIN;
	return f->events->admit
		       ? f->events->admit(f->arg, hello->node,
					  hello->incarnation, hello->ticket)
		       : 0;
}

static int on_accept(void *arg, struct dipc_conn *conn, const void *data,
		     size_t len, void *reply_buf, size_t *reply_len_out)
{
	struct dipc_fabric *f = arg;
	struct hello_reply reply = {.magic = HELLO_MAGIC,
				    .version = HELLO_VERSION};
	struct dipc_remote mailbox;
	struct dipc_link *link;
	struct hello hello = {0};
	int ret;

	memcpy(&hello, data, len < sizeof(hello) ? len : sizeof(hello));
	ret = hello_check(f, &hello, len);
	if (ret) {
		if (ret != -EAGAIN)
			dipc_warn("refused a connection as node %u: %s",
				  hello.node, strerror(-ret));
		return ret;
	}
	ret = link_new(f, hello.node, &link);
	if (ret)
		return ret;
	link->is_incoming = true;
	link->conn = conn;
	link->incarnation = hello.incarnation;
	link->peer_mailbox.addr = hello.mailbox_addr;
	link->peer_mailbox.rkey = hello.mailbox_rkey;
	dipc_list_add_tail(&f->incoming, &link->node_entry);
	dipc_conn_set_user(conn, link);

	mailbox = mailbox_remote(f, link->mailbox);
	reply.node = (uint16_t)f->node;
	reply.mailbox_addr = mailbox.addr;
	reply.mailbox_rkey = mailbox.rkey;
	reply.generation = f->generation;
	if (f->arena) {
		reply.base_addr = f->arena->remote.addr;
		reply.base_rkey = f->arena->remote.rkey;
	}
	memcpy(reply_buf, &reply, sizeof(reply));
	*reply_len_out = sizeof(reply);
	return 0;
}

static void on_established(void *arg, struct dipc_conn *conn, const void *data,
			   size_t len)
{
	struct dipc_link *link = dipc_conn_user(conn);
	struct hello_reply reply;

	(void)arg;
	if (!link->is_incoming) {
		if (len < sizeof(reply))
			goto err_protocol;
		memcpy(&reply, data, sizeof(reply));
		if (reply.magic != HELLO_MAGIC ||
		    reply.version != HELLO_VERSION || reply.node != link->node)
			goto err_protocol;
		link->peer_mailbox.addr = reply.mailbox_addr;
		link->peer_mailbox.rkey = reply.mailbox_rkey;
		link->base.addr = reply.base_addr;
		link->base.rkey = reply.base_rkey;
		link->generation = reply.generation;
	}
	link->state = LINK_OPEN;
	dipc_waitq_wake_all(&link->opened);
	return;

err_protocol:
	dipc_error("node %u does not speak our protocol", link->node);
	dipc_conn_close(conn);
}

static void on_imm(void *arg, struct dipc_conn *conn, uint32_t imm)
{
	struct dipc_fabric *f = arg;
	struct dipc_link *link = dipc_conn_user(conn);
	uint32_t value = imm & IMM_VALUE;

	switch ((enum imm_kind)(imm >> IMM_SHIFT)) {
	case IMM_REQUEST:
		dipc_link_on_request(link, value);
		return;
	case IMM_ANSWER:
		dipc_link_on_answer(link, value);
		return;
	case IMM_WAKE:
		if (f->events->wake)
			f->events->wake(f->arg, value);
		return;
	case IMM_MEMBERSHIP:
		if (f->events->membership)
			f->events->membership(f->arg);
		return;
	}
	dipc_warn("node %u sent an unknown notice 0x%x", link->node, imm);
}

static void on_closed(void *arg, struct dipc_conn *conn, int reason)
{
	struct dipc_fabric *f = arg;
	struct dipc_link *link = dipc_conn_user(conn);
	bool was_open;
	unsigned node;

	if (!link) /* refused in accept */
		return;
	node = link->node;
	was_open = link->state == LINK_OPEN;
	link->state = LINK_CLOSED;
	link->error = reason;
	link->conn = NULL;
	dipc_link_fail_backlog(link);
	dipc_link_drop_calls(link);
	dipc_waitq_wake_all(&link->opened);
	if (link->is_incoming) {
		link_free(link);
	} else {
		if (f->links[node] == link)
			f->links[node] = NULL;
		dipc_list_add_tail(&f->closed, &link->node_entry);
		f->mailbox_used[link->mailbox] = false;
		link->mailbox = f->nr_mailboxes; /* not ours any more */
	}
	if (was_open && f->events->lost)
		f->events->lost(f->arg, node);
}

static const struct dipc_transport_events transport_events = {
	.accept = on_accept,
	.established = on_established,
	.imm = on_imm,
	.closed = on_closed,
};

/* ---- the loop's side ---------------------------------------------------- */

static void flush_backlogs(struct dipc_fabric *f)
{
	struct dipc_list *pos;
	unsigned i;

	for (i = 0; i <= f->max_nodes; i++)
		if (f->links[i] && f->links[i]->state == LINK_OPEN)
			dipc_link_flush_backlog(f->links[i]);
	dipc_list_for_each (pos, &f->incoming) {
		struct dipc_link *link =
			dipc_container_of(pos, struct dipc_link, node_entry);

		if (link->state == LINK_OPEN)
			dipc_link_flush_backlog(link);
	}
}

static unsigned fabric_poll(struct dipc_poller *poller)
{
	struct dipc_fabric *f =
		dipc_container_of(poller, struct dipc_fabric, poller);
	unsigned nr = dipc_transport_poll(f->transport, POLL_BUDGET);

	if (f->nr_backlogged)
		flush_backlogs(f);
	return nr;
}

static int fabric_arm(struct dipc_poller *poller)
{
	struct dipc_fabric *f =
		dipc_container_of(poller, struct dipc_fabric, poller);

	return dipc_transport_arm(f->transport);
}

static void fabric_readable(struct dipc_watch *watch, uint32_t events)
{
	/* being awake is all that is needed: the poller does the work */
	(void)watch;
	(void)events;
}

/* ---- life --------------------------------------------------------------- */

static void fabric_free(struct dipc_fabric *f)
{
	free(f->links);
	free(f->fenced);
	free(f->mailbox_used);
	free(f);
}

static struct dipc_fabric *fabric_new(unsigned max_nodes)
{
	struct dipc_fabric *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->max_nodes = max_nodes ? max_nodes : DIPC_NODES_MAX;
	f->nr_mailboxes = MAILBOXES_PER_NODE * f->max_nodes;
	f->links = calloc(f->max_nodes + 1, sizeof(*f->links));
	f->fenced = calloc(f->max_nodes + 1, sizeof(*f->fenced));
	f->mailbox_used = calloc(f->nr_mailboxes, sizeof(bool));
	if (f->links && f->fenced && f->mailbox_used)
		return f;
	fabric_free(f);
	return NULL;
}

int dipc_fabric_create(const struct dipc_fabric_config *config,
		       struct dipc_fabric **fabric_out)
{
	struct dipc_fabric *f = fabric_new(config->max_nodes);
	struct dipc_transport_config tc = {
		.kind = config->transport,
		.listen = config->listen,
		.peer_timeout_ms = config->peer_timeout_ms,
		.events = &transport_events,
		.arg = f,
	};
	int ret;

	if (!f)
		return -ENOMEM;
	f->loop = config->loop;
	f->sched = dipc_loop_sched(config->loop);
	f->events = config->events;
	f->arg = config->arg;
	dipc_list_init(&f->incoming);
	dipc_list_init(&f->closed);
	dipc_fabric_init_bufs(f);
	ret = dipc_transport_create(&tc, &f->transport);
	if (ret)
		goto err_fabric;
	ret = dipc_region_create(f->transport, NULL,
				 (size_t)f->nr_mailboxes * MAILBOX_LEN,
				 &f->mailboxes);
	if (ret)
		goto err_transport;
	f->watch.fd = dipc_transport_fd(f->transport);
	f->watch.fn = fabric_readable;
	ret = dipc_loop_watch(f->loop, &f->watch, EPOLLIN);
	if (ret)
		goto err_mailboxes;
	f->poller.poll = fabric_poll;
	f->poller.arm = fabric_arm;
	dipc_loop_add_poller(f->loop, &f->poller);
	*fabric_out = f;
	return 0;

err_mailboxes:
	dipc_region_destroy(f->mailboxes);
err_transport:
	dipc_transport_destroy(f->transport);
err_fabric:
	fabric_free(f);
	return ret;
}

static void links_free(struct dipc_list *head)
{
	struct dipc_list *node;

	while ((node = dipc_list_pop(head)))
		free(dipc_container_of(node, struct dipc_link, node_entry));
}

void dipc_fabric_destroy(struct dipc_fabric *f)
{
	unsigned i;

	if (!f)
		return;
	dipc_loop_del_poller(f->loop, &f->poller);
	dipc_loop_unwatch(f->loop, &f->watch);
	dipc_fabric_fini_bufs(f);
	dipc_region_destroy(f->mailboxes);
	dipc_transport_destroy(f->transport);
	for (i = 0; i <= f->max_nodes; i++)
		free(f->links[i]);
	links_free(&f->incoming);
	links_free(&f->closed);
	fabric_free(f);
}

struct dipc_sched *dipc_fabric_sched(struct dipc_fabric *f)
{
	return f->sched;
}

struct dipc_loop *dipc_fabric_loop(struct dipc_fabric *f)
{
	return f->loop;
}

struct dipc_transport *dipc_fabric_transport(struct dipc_fabric *f)
{
	return f->transport;
}

uint64_t dipc_fabric_now(struct dipc_fabric *f)
{
	return dipc_sched_now(f->sched);
}

int64_t dipc_fabric_wall(struct dipc_fabric *f)
{
	struct dipc_clock *clock = dipc_sched_clock(f->sched);

	return clock->wall_s(clock);
}

unsigned dipc_fabric_node(const struct dipc_fabric *f)
{
	return f->node;
}

uint32_t dipc_fabric_incarnation(const struct dipc_fabric *f)
{
	return f->incarnation;
}

const struct dipc_fabric_counters *
dipc_fabric_counters(const struct dipc_fabric *f)
{
	return &f->counters;
}

void dipc_fabric_identify(struct dipc_fabric *f, unsigned node,
			  uint32_t incarnation,
			  const uint8_t ticket[DIPC_TICKET_LEN])
{
	f->node = node;
	f->incarnation = incarnation;
	memcpy(f->ticket, ticket, sizeof(f->ticket));
	f->is_identified = true;
}

void dipc_fabric_serve_arena(struct dipc_fabric *f, struct dipc_region *arena,
			     uint64_t generation)
{
	f->arena = arena;
	f->generation = generation;
}

/* ---- opening ------------------------------------------------------------ */

/* Fiber. The link is in f->links[node] from the start of connecting. */
static int link_open(struct dipc_fabric *f, unsigned node, const char *address,
		     struct dipc_link **link_out)
{
	struct hello hello = {.magic = HELLO_MAGIC,
			      .version = HELLO_VERSION,
			      .node = (uint16_t)f->node,
			      .incarnation = f->incarnation};
	struct dipc_remote mailbox;
	struct dipc_link *link;
	int ret;

	ret = link_new(f, node, &link);
	if (ret)
		return ret;
	mailbox = mailbox_remote(f, link->mailbox);
	hello.mailbox_addr = mailbox.addr;
	hello.mailbox_rkey = mailbox.rkey;
	memcpy(hello.ticket, f->ticket, sizeof(hello.ticket));
	ret = dipc_conn_connect(f->transport, address, &hello, sizeof(hello),
				&link->conn);
	if (ret) {
		link_free(link);
		return ret;
	}
	dipc_conn_set_user(link->conn, link);
	f->links[node] = link;
	*link_out = link;
	return 0;
}

/* Fiber. Until LINK is open or closed. */
static int link_await(struct dipc_link *link)
{
	while (link->state == LINK_CONNECTING)
		(void)dipc_waitq_wait(&link->opened, DIPC_NEVER);
	if (link->state == LINK_OPEN)
		return 0;
	return link->error ? link->error : -ENOLINK;
}

int dipc_fabric_open_arena(struct dipc_fabric *f, const char *address)
{
	struct dipc_link *link;
	int ret;

	ret = link_open(f, DIPC_REFEREE, address, &link);
	if (ret)
		return ret;
	ret = link_await(link);
	if (ret)
		return ret;
	ret = dipc_arena_read(f, 0, &f->super, sizeof(f->super));
	if (ret)
		return ret;
	if (f->super.magic != DIPC_ARENA_MAGIC ||
	    f->super.version != DIPC_ARENA_VERSION) {
		dipc_error("the referee's arena is of another version");
		return -EPROTO;
	}
	return 0;
}

struct dipc_link *dipc_fabric_arena(struct dipc_fabric *f)
{
	return f->links[DIPC_REFEREE];
}

const struct dipc_arena_super *dipc_fabric_super(struct dipc_fabric *f)
{
	return &f->super;
}

unsigned dipc_link_node(const struct dipc_link *link)
{
	return link->node;
}

int dipc_fabric_link(struct dipc_fabric *f, unsigned node,
		     struct dipc_link **link_out)
{
	struct dipc_arena_node entry;
	struct dipc_link *link;
	int ret;

	if (node > f->max_nodes)
		return -ENOLINK;
	link = f->links[node];
	if (!link) {
		ret = dipc_arena_read(
			f, f->super.nodes_off + (uint64_t)node * sizeof(entry),
			&entry, sizeof(entry));
		if (ret)
			return -ENOLINK;
		link = f->links[node]; /* another fiber was quicker? */
	}
	if (!link) {
		if (entry.state >> 32 != DIPC_NODE_ALIVE ||
		    (uint32_t)entry.state <= f->fenced[node])
			return -ENOLINK;
		entry.address[sizeof(entry.address) - 1] = '\0';
		ret = link_open(f, node, entry.address, &link);
		if (ret)
			return -ENOLINK;
		link->incarnation = (uint32_t)entry.state;
	}
	if (link_await(link))
		return -ENOLINK;
	*link_out = link;
	return 0;
}

/* ---- notices ------------------------------------------------------------ */

/* Any open connection with NODE, whoever opened it. */
static struct dipc_link *link_any(struct dipc_fabric *f, unsigned node)
{
	struct dipc_list *pos;

	if (f->links[node] && f->links[node]->state == LINK_OPEN)
		return f->links[node];
	dipc_list_for_each (pos, &f->incoming) {
		struct dipc_link *link =
			dipc_container_of(pos, struct dipc_link, node_entry);

		if (link->node == node && link->state == LINK_OPEN)
			return link;
	}
	return NULL;
}

static void link_notify(struct dipc_link *link, enum imm_kind kind,
			uint32_t value)
{
	/* a hint may be lost */
	(void)dipc_link_send_imm(link, (uint32_t)kind << IMM_SHIFT | value,
				 link->peer_mailbox, NULL, 0);
}

struct wake_job {
	struct dipc_fabric *fabric;
	unsigned node;
	uint32_t index;
};

static void wake_fiber(void *arg)
{
	struct wake_job *job = arg;
	struct dipc_link *link;

	if (dipc_fabric_link(job->fabric, job->node, &link) == 0)
		link_notify(link, IMM_WAKE, job->index);
	free(job);
}

void dipc_fabric_wake(struct dipc_fabric *f, unsigned node, uint32_t index)
{
	struct dipc_link *link;
	struct wake_job *job;

	if (node > f->max_nodes)
		return;
	if (node == f->node && f->events->wake) {
		f->events->wake(f->arg, index);
		return;
	}
	link = link_any(f, node);
	if (link) {
		link_notify(link, IMM_WAKE, index);
		return;
	}
	job = malloc(sizeof(*job));
	if (!job)
		return;
	job->fabric = f;
	job->node = node;
	job->index = index;
	if (dipc_fiber_spawn(f->sched, wake_fiber, job))
		free(job);
}

void dipc_fabric_hint_membership(struct dipc_fabric *f)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &f->incoming) {
		struct dipc_link *link =
			dipc_container_of(pos, struct dipc_link, node_entry);

		if (link->state == LINK_OPEN && link->node != f->node)
			link_notify(link, IMM_MEMBERSHIP, 0);
	}
}

void dipc_fabric_hint_reap(struct dipc_fabric *f, uint32_t object)
{
	struct dipc_link *link = f->links[DIPC_REFEREE];

	if (link && link->state == LINK_OPEN)
		link_notify(link, IMM_WAKE, object & IMM_VALUE);
}

void dipc_fabric_fence(struct dipc_fabric *f, unsigned node,
		       uint32_t incarnation)
{
	struct dipc_list *pos;

	if (node > f->max_nodes)
		return;
	if (incarnation > f->fenced[node])
		f->fenced[node] = incarnation;
	if (f->links[node] && f->links[node]->conn &&
	    f->links[node]->incarnation <= incarnation)
		dipc_conn_close(f->links[node]->conn);
	dipc_list_for_each (pos, &f->incoming) {
		struct dipc_link *link =
			dipc_container_of(pos, struct dipc_link, node_entry);

		if (link->node == node && link->incarnation <= incarnation)
			dipc_conn_close(link->conn);
	}
}

bool dipc_fabric_is_fenced(const struct dipc_fabric *f, unsigned node,
			   uint32_t incarnation)
{
	const struct dipc_list *pos;

	if (node > f->max_nodes)
		return true;
	if (f->links[node] && f->links[node]->conn &&
	    f->links[node]->incarnation <= incarnation)
		return false;
	dipc_list_for_each (pos, &f->incoming) {
		const struct dipc_link *link = dipc_container_of(
			pos, const struct dipc_link, node_entry);

		if (link->node == node && link->incarnation <= incarnation)
			return false;
	}
	return f->fenced[node] >= incarnation;
}

bool dipc_incoming_is_alone(const struct dipc_incoming *in)
{
	struct dipc_list *pos;
	bool is_alone = true, is_newer = false;

	if (!in->link)
		return false;
	dipc_list_for_each (pos, &in->link->fabric->incoming) {
		struct dipc_link *link =
			dipc_container_of(pos, struct dipc_link, node_entry);

		/* in the order in which they came */
		is_newer |= link == in->link;
		if (link == in->link || link->node != in->from)
			continue;
		is_alone = false;
		/* its sender has given up the link that IN came by */
		if (!is_newer)
			dipc_conn_close(link->conn);
	}
	return is_alone;
}
