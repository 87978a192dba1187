/* SPDX-License-Identifier: BSD-2-Clause */
/* Joining, leaving, dying, and what the dead leave behind. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/socket.h>
#include <unistd.h>

#include "referee/members.h"
#include "referee/server.h"
#include "runtime/base/local.h"
#include "runtime/base/tls.h"
#include "tests/unit/referee/cluster.h"

static const uint64_t *state_of(struct cluster *c, const struct fake *n)
{
	return &dipc_arena_node_at(c->ref->arena, n->joined.node)->state;
}

static uint64_t word_of(enum dipc_node_state state, const struct fake *n)
{
	return (uint64_t)state << 32 | n->joined.incarnation;
}

static uint64_t epoch(struct cluster *c)
{
	return dipc_arena_get_super(c->ref->arena)->epoch;
}

/* ---- joining ------------------------------------------------------------ */

static void joins(void *arg)
{
	struct cluster *c = arg;
	static struct fake a, b, d, e;
	uint64_t before = epoch(c);

	assert_int_equal(fake_join(c, 0, &a), 0);
	assert_int_equal(a.joined.node, 1);
	assert_int_equal(*state_of(c, &a), word_of(DIPC_NODE_ALIVE, &a));
	assert_true(epoch(c) > before);
	assert_string_equal(dipc_arena_node_at(c->ref->arena, 1)->address,
			    "/nowhere");
	assert_string_equal(a.joined.arena_address, c->shm);
	assert_int_equal(a.joined.dead_ms, 1000);
	assert_int_equal(a.joined.heartbeat_ms, 200);
	assert_true(dipc_ticket_is_valid(
		a.joined.secret, 1, a.joined.incarnation, a.joined.ticket));
	assert_int_equal(fake_join(c, 7, &b), 0);
	assert_int_equal(b.joined.node, 7);
	assert_int_equal(fake_join(c, 7, &d), -EEXIST);
	assert_int_equal(fake_join(c, 41, &d), -EINVAL);
	assert_int_equal(fake_join(c, 0, &d), 0);
	assert_int_equal(d.joined.node, 2);
	fake_leave(&a);
	assert_int_equal(*state_of(c, &a), word_of(DIPC_NODE_LEFT, &a));
	assert_int_equal(fake_join(c, 0, &e), 0);
	assert_int_equal(e.joined.node, 1);
	assert_true(e.joined.incarnation > a.joined.incarnation);
	fake_leave(&b);
	fake_leave(&d);
	fake_leave(&e);
}

static void join__ids_and_incarnations(void **state)
{
	cluster_run(*state, joins, *state);
}

static void joins_full(void *arg)
{
	struct cluster *c = arg;
	static struct fake n[DIPC_NODES_MAX], more;
	unsigned i;

	for (i = 0; i < DIPC_NODES_MAX; i++)
		assert_int_equal(fake_join(c, 0, &n[i]), 0);
	assert_int_equal(fake_join(c, 0, &more), -ENOSPC);
	for (i = 0; i < DIPC_NODES_MAX; i++)
		fake_die(&n[i]);
}

static void join__table_full_is_ENOSPC(void **state)
{
	cluster_run(*state, joins_full, *state);
}

static void other_transport(void *arg)
{
	struct cluster *c = arg;
	static struct fake n;

	c->conf.transport = (char *)"verbs"; /* what the referee compares to */
	assert_int_equal(fake_join(c, 0, &n), -EPROTONOSUPPORT);
	c->conf.transport = (char *)"shm";
}

static void join__other_transport(void **state)
{
	cluster_run(*state, other_transport, *state);
}

/* ---- dying -------------------------------------------------------------- */

static void dies(void *arg)
{
	struct cluster *c = arg;
	static struct fake a, again;
	uint64_t before;

	assert_int_equal(fake_join(c, 3, &a), 0);
	assert_int_equal(fake_connect(&a), 0);
	before = epoch(c);
	fake_die(&a);
	/* the same number at once: waits until the old life is cleaned up */
	assert_int_equal(fake_join(c, 3, &again), 0);
	assert_int_equal(epoch(c), before + 2);
	assert_int_equal(*state_of(c, &a), word_of(DIPC_NODE_ALIVE, &again));
	fake_die(&again);
	assert_true(await_word(c, state_of(c, &a), UINT64_MAX,
			       word_of(DIPC_NODE_DEAD, &again), 2000));
}

