/* SPDX-License-Identifier: BSD-2-Clause */
/* Registered memory: this process's own, anonymous or of a file. */
#include "transport/sim/sim_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/log.h"

#define GEN_MAX ((1u << (32 - SIM_SLOT_BITS)) - 1)

static int region_open(const char *path, size_t len)
{
	struct stat st;
	int fd, ret;

	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		ret = -errno;
		dipc_error("region %s: %m", path);
		return ret;
	}
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    (st.st_size && (uint64_t)st.st_size != len)) {
		dipc_error("region %s: no file of %zu bytes", path, len);
		close(fd);
		return -EINVAL;
	}
	if (ftruncate(fd, (off_t)len)) {
		ret = -errno;
		dipc_error("region %s: %zu bytes: %m", path, len);
		close(fd);
		return ret;
	}
	return fd;
}

static int region_map(const char *path, size_t len, uint8_t **base_out)
{
	int fd = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *map;

	if (path) {
		fd = region_open(path, len);
		if (fd < 0)
			return fd;
		flags = MAP_SHARED;
	}
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (fd >= 0)
		close(fd);
	if (map == MAP_FAILED)
		return -ENOMEM;
	*base_out = map;
	return 0;
}

/* A slot that is free. -ENOMEM: there is none. */
static int slot_find(const struct sim_transport *t)
{
	int i;

	for (i = 0; i < (int)SIM_REGIONS_MAX; i++)
		if (!t->regions[i])
			return i;
	dipc_error("sim: %u regions and no more", SIM_REGIONS_MAX);
	return -ENOMEM;
}

int sim_region_create(struct dipc_transport *base, const char *path, size_t len,
		      struct dipc_region **region_out)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct sim_transport *t = sim_of(base);
	int ret, slot = slot_find(t);
	struct sim_region *region;

	if (slot < 0)
		return slot;
	len = (len + page - 1) / page * page;
	region = sim_alloc(sizeof(*region));
	ret = region_map(path, len, &region->base.base);
	if (ret) {
		free(region);
		return ret;
	}
	t->next_gen = t->next_gen % GEN_MAX + 1;
	region->slot = (unsigned)slot;
	region->base.len = len;
	region->base.transport = base;
	region->base.remote.addr = (uintptr_t)region->base.base;
	region->base.remote.rkey =
		t->next_gen << SIM_SLOT_BITS | (uint32_t)slot;
	t->regions[slot] = region;
	t->nr_regions++;
	*region_out = &region->base;
	return 0;
}

/* Requests that failed but are still on their way keep what they carry. */
static void region_leave(struct sim_transport *t)
{
	struct dipc_list *pos, *wr;

	dipc_list_for_each (pos, &t->conns) {
		struct sim_conn *conn =
			dipc_container_of(pos, struct sim_conn, node);

		dipc_list_for_each (wr, &conn->sending)
			sim_wr_detach(
				dipc_container_of(wr, struct sim_wr, node));
	}
}

void sim_region_destroy(struct dipc_region *base)
{
	struct sim_region *region =
		dipc_container_of(base, struct sim_region, base);
	struct sim_transport *t = sim_of(base->transport);

	region_leave(t);
	t->regions[region->slot] = NULL;
	t->nr_regions--;
	munmap(base->base, base->len);
	free(region);
}

uint8_t *sim_region_find(struct sim_transport *t, struct dipc_remote remote,
			 size_t len)
{
	const struct sim_region *region =
		t->regions[remote.rkey & (SIM_REGIONS_MAX - 1)];
	uint64_t off;

	if (!region || region->base.remote.rkey != remote.rkey)
		return NULL;
	off = remote.addr - region->base.remote.addr;
	if (off > region->base.len || len > region->base.len - off)
		return NULL;
	return region->base.base + off;
}
