/* SPDX-License-Identifier: BSD-2-Clause */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/log.h"
#include "sim_peer.h"

#define PATIENCE_MS 15000u
#define PEERS_MAX   8

extern char **environ;

struct ct_backend ct_backend;

static struct dipc_list nodes = DIPC_LIST_INIT(nodes);
static pid_t peers[PEERS_MAX]; /* alive, ours to kill */
static unsigned next_address;
static unsigned log_before;
static bool is_log_expected;
static unsigned next_serial;
static unsigned nr_fds; /* open between tests; 0: not known yet */

/* ---- time --------------------------------------------------------------- */

unsigned ct_slow(void)
{
	const char *s = getenv("DIPC_TEST_SLOW");
	int slow = s ? atoi(s) : 1;

	return slow < 1 ? 1 : (unsigned)slow;
}

unsigned ct_scaled(unsigned count)
{
	count /= ct_slow();
	return count ? count : 1;
}

uint64_t ct_now_ms(void)
{
	struct timespec ts;

	if (ct_backend.is_sim)
		return ct_sim_now_ms();
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t ct_deadline(void)
{
	return ct_now_ms() + (uint64_t)PATIENCE_MS * ct_slow();
}

/* The nodes of this process, or of the actor that runs in it. */
static struct dipc_list *nodes_here(void)
{
	return ct_backend.is_sim ? ct_sim_nodes(&nodes) : &nodes;
}

unsigned ct_poll(void)
{
	struct dipc_list *pos, *here = nodes_here();
	unsigned n = 0;

	dipc_list_for_each (pos, here) {
		struct ct_node *node =
			dipc_container_of(pos, struct ct_node, node);

		n += dipc_transport_poll(node->t, 64);
	}
	if (ct_backend.is_sim)
		ct_sim_pass();
	return n;
}

void ct_poll_for(unsigned ms)
{
	uint64_t until = ct_now_ms() + ms;

	while (ct_now_ms() < until)
		ct_poll();
}

void ct_sleep(unsigned ms)
{
	struct pollfd fds[16];
	struct dipc_list *pos;
	nfds_t nr = 0;

	if (ct_backend.is_sim) {
		ct_sim_pass();
		return;
	}
	dipc_list_for_each (pos, &nodes) {
		struct ct_node *node =
			dipc_container_of(pos, struct ct_node, node);

		if (dipc_transport_arm(node->t))
			return;
		assert_true(nr < 16);
		fds[nr].fd = dipc_transport_fd(node->t);
		fds[nr++].events = POLLIN;
	}
	assert_true(poll(fds, nr, (int)(ms * ct_slow())) >= 0);
}

int ct_fd_wait(struct ct_node *node, unsigned ms)
{
	struct pollfd fd = {.fd = dipc_transport_fd(node->t), .events = POLLIN};
	uint64_t until = ct_now_ms() + ms;
	int n;

	if (!ct_backend.is_sim)
		return poll(&fd, 1, (int)ms);
	while (!(n = poll(&fd, 1, 0)) && ct_now_ms() < until)
		ct_sim_step();
	return n;
}

void ct_pause(unsigned us)
{
	if (ct_backend.is_sim)
		ct_sim_pause(us);
	else
		usleep(us);
}

/* ---- events ------------------------------------------------------------- */

static struct ct_link *link_create(struct ct_node *owner)
{
	struct ct_link *link = calloc(1, sizeof(*link));

	assert_non_null(link);
	link->owner = owner;
	dipc_list_add_tail(&owner->links, &link->node);
	return link;
}

void ct_link_free(struct ct_link *link)
{
	dipc_list_del(&link->node);
	free(link);
}

static void link_take_hello(struct ct_link *link, const void *hello, size_t len)
{
	struct ct_hello h;

	assert_true(len <= sizeof(link->hello));
	if (len)
		memcpy(link->hello, hello, len);
	link->hello_len = len;
	if (len < sizeof(h))
		return;
	memcpy(&h, hello, sizeof(h));
	link->remote.addr = h.addr;
	link->remote.rkey = h.rkey;
}

static void hello_fill(struct ct_hello *h, const struct ct_node *node,
		       const char *note)
{
	memset(h, 0, sizeof(*h));
	h->addr = node->mem->remote.addr;
	h->rkey = node->mem->remote.rkey;
	snprintf(h->note, sizeof(h->note), "%s", note);
}

static int on_accept(void *arg, struct dipc_conn *conn, const void *hello,
		     size_t hello_len, void *reply, size_t *reply_len_out)
{
	struct ct_node *node = arg;
	struct ct_link *link;
	struct ct_hello h;

	if (node->refuse)
		return node->refuse;
	assert_null(dipc_conn_user(conn));
	link = link_create(node);
	link->conn = conn;
	link->is_acceptor = true;
	link_take_hello(link, hello, hello_len);
	dipc_conn_set_user(conn, link);
	node->newest = link;
	if (node->reply) {
		memcpy(reply, node->reply, node->reply_len);
		*reply_len_out = node->reply_len;
		return 0;
	}
	hello_fill(&h, node, "reply");
	memcpy(reply, &h, sizeof(h));
	*reply_len_out = sizeof(h);
	return 0;
}

static void on_established(void *arg, struct dipc_conn *conn, const void *reply,
			   size_t reply_len)
{
	struct ct_link *link = dipc_conn_user(conn);

	(void)arg;
	assert_non_null(link);
	assert_ptr_equal(link->conn, conn);
	assert_int_equal(link->nr_closed, 0);
	link->nr_established++;
	if (link->is_acceptor)
		assert_null(reply);
	else
		link_take_hello(link, reply, reply_len);
}

static void on_imm(void *arg, struct dipc_conn *conn, uint32_t imm)
{
	struct ct_node *node = arg;
	struct ct_link *link = dipc_conn_user(conn);

	assert_int_equal(link->nr_established, 1);
	assert_int_equal(link->nr_closed, 0);
	link->nr_imm++;
	link->last_imm = imm;
	if (node->on_imm)
		node->on_imm(link, imm);
}

static void on_closed(void *arg, struct dipc_conn *conn, int reason)
{
	struct ct_link *link = dipc_conn_user(conn);

	(void)arg;
	assert_int_equal(link->nr_closed, 0);
	assert_int_equal(link->nr_outstanding, 0);
	link->nr_closed++;
	link->reason = reason;
	link->conn = NULL;
}

static const struct dipc_transport_events events = {
	.accept = on_accept,
	.established = on_established,
	.imm = on_imm,
	.closed = on_closed,
};

/* ---- nodes and links ---------------------------------------------------- */

void ct_new_address(char *buf)
{
	if (ct_backend.address)
		snprintf(buf, 128, "%s", ct_backend.address);
	else
		snprintf(buf, 128, "%s/%d.%u", ct_backend.dir, (int)getpid(),
			 next_address++);
}

int ct_node_try(const char *address, struct ct_node **node_out)
{
	struct dipc_transport_config config = {
		.kind = ct_backend.kind,
		.listen = address,
		.peer_timeout_ms = 1000 * ct_slow(),
		.events = &events,
	};
	struct ct_node *node = calloc(1, sizeof(*node));
	char fresh[128];
	int ret;

	assert_non_null(node);
	dipc_list_init(&node->links);
	config.arg = node;
	if (!address) {
		ct_new_address(fresh);
		config.listen = fresh;
	}
	ret = dipc_transport_create(&config, &node->t);
	if (ret) {
		free(node);
		return ret;
	}
	ret = dipc_region_create(node->t, NULL, CT_MEM, &node->mem);
	assert_int_equal(ret, 0);
	dipc_list_add_tail(nodes_here(), &node->node);
	*node_out = node;
	return 0;
}

struct ct_node *ct_node_create(void)
{
	struct ct_node *node;

	assert_int_equal(ct_node_try(NULL, &node), 0);
	return node;
}

void ct_node_destroy(struct ct_node *node)
{
	struct dipc_list *pos;

	dipc_list_del(&node->node);
	dipc_region_destroy(node->mem);
	dipc_transport_destroy(node->t);
	while ((pos = dipc_list_pop(&node->links)))
		free(dipc_container_of(pos, struct ct_link, node));
	free(node);
}

struct ct_link *ct_connect(struct ct_node *a, const char *address,
			   const char *note)
{
	struct ct_link *link = link_create(a);
	struct ct_hello h;
	int ret;

	hello_fill(&h, a, note);
	ret = dipc_conn_connect(a->t, address, &h, sizeof(h), &link->conn);
	if (ret) {
		/* A failure that shows at once reads like a late one. */
		link->conn = NULL;
		link->nr_closed = 1;
		link->reason = ret;
		return link;
	}
	dipc_conn_set_user(link->conn, link);
	return link;
}

struct ct_link *ct_connect_to(struct ct_node *a, struct ct_node *b,
			      struct ct_link **ba_out)
{
	struct ct_link *ab;

	b->newest = NULL;
	ab = ct_connect(a, dipc_transport_address(b->t), "pair");
	CT_WAIT(ab->nr_established || ab->nr_closed);
	if (ab->nr_closed)
		fail_msg("connect: %s", strerror(-ab->reason));
	CT_WAIT(b->newest && b->newest->nr_established);
	*ba_out = b->newest;
	return ab;
}

/* ---- operations --------------------------------------------------------- */

uint64_t *ct_word(struct ct_node *node, size_t offset)
{
	return (uint64_t *)(void *)(node->mem->base + offset);
}

struct dipc_remote ct_at(const struct ct_link *link, uint64_t offset)
{
	struct dipc_remote r = link->remote;

	r.addr += offset;
	return r;
}

static struct dipc_wr wr_make(struct ct_link *link, enum dipc_wr_op op,
			      size_t local, size_t remote)
{
	return (struct dipc_wr){
		.op = op,
		.local = link->owner->mem->base + local,
		.region = link->owner->mem,
		.remote = ct_at(link, remote),
	};
}

struct dipc_wr ct_write(struct ct_link *link, size_t local, size_t remote,
			uint32_t len)
{
	struct dipc_wr wr = wr_make(link, DIPC_WR_WRITE, local, remote);

	wr.len = len;
	return wr;
}

struct dipc_wr ct_read(struct ct_link *link, size_t local, size_t remote,
		       uint32_t len)
{
	struct dipc_wr wr = wr_make(link, DIPC_WR_READ, local, remote);

	wr.len = len;
	return wr;
}

struct dipc_wr ct_write_imm(struct ct_link *link, size_t local, size_t remote,
			    uint32_t len, uint32_t imm)
{
	struct dipc_wr wr = wr_make(link, DIPC_WR_WRITE_IMM, local, remote);

	wr.len = len;
	wr.imm = imm;
	return wr;
}

struct dipc_wr ct_imm(uint32_t imm)
{
	return (struct dipc_wr){.op = DIPC_WR_WRITE_IMM, .imm = imm};
}

struct dipc_wr ct_cas(struct ct_link *link, size_t local, size_t remote,
		      uint64_t compare, uint64_t swap)
{
	struct dipc_wr wr = wr_make(link, DIPC_WR_CAS, local, remote);

	wr.compare = compare;
	wr.arg = swap;
	return wr;
}

struct dipc_wr ct_faa(struct ct_link *link, size_t local, size_t remote,
		      uint64_t addend)
{
	struct dipc_wr wr = wr_make(link, DIPC_WR_FAA, local, remote);

	wr.arg = addend;
	return wr;
}

static void op_done(struct dipc_op *base, int status)
{
	struct ct_op *op = dipc_container_of(base, struct ct_op, op);

	assert_int_equal(op->nr_done, 0);
	assert_int_equal(op->link->nr_closed, 0);
	op->nr_done++;
	op->status = status;
	op->serial = ++next_serial;
	op->link->nr_outstanding--;
}

int ct_post(struct ct_link *link, const struct dipc_wr *wr, unsigned nr,
	    struct ct_op *op)
{
	int ret;

	memset(op, 0, sizeof(*op));
	op->op.done = op_done;
	op->link = link;
	ret = dipc_conn_post(link->conn, wr, nr, &op->op);
	assert_int_equal(op->nr_done, 0); /* never inside the post */
	if (ret == -EINPROGRESS) {
		link->nr_outstanding++;
	} else if (!ret) {
		op->nr_done = 1;
		op->serial = ++next_serial;
	}
	return ret;
}

int ct_do(struct ct_link *link, const struct dipc_wr *wr, unsigned nr)
{
	struct ct_op op;
	int ret;

	CT_WAIT((ret = ct_post(link, wr, nr, &op)) != -EAGAIN);
	if (ret != -EINPROGRESS)
		return ret;
	CT_WAIT(op.nr_done);
	return op.status;
}

/* ---- setup -------------------------------------------------------------- */

static unsigned fds_count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

int ct_setup(void **state)
{
	struct ct_state *s = calloc(1, sizeof(*s));

	is_log_expected = false;
	log_before = dipc_log_count();
	if (ct_backend.is_sim)
		ct_sim_setup();
	s->a = ct_node_create();
	s->b = ct_node_create();
	s->ab = ct_connect_to(s->a, s->b, &s->ba);
	*state = s;
	return 0;
}

int ct_teardown(void **state)
{
	struct dipc_list *pos;
	unsigned i;

	for (i = 0; i < PEERS_MAX; i++)
		if (peers[i])
			ct_kill(peers[i]);
	while ((pos = dipc_list_pop(&nodes)))
		ct_node_destroy(dipc_container_of(pos, struct ct_node, node));
	if (ct_backend.is_sim)
		ct_sim_teardown();
	free(*state);
	if (!is_log_expected && dipc_log_count() != log_before) {
		print_error("a warning was logged\n");
		return -1;
	}
	/* From the second test on: libraries keep some open for good. */
	if (nr_fds && fds_count() != nr_fds) {
		print_error("%u open fds became %u\n", nr_fds, fds_count());
		return -1;
	}
	nr_fds = fds_count();
	return 0;
}

void ct_expect_log(void)
{
	is_log_expected = true;
}

/* ---- peers -------------------------------------------------------------- */

static void peer_forget(pid_t pid)
{
	unsigned i;

	for (i = 0; i < PEERS_MAX; i++)
		if (peers[i] == pid)
			peers[i] = 0;
}

/* A clean exec: the child must not see a verbs context of ours. */
static pid_t process_spawn(const char *role, unsigned arg, const char *address)
{
	char number[16], self[] = "contract_transport";
	char *argv[10];
	unsigned n = 0;
	pid_t pid;

	snprintf(number, sizeof(number), "%u", arg);
	argv[n++] = self;
	argv[n++] = (char *)(uintptr_t)ct_backend.kind;
	if (ct_backend.address)
		argv[n++] = (char *)(uintptr_t)ct_backend.address;
	argv[n++] = (char *)(uintptr_t) "--peer";
	argv[n++] = (char *)(uintptr_t)role;
	argv[n++] = number;
	argv[n++] = (char *)(uintptr_t)address;
	argv[n] = NULL;
	assert_int_equal(
		posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ),
		0);
	return pid;
}

