/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registered memory, and how a peer comes by it: the owner lists {rkey, fd,
 * inode, length} in its export table; a peer opens /proc/PID/fd/FD at first
 * use, checks that it is that inode, maps it and keeps the mapping. The
 * owner's CPU has no part in it. Ordering: EXPORT_1 in shm.h.
 */
#include "transport/shm/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "runtime/base/log.h"

#define GEN_MAX ((1u << (32 - SHM_SLOT_BITS)) - 1)

/* ---- the owner's side --------------------------------------------------- */

static size_t round_up(size_t len, size_t unit)
{
	return (len + unit - 1) / unit * unit;
}

/* Pages of FD's file system; hugetlbfs has its own. */
static size_t file_page_size(int fd)
{
	struct statfs fs;

	if (!fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC)
		return (size_t)fs.f_bsize;
	return (size_t)sysconf(_SC_PAGESIZE);
}

static int region_open_anon(size_t len)
{
	int ret, fd;

	fd = memfd_create("dipc-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)len) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

static int region_open_file(const char *path, size_t *len)
{
	struct stat st;
	int ret, fd;

	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		ret = -errno;
		dipc_error("region %s: %m", path);
		return ret;
	}
	*len = round_up(*len, file_page_size(fd));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    (st.st_size && (uint64_t)st.st_size != *len)) {
		dipc_error("region %s: no file of %zu bytes", path, *len);
		ret = -EINVAL;
		goto err_fd;
	}
	/* Take the memory now: later it would be a SIGBUS. */
	ret = -posix_fallocate(fd, 0, (off_t)*len);
	if (ret) {
		errno = -ret;
		dipc_error("region %s: %zu bytes: %m", path, *len);
		if (!st.st_size)
			unlink(path);
		goto err_fd;
	}
	return fd;

err_fd:
	close(fd);
	return ret;
}

static int slot_take(struct shm_transport *t, unsigned *slot_out)
{
	unsigned i, slot;

	for (i = 0; i < SHM_SLOTS; i++) {
		slot = (t->next_slot + i) % SHM_SLOTS;
		if (!atomic_load_explicit(&t->exports->slot[slot].rkey,
					  memory_order_relaxed)) {
			t->next_slot = slot + 1;
			*slot_out = slot;
			return 0;
		}
	}
	dipc_error("shm: %u regions and no more", SHM_SLOTS);
	return -ENOMEM;
}

static int region_export(struct shm_transport *t, struct shm_region *region)
{
	struct shm_export *e;
	struct stat st;
	uint32_t gen;
	int ret;

	ret = slot_take(t, &region->slot);
	if (ret)
		return ret;
	if (fstat(region->fd, &st))
		return -errno;
	gen = t->rkey_gen[region->slot] % GEN_MAX + 1;
	t->rkey_gen[region->slot] = gen;
	e = &t->exports->slot[region->slot];
	e->fd = region->fd;
	e->len = region->base.len;
	e->dev = st.st_dev;
	e->ino = st.st_ino;
	region->base.remote.addr = 0;
	region->base.remote.rkey = region->slot | gen << SHM_SLOT_BITS;
	/* EXPORT_1 RELEASE, pairs with map_open() */
	atomic_store_explicit(&e->rkey, region->base.remote.rkey,
			      memory_order_release);
	return 0;
}

int shm_region_create(struct dipc_transport *base, const char *path, size_t len,
		      struct dipc_region **region_out)
{
	struct shm_transport *t = shm_of(base);
	struct shm_region *region;
	void *map;
	int ret;

	if (len > SIZE_MAX / 4)
		return -ENOMEM;
	region = calloc(1, sizeof(*region));
	if (!region)
		return -ENOMEM;
	len = round_up(len, (size_t)sysconf(_SC_PAGESIZE));
	ret = path ? region_open_file(path, &len) : region_open_anon(len);
	if (ret < 0)
		goto err_region;
	region->fd = ret;
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd,
		   0);
	if (map == MAP_FAILED) {
		ret = -errno;
		dipc_error("region of %zu bytes: %m", len);
		goto err_fd;
	}
	region->base.base = map;
	region->base.len = len;
	region->base.transport = base;
	ret = region_export(t, region);
	if (ret)
		goto err_map;
	t->nr_regions++;
	*region_out = &region->base;
	return 0;

