/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/referee/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/local.h"
#include "runtime/base/log.h"

#define RUN_NS (60 * DIPC_SEC)

static void on_ready(void *arg, int status)
{
	struct cluster *c = arg;

	c->status = status;
}

int cluster_setup(void **state)
{
	struct cluster *c = calloc(1, sizeof(*c));
	char err[512] = "";
	int ret;

	assert_non_null(c);
	dipc_log_init("test");
	strcpy(c->dir, "/tmp/dipc-referee-XXXXXX");
	assert_non_null(mkdtemp(c->dir));
	snprintf(c->key, sizeof(c->key), "%s/key", c->dir);
	snprintf(c->shm, sizeof(c->shm), "%s/r", c->dir);
	assert_int_equal(dipc_key_make(c->key, err, sizeof(err)), 0);
	strcpy(c->where, "127.0.0.1:0");
	c->conf = (struct dipc_config){
		.referee = c->where,
		.key_file = c->key,
		.transport = (char *)"shm",
		.peer_timeout_ms = 1000,
		.referee_address = c->shm,
		.arena_size = 64ull << 20,
		.nr_objects = 64,
		.shmmax = 1ull << 30,
		.shmall = 1ull << 20,
		.shmmni = 4096,
		.msgmax = 8192,
		.msgmnb = 16384,
		.msgmni = 32000,
		.semmsl = 32000,
		.semmns = 1024000000,
		.semopm = 500,
		.semmni = 32000,
	};
	ret = dipc_loop_create(dipc_clock_system(), 0, &c->loop);
	assert_int_equal(ret, 0);
	c->sched = dipc_loop_sched(c->loop);
	c->status = 1;
	ret = dipc_referee_create(&c->conf, c->loop, on_ready, c, err,
				  sizeof(err), &c->ref);
	assert_string_equal(ret ? err : "", "");
	while (c->status == 1)
		assert_int_equal(dipc_loop_once(c->loop, DIPC_SEC), 0);
	assert_int_equal(c->status, 0);
	snprintf(c->where, sizeof(c->where), "127.0.0.1:%u",
		 dipc_referee_port(c->ref));
	*state = c;
	return 0;
}

int cluster_teardown(void **state)
{
	struct cluster *c = *state;
	uint64_t deadline = dipc_sched_now(c->sched) + RUN_NS;

	dipc_referee_stop(c->ref);
	while (dipc_sched_alive(c->sched)) {
		assert_true(dipc_sched_now(c->sched) < deadline);
		assert_int_equal(dipc_loop_once(c->loop, 10 * DIPC_MSEC), 0);
	}
	dipc_referee_destroy(c->ref);
	dipc_loop_destroy(c->loop);
	unlink(c->key);
	assert_int_equal(rmdir(c->dir), 0); /* nothing else was left */
	free(c);
	return 0;
}

void cluster_run(struct cluster *c, void (*fn)(void *), void *arg)
{
	uint64_t deadline = dipc_sched_now(c->sched) + RUN_NS;

	assert_int_equal(dipc_fiber_spawn(c->sched, fn, arg), 0);
	while (dipc_sched_alive(c->sched)) {
		assert_true(dipc_sched_now(c->sched) < deadline);
		assert_int_equal(dipc_loop_once(c->loop, 10 * DIPC_MSEC), 0);
	}
}

static void on_lost(void *arg, int reason)
{
	struct fake *n = arg;

	(void)reason;
	n->is_lost = true;
}

int fake_join(struct cluster *c, unsigned want, struct fake *n)
{
	struct dipc_lookup_join join = {.node = want,
					.transport = "shm",
					.address = "/nowhere",
					.name = "fake"};
	int ret;

	memset(n, 0, sizeof(*n));
	n->c = c;
	ret = dipc_lookup_connect(c->loop, &c->conf, on_lost, n, &n->lookup);
	if (ret)
		return ret;
	ret = dipc_lookup_join(n->lookup, &join, &n->joined);
	if (!ret)
		ret = n->joined.status;
	if (ret) {
		dipc_lookup_destroy(n->lookup);
		n->lookup = NULL;
	}
	return ret;
}

static uint64_t heartbeat_off(struct fake *n)
{
	return dipc_fabric_super(n->fabric)->nodes_off +
	       n->joined.node * sizeof(struct dipc_arena_node) +
	       offsetof(struct dipc_arena_node, heartbeat);
}

static void beat(void *arg)
{
	struct fake *n = arg;
	uint64_t count = 1;

	while (n->must_beat) {
		if (dipc_arena_write(n->fabric, heartbeat_off(n), &count, 8))
			break;
		count++;
		dipc_fiber_sleep(20 * DIPC_MSEC);
	}
	n->is_beating = false;
}

static const struct dipc_fabric_events fake_events;

int fake_connect(struct fake *n)
{
	struct dipc_fabric_config config = {.loop = n->c->loop,
					    .transport = "shm",
					    .listen = n->shm,
					    .peer_timeout_ms = 1000,
					    .events = &fake_events,
					    .arg = n};
	int ret;

	snprintf(n->shm, sizeof(n->shm), "%s/n%u-%u", n->c->dir, n->joined.node,
		 n->joined.incarnation);
	ret = dipc_fabric_create(&config, &n->fabric);
	if (ret)
		return ret;
	dipc_fabric_identify(n->fabric, n->joined.node, n->joined.incarnation,
			     n->joined.ticket);
	ret = dipc_fabric_open_arena(n->fabric, n->joined.arena_address);
	if (ret)
		return ret;
	n->must_beat = true;
	n->is_beating = true;
	return dipc_fiber_spawn(n->c->sched, beat, n);
}

static void fake_end(struct fake *n)
{
	n->must_beat = false;
	while (n->is_beating)
		dipc_fiber_sleep(DIPC_MSEC);
	dipc_lookup_destroy(n->lookup);
	n->lookup = NULL;
	dipc_fabric_destroy(n->fabric);
	n->fabric = NULL;
}

void fake_die(struct fake *n)
{
	fake_end(n);
}

void fake_leave(struct fake *n)
{
	assert_int_equal(dipc_lookup_leave(n->lookup), 0);
	fake_end(n);
}

int fake_get(struct fake *n, uint32_t kind, int32_t key, uint32_t flags,
	     uint64_t size, struct dipc_lookup_got *got)
{
	struct dipc_lookup_get get = {.kind = kind,
				      .key = key,
				      .flags = flags | 0600,
				      .uid = 1000,
				      .gid = 100,
				      .pid = 42,
				      .size = size};
	int ret;

	memset(got, 0, sizeof(*got));
	ret = dipc_lookup_get(n->lookup, &get, got);
	return ret ? ret : got->status;
}

int fake_created(struct fake *n, int32_t id, int status, uint32_t pages)
{
	struct dipc_lookup_created created = {
		.id = id, .status = status, .nr_pages = pages};

	return dipc_lookup_created(n->lookup, &created);
}

struct dipc_arena_object *object_of(struct cluster *c, int32_t id)
{
	return dipc_arena_object_at(c->ref->arena, dipc_id_slot(id));
}

bool await_word(struct cluster *c, const uint64_t *word, uint64_t mask,
		uint64_t want, unsigned ms)
{
	uint64_t deadline = dipc_sched_now(c->sched) + ms * DIPC_MSEC;

	while ((*(const _Atomic uint64_t *)word & mask) != want) {
		if (dipc_sched_now(c->sched) > deadline)
			return false;
		dipc_fiber_sleep(5 * DIPC_MSEC);
	}
	return true;
}
