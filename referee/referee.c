/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starting up is in the order in which things can be refused cheaply: the key,
 * the port, the memory, the device; only then is memory registered.
 */
#include "referee/referee.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "referee/keys.h"
#include "referee/members.h"
#include "referee/server.h"
#include "runtime/base/log.h"
#include "runtime/protocol/pool.h"

/* Our own life: the handshake takes no 0. */
#define OWN_INCARNATION 1u

/* ---- the fabric's events ------------------------------------------------ */

static void on_wake(void *arg, uint32_t slot)
{
	struct dipc_referee *ref = arg;

	if (ref->keys)
		dipc_keys_hint_reap(ref->keys, slot);
}

static void on_lost(void *arg, unsigned node)
{
	struct dipc_referee *ref = arg;

	if (node != DIPC_REFEREE) {
		if (ref->members)
			dipc_members_lost(ref->members, node);
		return;
	}
	if (ref->is_stopping || !ref->is_ready)
		return;
	dipc_error("the link to the referee's own memory broke: ending");
	dipc_loop_stop(ref->loop);
}

static int on_admit(void *arg, unsigned node, uint32_t incarnation,
		    const uint8_t ticket[DIPC_TICKET_LEN])
{
	struct dipc_referee *ref = arg;

	if (!ref->members)
		return -EAGAIN;
	return dipc_members_admit(ref->members, node, incarnation, ticket);
}

static const struct dipc_fabric_events fabric_events = {
	.wake = on_wake,
	.lost = on_lost,
	.admit = on_admit,
};

/* ---- memory ------------------------------------------------------------- */

static int size_check(const struct dipc_config *conf, char *err, size_t size)
{
	uint64_t total = (uint64_t)sysconf(_SC_PHYS_PAGES) *
			 (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t min = dipc_arena_min_size(conf->nr_objects);
	struct rlimit lock;

	if (conf->arena_size < min) {
		snprintf(err, size,
			 "arena-size = %lluM: too small for nr-objects = %u; "
			 "at least %lluM",
			 (unsigned long long)conf->arena_size >> 20,
			 conf->nr_objects, (unsigned long long)(min >> 20) + 1);
		return -ENOSPC;
	}
	if (conf->arena_size > total) {
		snprintf(err, size,
			 "arena-size = %lluM: larger than this machine's "
			 "memory, %lluM; lower arena-size",
			 (unsigned long long)conf->arena_size >> 20,
			 (unsigned long long)total >> 20);
		return -ENOMEM;
	}
	if (!strcmp(conf->transport, "verbs") && geteuid() &&
	    !getrlimit(RLIMIT_MEMLOCK, &lock) &&
	    lock.rlim_cur < conf->arena_size) {
		snprintf(err, size,
			 "arena-size = %lluM: larger than the memory we may "
			 "lock, %lluM; lower it, or raise ulimit -l",
			 (unsigned long long)conf->arena_size >> 20,
			 (unsigned long long)lock.rlim_cur >> 20);
		return -ENOMEM;
	}
	return 0;
}

/* What the transport would refuse too, but without the setting's name. */
static int file_check(struct dipc_referee *ref, char *err, size_t size)
{
	const char *path = ref->conf->arena_file;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stat st;
	int fd;

	if (!path)
		return 0;
	if (!stat(path, &st)) {
		uint64_t len = (uint64_t)st.st_size;

		/* huge pages round up further */
		if (!len) /* new, made by somebody */
			return 0;
		if (len >= ref->conf->arena_size &&
		    (len - ref->conf->arena_size < page ||
		     st.st_blksize > 4096))
			return 0;
		snprintf(err, size,
			 "arena-file = %s: it has %llu bytes, arena-size is "
			 "%llu; remove the file, or set arena-size back",
			 path, (unsigned long long)len,
			 (unsigned long long)ref->conf->arena_size);
		return -EINVAL;
	}
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		int ret = -errno;

		snprintf(err, size, "arena-file = %s: %s", path,
			 strerror(-ret));
		return ret;
	}
	close(fd);
	unlink(path); /* the transport makes it */
	ref->has_made_file = true;
	return 0;
}