pid_t ct_spawn(struct ct_node *node, const char *role, unsigned arg,
	       struct ct_link **link_out)
{
	const char *address = dipc_transport_address(node->t);
	unsigned i;
	pid_t pid;

	node->newest = NULL;
	pid = ct_backend.is_sim ? ct_sim_spawn(role, arg, address)
				: process_spawn(role, arg, address);
	for (i = 0; i < PEERS_MAX && peers[i]; i++)
		;
	assert_true(i < PEERS_MAX);
	peers[i] = pid;
	CT_WAIT(node->newest && node->newest->nr_established);
	*link_out = node->newest;
	return pid;
}

void ct_signal(pid_t pid, int sig)
{
	if (ct_backend.is_sim)
		ct_sim_signal(pid, sig);
	else
		kill(pid, sig);
}

static bool process_has_ended(pid_t pid)
{
	int status = -1;

	if (waitpid(pid, &status, WNOHANG) != pid)
		return false;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	return true;
}

void ct_kill(pid_t pid)
{
	peer_forget(pid);
	ct_signal(pid, SIGKILL);
	if (!ct_backend.is_sim)
		waitpid(pid, NULL, 0);
}

void ct_join(pid_t pid)
{
	CT_WAIT(ct_backend.is_sim ? ct_sim_has_ended(pid)
				  : process_has_ended(pid));
	peer_forget(pid);
}