static void session__lost_is_death(void **state)
{
	cluster_run(*state, dies, *state);
}

static void heart_stops(void *arg)
{
	struct cluster *c = arg;
	static struct fake a, b;

	assert_int_equal(fake_join(c, 0, &a), 0);
	assert_int_equal(fake_join(c, 0, &b), 0);
	assert_int_equal(fake_connect(&a), 0);
	assert_int_equal(fake_connect(&b), 0);
	dipc_fiber_sleep(1500 * DIPC_MSEC);
	assert_int_equal(*state_of(c, &a), word_of(DIPC_NODE_ALIVE, &a));
	a.must_beat = false;
	assert_true(await_word(c, state_of(c, &a), UINT64_MAX,
			       word_of(DIPC_NODE_DEAD, &a), 2000));
	dipc_fiber_sleep(20 * DIPC_MSEC);
	assert_true(a.is_lost);
	/* fenced: its connection is gone, and no new one is let in */
	assert_int_not_equal(dipc_arena_write(a.fabric, 4096, "x", 1), 0);
	assert_int_not_equal(
		dipc_fabric_open_arena(a.fabric, a.joined.arena_address), 0);
	assert_int_equal(*state_of(c, &b), word_of(DIPC_NODE_ALIVE, &b));
	assert_false(b.is_lost);
	fake_die(&a);
	fake_leave(&b);
}

static void heartbeat__silence_is_death(void **state)
{
	cluster_run(*state, heart_stops, *state);
}

static void wrong_ticket(void *arg)
{
	struct cluster *c = arg;
	static struct fake a;

	assert_int_equal(fake_join(c, 0, &a), 0);
	a.joined.ticket[3] ^= 1;
	assert_int_not_equal(fake_connect(&a), 0);
	fake_die(&a);
}

static void ticket__wrong_is_refused(void **state)
{
	cluster_run(*state, wrong_ticket, *state);
}

static void dead_holder(void *arg)
{
	struct cluster *c = arg;
	static struct fake a, b;
	static const uint32_t kind[] = {DIPC_KIND_SEM, DIPC_KIND_MSG};
	struct dipc_lookup_got got[2];
	uint64_t old, word;
	unsigned i;

	assert_int_equal(fake_join(c, 0, &b), 0);
	assert_int_equal(fake_join(c, 0, &a), 0);
	assert_int_equal(fake_connect(&a), 0);
	word = (uint64_t)a.joined.node << 56 |
	       (uint64_t)a.joined.incarnation << 32 | 1;
	for (i = 0; i < 2; i++) {
		assert_int_equal(
			fake_get(&b, kind[i], 3, IPC_CREAT, 2, &got[i]), 0);
		assert_int_equal(
			dipc_arena_cas(
				a.fabric,
				dipc_fabric_super(a.fabric)->slots_off +
					dipc_id_slot(got[i].id) *
						DIPC_OBJECT_STRIDE +
					offsetof(struct dipc_arena_object,
						 lock),
				0, word, &old),
			0);
		assert_int_equal(old, 0);
	}
	fake_die(&a);
	for (i = 0; i < 2; i++)
		assert_true(await_word(c, &object_of(c, got[i].id)->lock,
				       UINT64_MAX, 0, 2000));
	fake_leave(&b);
}

static void recover__locks_of_the_dead(void **state)
{
	cluster_run(*state, dead_holder, *state);
}

/* ---- what goes over TCP ------------------------------------------------- */

static void silence(void *arg)
{
	struct cluster *c = arg;
	static struct fake a;
	struct dipc_lookup_got got;
	uint64_t tx, rx, tx2, rx2;

	assert_int_equal(fake_join(c, 0, &a), 0);
	assert_int_equal(fake_connect(&a), 0);
	assert_int_equal(fake_get(&a, DIPC_KIND_SEM, 3, IPC_CREAT, 2, &got), 0);
	dipc_lookup_bytes(a.lookup, &tx, &rx);
	assert_true(tx > 0 && rx > 0);
	dipc_fiber_sleep(1500 * DIPC_MSEC);
	dipc_lookup_bytes(a.lookup, &tx2, &rx2);
	assert_int_equal(tx, tx2);
	assert_int_equal(rx, rx2);
	fake_leave(&a);
}

static void tcp__silent_but_for_lookups(void **state)
{
	cluster_run(*state, silence, *state);
}