/* Two referees on one arena would destroy it. */
static int file_lock(struct dipc_referee *ref, char *err, size_t size)
{
	const char *path = ref->conf->arena_file;
	int ret;

	ref->arena_fd = open(path, O_RDWR | O_CLOEXEC);
	if (ref->arena_fd >= 0 && !flock(ref->arena_fd, LOCK_EX | LOCK_NB))
		return 0;
	ret = -errno;
	if (ret == -EWOULDBLOCK)
		snprintf(err, size,
			 "arena-file = %s: another referee uses it; stop that "
			 "one, or set arena-file to another path",
			 path);
	else
		snprintf(err, size, "arena-file = %s: %s", path,
			 strerror(-ret));
	return ret;
}

static int region_open(struct dipc_referee *ref, char *err, size_t size)
{
	const struct dipc_config *conf = ref->conf;
	int ret;

	ret = dipc_region_create(dipc_fabric_transport(ref->fabric),
				 conf->arena_file, conf->arena_size,
				 &ref->region);
	if (!ret && conf->arena_file)
		return file_lock(ref, err, size);
	return ret; /* the transport has logged the cause */
}

static int arena_make(struct dipc_referee *ref, char *err, size_t size)
{
	const struct dipc_config *conf = ref->conf;
	const struct dipc_arena_super *old = (void *)ref->region->base;
	struct dipc_arena_format_config format = {
		.nr_slots = conf->nr_objects,
		.generation = (uint64_t)dipc_fabric_wall(ref->fabric),
		.msgmax = conf->msgmax,
		.msgmnb = conf->msgmnb,
		.msgmni = conf->msgmni,
		.semmsl = conf->semmsl,
		.semmns = conf->semmns,
		.semopm = conf->semopm,
		.semmni = conf->semmni,
		.shmmax = conf->shmmax,
		.shmall = conf->shmall,
		.shmmni = conf->shmmni,
	};
	int ret;

	/* identifiers of the start before must not be valid in this one */
	if (old->magic == DIPC_ARENA_MAGIC &&
	    old->generation >= format.generation)
		format.generation = old->generation + 1;
	ret = dipc_arena_format(ref->region->base, conf->arena_size, &format);
	if (!ret)
		ret = dipc_arena_open(ref->region->base, &ref->arena);
	if (ret)
		snprintf(err, size, "arena-size, nr-objects: %s",
			 strerror(-ret));
	return ret;
}

static int fabric_open(struct dipc_referee *ref, char *err, size_t size)
{
	const struct dipc_config *conf = ref->conf;
	struct dipc_fabric_config config = {
		.loop = ref->loop,
		.transport = conf->transport,
		.listen = conf->referee_address,
		.peer_timeout_ms = conf->peer_timeout_ms,
		.events = &fabric_events,
		.arg = ref,
	};

	if (!conf->referee_address) {
		snprintf(err, size,
			 "referee-address: not set; transport = %s needs the "
			 "address of an RDMA device of this machine",
			 conf->transport);
		return -EINVAL;
	}
	/* the transport logs what it fails for */
	return dipc_fabric_create(&config, &ref->fabric);
}

/* ---- life --------------------------------------------------------------- */

static void referee_tell(struct dipc_referee *ref, int status)
{
	if (ref->ready)
		ref->ready(ref->ready_arg, status);
}