err_map:
	munmap(map, len);
err_fd:
	close(region->fd);
err_region:
	free(region);
	return ret;
}

void shm_region_destroy(struct dipc_region *base)
{
	struct shm_region *region =
		dipc_container_of(base, struct shm_region, base);
	struct shm_transport *t = shm_of(base->transport);

	/* From here on peers refuse the rkey; the slot is taken again last. */
	atomic_store_explicit(&t->exports->slot[region->slot].rkey, 0,
			      memory_order_release);
	atomic_fetch_add_explicit(&t->exports->nr_removed, 1,
				  memory_order_release);
	munmap(base->base, base->len);
	close(region->fd);
	free(region);
	t->nr_regions--;
}

/* ---- the peer's side ---------------------------------------------------- */

static void map_drop(struct shm_map *map)
{
	if (!map->rkey)
		return;
	munmap(map->base, map->len);
	map->rkey = 0;
}

/* Is FD the memory that E promises? */
static bool map_is_right(int fd, const struct shm_export *e)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_dev == e->dev &&
	       st.st_ino == e->ino && (uint64_t)st.st_size >= e->len && e->len;
}

static bool map_open(struct shm_conn *conn, struct shm_map *map,
		     const struct shm_export *shared, uint32_t rkey)
{
	struct shm_export e;
	char path[64];
	void *mem;
	int fd;

	/* EXPORT_1 ACQUIRE, pairs with region_export() */
	if (atomic_load_explicit(&shared->rkey, memory_order_acquire) != rkey)
		return false;
	e.fd = shared->fd;
	e.len = shared->len;
	e.dev = shared->dev;
	e.ino = shared->ino;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)conn->peer_pid,
		 e.fd);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		dipc_warn("shm: region of process %d: %m", (int)conn->peer_pid);
		return false;
	}
	mem = map_is_right(fd, &e) ? mmap(NULL, e.len, PROT_READ | PROT_WRITE,
					  MAP_SHARED, fd, 0)
				   : MAP_FAILED;
	close(fd);
	if (mem == MAP_FAILED)
		return false;
	/* EXPORT_1: what was read above may have been of a later region */
	if (atomic_load_explicit(&shared->rkey, memory_order_acquire) != rkey) {
		munmap(mem, e.len);
		return false;
	}
	map->rkey = rkey;
	map->base = mem;
	map->len = e.len;
	return true;
}

uint8_t *shm_map_find(struct shm_conn *conn, struct dipc_remote remote,
		      size_t len)
{
	unsigned slot = remote.rkey % SHM_SLOTS;
	const struct shm_export *e = &conn->peer_exports->slot[slot];
	struct shm_map *map = &conn->maps[slot];

	if (map->rkey != remote.rkey || !remote.rkey ||
	    atomic_load_explicit(&e->rkey, memory_order_acquire) !=
		    remote.rkey) {
		map_drop(map);
		if (!remote.rkey || !map_open(conn, map, e, remote.rkey))
			return NULL;
	}
	if (remote.addr > map->len || len > map->len - remote.addr)
		return NULL;
	return map->base + remote.addr;
}

void shm_map_sweep(struct shm_conn *conn)
{
	const struct shm_exports *ex = conn->peer_exports;
	uint32_t removed;
	unsigned i;

	removed = atomic_load_explicit(&ex->nr_removed, memory_order_acquire);
	if (removed == conn->peer_removed)
		return;
	conn->peer_removed = removed;
	for (i = 0; i < SHM_SLOTS; i++)
		if (conn->maps[i].rkey &&
		    conn->maps[i].rkey !=
			    atomic_load_explicit(&ex->slot[i].rkey,
						 memory_order_acquire))
			map_drop(&conn->maps[i]);
}

void shm_map_fini(struct shm_conn *conn)
{
	unsigned i;

	if (!conn->maps)
		return;
	for (i = 0; i < SHM_SLOTS; i++)
		map_drop(&conn->maps[i]);
	free(conn->maps);
	conn->maps = NULL;
}