/* ---- strangers ---------------------------------------------------------- */

static int connect_raw(struct cluster *c)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)dipc_referee_port(c->ref))};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (void *)&sin, sizeof(sin)), 0);
	return fd;
}

static bool is_closed(int fd)
{
	char buf[64];
	ssize_t n;

	do
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	while (n > 0);
	return n == 0 || errno != EAGAIN;
}

static void half_open(void *arg)
{
	struct cluster *c = arg;
	static int fd[DIPC_SERVER_HALF_OPEN + 8];
	static struct fake n;
	unsigned i, nr = sizeof(fd) / sizeof(fd[0]), nr_closed = 0;

	for (i = 0; i < nr; i++) {
		fd[i] = connect_raw(c);
		dipc_fiber_sleep(DIPC_MSEC);
	}
	dipc_fiber_sleep(100 * DIPC_MSEC);
	for (i = 0; i < nr; i++)
		nr_closed += is_closed(fd[i]);
	assert_int_equal(nr_closed, 8);
	assert_true(is_closed(fd[0]));
	/* who has the key still gets in */
	assert_int_equal(fake_join(c, 0, &n), 0);
	fake_leave(&n);
	for (i = 0; i < nr; i++)
		close(fd[i]);
}

static void server__half_open_is_bounded(void **state)
{
	cluster_run(*state, half_open, *state);
}

static void garbage(void *arg)
{
	struct cluster *c = arg;
	static char junk[4096];
	static struct fake n;
	int fd = connect_raw(c), slow = connect_raw(c);
	unsigned i;

	for (i = 0; i < sizeof(junk); i++)
		junk[i] = (char)(i * 37 + 11);
	assert_int_equal(send(fd, junk, sizeof(junk), MSG_NOSIGNAL),
			 sizeof(junk));
	dipc_fiber_sleep(100 * DIPC_MSEC);
	assert_true(is_closed(fd));
	assert_false(is_closed(slow));
	assert_int_equal(fake_join(c, 0, &n), 0);
	fake_leave(&n);
	dipc_fiber_sleep(DIPC_TLS_HANDSHAKE_NS + 100 * DIPC_MSEC);
	assert_true(is_closed(slow));
	close(fd);
	close(slow);
}

static void server__garbage_and_silence_are_dropped(void **state)
{
	cluster_run(*state, garbage, *state);
}

static void other_key(void *arg)
{
	struct cluster *c = arg;
	static struct fake n;
	char other[128], err[256];

	snprintf(other, sizeof(other), "%s/other", c->dir);
	assert_int_equal(dipc_key_make(other, err, sizeof(err)), 0);
	c->conf.key_file = other;
	assert_int_equal(fake_join(c, 0, &n), -EKEYREJECTED);
	c->conf.key_file = c->key;
	unlink(other);
	assert_int_equal(fake_join(c, 0, &n), 0);
	fake_leave(&n);
}

static void connect__other_key_is_EKEYREJECTED(void **state)
{
	cluster_run(*state, other_key, *state);
}

static void nobody_there(void *arg)
{
	struct cluster *c = arg;
	static struct fake n;
	char where[32];

	strcpy(where, c->where);
	strcpy(c->where, "127.0.0.1:1");
	assert_int_equal(fake_join(c, 0, &n), -ECONNREFUSED);
	strcpy(c->where, "no.such.invalid:1");
	assert_int_equal(fake_join(c, 0, &n), -EHOSTUNREACH);
	strcpy(c->where, "127.0.0.1");
	assert_int_equal(fake_join(c, 0, &n), -EINVAL);
	strcpy(c->where, where);
}

static void connect__refused_and_unresolvable(void **state)
{
	cluster_run(*state, nobody_there, *state);
}

#define CASE(name)                                                             \
	cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(join__ids_and_incarnations),
		CASE(join__table_full_is_ENOSPC),
		CASE(join__other_transport),
		CASE(session__lost_is_death),
		CASE(heartbeat__silence_is_death),
		CASE(ticket__wrong_is_refused),
		CASE(recover__locks_of_the_dead),
		CASE(tcp__silent_but_for_lookups),
		CASE(server__half_open_is_bounded),
		CASE(server__garbage_and_silence_are_dropped),
		CASE(connect__other_key_is_EKEYREJECTED),
		CASE(connect__refused_and_unresolvable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