static void start_fiber(void *arg)
{
	struct dipc_referee *ref = arg;
	const char *address =
		dipc_transport_address(dipc_fabric_transport(ref->fabric));
	uint8_t ticket[DIPC_TICKET_LEN];
	int ret;

	ret = dipc_ticket_make(ref->secret, DIPC_REFEREE, OWN_INCARNATION,
			       ticket);
	if (!ret) {
		dipc_fabric_identify(ref->fabric, DIPC_REFEREE, OWN_INCARNATION,
				     ticket);
		dipc_fabric_serve_arena(
			ref->fabric, ref->region,
			dipc_arena_get_super(ref->arena)->generation);
		ret = dipc_fabric_open_arena(ref->fabric, address);
	}
	if (!ret)
		ret = dipc_pool_create(ref->fabric, &ref->pool);
	if (!ret && !ref->is_stopping)
		ret = dipc_server_start(ref->server);
	if (ret) {
		dipc_error("referee-address = %s: cannot connect to itself: "
			   "%s; set it to an address nodes can reach",
			   address, strerror(-ret));
		referee_tell(ref, ret);
		return;
	}
	if (ref->is_stopping)
		return;
	ref->is_ready = true;
	dipc_members_start(ref->members);
	dipc_info("listening on %s, port %u; memory at %s", ref->conf->referee,
		  dipc_referee_port(ref), address);
	referee_tell(ref, 0);
}

static int referee_build(struct dipc_referee *ref, char *err, size_t size)
{
	int ret;

	err[0] = '\0';
	ret = dipc_key_load(ref->conf->key_file, ref->key, err, size);
	if (!ret)
		ret = size_check(ref->conf, err, size);
	if (!ret)
		ret = file_check(ref, err, size);
	if (!ret)
		ret = dipc_server_create(ref, err, size, &ref->server);
	if (!ret)
		ret = fabric_open(ref, err, size);
	if (!ret)
		ret = region_open(ref, err, size);
	if (!ret)
		ret = arena_make(ref, err, size);
	if (ret)
		return ret;
	snprintf(err, size, "out of memory");
	ret = dipc_random(ref->secret, sizeof(ref->secret));
	if (!ret)
		ret = dipc_members_create(ref, &ref->members);
	if (!ret)
		ret = dipc_keys_create(ref, &ref->keys);
	if (!ret)
		ret = dipc_fiber_spawn(ref->sched, start_fiber, ref);
	return ret;
}

int dipc_referee_create(const struct dipc_config *conf, struct dipc_loop *loop,
			void (*ready)(void *arg, int status), void *arg,
			char *err, size_t size,
			struct dipc_referee **referee_out)
{
	struct dipc_referee *ref = calloc(1, sizeof(*ref));
	int ret;

	if (!ref) {
		snprintf(err, size, "out of memory");
		return -ENOMEM;
	}
	ref->conf = conf;
	ref->loop = loop;
	ref->sched = dipc_loop_sched(loop);
	ref->ready = ready;
	ref->ready_arg = arg;
	ref->arena_fd = -1;
	ret = referee_build(ref, err, size);
	if (ret) {
		bool has_made_file = ref->has_made_file && ref->region;

		dipc_referee_destroy(ref);
		if (has_made_file)
			unlink(conf->arena_file);
		return ret;
	}
	*referee_out = ref;
	return 0;
}

void dipc_referee_stop(struct dipc_referee *ref)
{
	if (ref->is_stopping)
		return;
	ref->is_stopping = true;
	dipc_server_stop(ref->server);
	dipc_keys_stop(ref->keys);
	dipc_members_stop(ref->members);
}

void dipc_referee_destroy(struct dipc_referee *ref)
{
	if (!ref)
		return;
	dipc_keys_destroy(ref->keys);
	dipc_server_destroy(ref->server);
	dipc_members_destroy(ref->members);
	dipc_pool_destroy(ref->pool);
	dipc_arena_close(ref->arena);
	if (ref->arena_fd >= 0)
		close(ref->arena_fd);
	dipc_region_destroy(ref->region);
	dipc_fabric_destroy(ref->fabric);
	explicit_bzero(ref->key, sizeof(ref->key));
	explicit_bzero(ref->secret, sizeof(ref->secret));
	free(ref);
}

unsigned dipc_referee_port(const struct dipc_referee *ref)
{
	return dipc_server_port(ref->server);
}
