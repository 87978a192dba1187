/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A segment's page cache. docs/design/pages.md, "The pager": INV-7 (what is
 * installed is write-protected where write was not granted) and INV-8 (the
 * memfd holds what is installed) are kept here.
 */
#include "runtime/node/pager_uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/log.h"
#include "runtime/node/space_private.h"
#include "runtime/protocol/seeded_bug.h"

#define STRAY_TRIES 3

struct uffd_pager *dipc_uffd_pager(struct dipc_pager *pager)
{
	return dipc_container_of(pager, struct uffd_pager, base);
}

/* ---- the memfd ---------------------------------------------------------- */

static off_t page_off(uint64_t page)
{
	return (off_t)(page * DIPC_PAGE_SIZE);
}

static bool memfd_has(const struct uffd_pager *p, uint64_t page)
{
	return lseek(p->memfd, page_off(page), SEEK_DATA) == page_off(page);
}

static int memfd_punch(struct uffd_pager *p, uint64_t first, unsigned nr)
{
	int ret;

	do {
		ret = fallocate(p->memfd,
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				page_off(first), page_off(nr));
	} while (ret && errno == EINTR);
	return ret ? -errno : 0;
}

static int memfd_fill(struct uffd_pager *p, uint64_t page, const void *data)
{
	ssize_t n;

	do {
		n = pwrite(p->memfd, data, DIPC_PAGE_SIZE, page_off(page));
	} while (n < 0 && errno == EINTR);
	if (n == DIPC_PAGE_SIZE)
		return 0;
	return n < 0 ? -errno : -ENOMEM;
}

static int memfd_copy(const struct uffd_pager *p, uint64_t first, unsigned nr,
		      void *data)
{
	size_t done = 0, len = (size_t)page_off(nr);
	ssize_t n;

	while (done < len) {
		n = pread(p->memfd, (char *)data + done, len - done,
			  page_off(first) + (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

/* ---- protection --------------------------------------------------------- */

static int protect_all(struct uffd_pager *p, uint64_t first, uint64_t nr)
{
	struct dipc_list *pos;
	int ret;

	dipc_list_for_each (pos, &p->maps) {
		ret = dipc_map_protect(
			dipc_container_of(pos, struct map, in_pager), first, nr,
			true);
		if (ret)
			return ret;
	}
	return 0;
}

/* Before the first page of a block is installed. */
static int prepare_block(struct uffd_pager *p, uint64_t page)
{
	uint64_t block = page / BLOCK_PAGES;
	int ret;

	if (p->populated[block / 64] & 1ull << block % 64)
		return 0;
	ret = protect_all(p, block * BLOCK_PAGES, BLOCK_PAGES);
	if (ret)
		return ret;
	p->populated[block / 64] |= 1ull << block % 64;
	return 0;
}

int dipc_uffd_pager_protect_new(struct uffd_pager *p, struct map *map)
{
	uint64_t block, nr = (p->nr_pages + BLOCK_PAGES - 1) / BLOCK_PAGES;
	int ret;

	for (block = 0; block < nr; block++) {
		if (!(p->populated[block / 64] & 1ull << block % 64))
			continue;
		ret = dipc_map_protect(map, block * BLOCK_PAGES, BLOCK_PAGES,
				       true);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * End the faults of WHO at these pages, in all its mappings but DONE, where
 * that has happened.
 */
static int let_go(struct uffd_pager *p, uint64_t first, unsigned nr,
		  uint64_t who, bool is_write, const struct map *done)
{
	struct dipc_list *pos;
	int ret;

	dipc_list_for_each (pos, &p->maps) {
		struct map *map = dipc_container_of(pos, struct map, in_pager);

		if (map->space->id != who || map == done)
			continue;
		if (is_write && !map->attach->is_readonly) {
			ret = dipc_map_protect(map, first, nr, false);
			if (ret)
				return ret;
		} else {
			dipc_map_wake(map, first, nr);
		}
	}
	return 0;
}

/* ---- installing --------------------------------------------------------- */

/* A mapping to copy through: WHO's, else any, none if all are read-only. */
static struct map *pick_map(struct uffd_pager *p, uint64_t page, uint64_t who)
{
	struct dipc_list *pos;
	struct map *any = NULL;

	dipc_list_for_each (pos, &p->maps) {
		struct map *map = dipc_container_of(pos, struct map, in_pager);

		if (map->attach->is_readonly || !dipc_map_has(map, page))
			continue;
		if (map->space->id == who)
			return map;
		any = map;
	}
	return any;
}

/*
 * A page where none was installed: somebody got at the memfd past us (an
 * unregistered mapping). What it holds is nobody's data.
 */
static int remove_stray(struct uffd_pager *p, uint64_t page)
{
	int ret;

	dipc_warn("segment 0x%x: removed a stray page %llu", p->id,
		  (unsigned long long)page);
	p->spaces->counters.nr_strays++;
	ret = memfd_punch(p, page, 1);
	return ret ? ret : protect_all(p, page, 1);
}

/*
 * Through MAP. > 0: so many pages from FIRST on are there; 0: not by this way
 * (split, out of the cgroup's memory, address space gone, or not a mapping of
 * ours at all); -errno.
 */
static int install_by_copy(struct uffd_pager *p, struct map *map,
			   uint64_t first, unsigned nr, const void *data,
			   bool wp)
{
	int n = 0, i, ret;

	for (i = 0; i < STRAY_TRIES; i++) {
		n = dipc_map_copy(map, first, nr, data, wp);
		if (n != -EEXIST || !memfd_has(p, first))
			break;
		ret = remove_stray(p, first);
		if (ret)
			return ret;
	}
	if (n <= 0)
		return 0;
	/* one UFFDIO_COPY fills one mapping: where the last page went, all did.
	   (To look for the next hole would take as long as it is far.) */
	if (memfd_has(p, first + (unsigned)n - 1))
		return n;
	/* the client lied about what is mapped there: never again */
	dipc_warn("segment 0x%x: process %u has mapped something else", p->id,
		  map->space->pid);
	dipc_map_set_gone(map);
	return 0;
}

/* One page. 1 or -errno. */
static int install_by_write(struct uffd_pager *p, uint64_t page,
			    const void *data)
{
	int ret;

	if (memfd_has(p, page)) {
		ret = remove_stray(p, page);
		if (ret)
			return ret;
	}
	ret = memfd_fill(p, page, data);
	return ret ? ret : 1;
}

static int pager_install(struct dipc_pager *pager, uint64_t first, unsigned nr,
			 const void *data, uint64_t who, bool is_write)
{
	struct uffd_pager *p = dipc_uffd_pager(pager);
	const char *from = data;
	struct map *map, *done = NULL;
	uint64_t at = first, end = first + nr;
	int n;

	n = prepare_block(p, first);
	if (n)
		return n;
	while (at < end) {
		map = pick_map(p, at, who);
		n = 0;
		if (map)
			n = install_by_copy(p, map, at, (unsigned)(end - at),
					    from,
					    !is_write || map->space->id != who);
		/* a copy has let go of who waited, in one mapping */
		done = n == (int)nr ? map : NULL;
		if (n == 0)
			n = install_by_write(p, at, from);
		if (n < 0) {
			dipc_error("segment 0x%x: page %llu not installed: "
				   "error %d",
				   p->id, (unsigned long long)at, -n);
			return n;
		}
		at += (unsigned)n;
		from += page_off((unsigned)n);
	}
	return let_go(p, first, nr, who, is_write, done);
}

/* ---- the other operations ----------------------------------------------- */

static int pager_resolve(struct dipc_pager *pager, uint64_t page, uint64_t who,
			 bool is_write)
{
	struct uffd_pager *p = dipc_uffd_pager(pager);

	if (!memfd_has(p, page))
		return -ENOENT;
	return let_go(p, page, 1, who, is_write, NULL);
}

static int pager_protect_and_copy(struct dipc_pager *pager, uint64_t first,
				  unsigned nr, void *data)
{
	struct uffd_pager *p = dipc_uffd_pager(pager);
	int ret;

	ret = seeded_bug(3) ? 0 : protect_all(p, first, nr);
	return ret ? ret : memfd_copy(p, first, nr, data);
}

static int pager_drop(struct dipc_pager *pager, uint64_t first, unsigned nr)
{
	struct uffd_pager *p = dipc_uffd_pager(pager);
	int ret;

	ret = memfd_punch(p, first, nr);
	if (ret || seeded_bug(4))
		return ret;
	/* the cure: a fault beside the punch can have lost a marker */
	return protect_all(p, first, nr);
}

static int pager_poison(struct dipc_pager *pager, uint64_t page, uint64_t who)
{
	struct uffd_pager *p = dipc_uffd_pager(pager);
	struct dipc_list *pos;
	int ret;

	dipc_list_for_each (pos, &p->maps) {
		struct map *map = dipc_container_of(pos, struct map, in_pager);

		if (map->space->id != who || !dipc_map_has(map, page))
			continue;
		ret = dipc_map_poison(map, page);
		if (ret)
			return ret;
	}
	return 0;
}

static void pager_kill(struct dipc_pager *pager)
{
	struct uffd_pager *p = dipc_uffd_pager(pager);
	struct dipc_list *pos;

	if (ftruncate(p->memfd, 0))
		dipc_error("segment 0x%x cannot be emptied: %m", p->id);
	p->is_dead = true;
	dipc_list_for_each (pos, &p->maps) {
		struct map *map = dipc_container_of(pos, struct map, in_pager);

		dipc_map_wake(map, map->first, map->nr);
	}
}

static const struct dipc_pager_ops uffd_ops = {
	.install = pager_install,
	.resolve = pager_resolve,
	.protect_and_copy = pager_protect_and_copy,
	.drop = pager_drop,
	.poison = pager_poison,
	.kill = pager_kill,
};

/* ---- life --------------------------------------------------------------- */

static int memfd_open(struct uffd_pager *p)
{
	char path[32];
	int ret;

	p->memfd =
		memfd_create("dipc-segment", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (p->memfd < 0)
		return -errno;
	/* 0600: no other user can reopen the read-only one for writing */
	if (fchmod(p->memfd, 0600) ||
	    ftruncate(p->memfd, page_off(p->nr_pages)) ||
	    /* who has it for writing may not add memory that we keep */
	    fcntl(p->memfd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL)) {
		ret = -errno;
		goto err_memfd;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p->memfd);
	p->rofd = open(path, O_RDONLY | O_CLOEXEC);
	if (p->rofd < 0) {
		ret = -errno;
		goto err_memfd;
	}
	return 0;

err_memfd:
	close(p->memfd);
	return ret;
}

int dipc_pager_uffd_create(struct dipc_spaces *spaces, struct dipc_segment *seg,
			   struct dipc_pager **pager_out)
{
	struct uffd_pager *p = calloc(1, sizeof(*p));
	uint64_t nr_blocks;
	int ret = -ENOMEM;

	if (!p)
		return ret;
	p->base.ops = &uffd_ops;
	p->seg = seg;
	p->spaces = spaces;
	p->id = (uint32_t)dipc_segment_id(seg);
	p->nr_pages = dipc_segment_nr_pages(seg);
	dipc_list_init(&p->maps);
	nr_blocks = (p->nr_pages + BLOCK_PAGES - 1) / BLOCK_PAGES;
	p->populated = calloc((nr_blocks + 63) / 64, sizeof(*p->populated));
	if (!p->populated)
		goto err_pager;
	ret = memfd_open(p);
	if (ret) {
		dipc_error("segment 0x%x: no memfd: error %d", p->id, -ret);
		goto err_populated;
	}
	if (spaces->events->keep)
		spaces->events->keep(spaces->arg, DIPC_KEEP_MEMFD, p->id,
				     p->memfd);
	spaces->nr_refs++;
	*pager_out = &p->base;
	return 0;

err_populated:
	free(p->populated);
err_pager:
	free(p);
	return ret;
}

void dipc_pager_uffd_destroy(struct dipc_pager *pager)
{
	struct dipc_spaces *spaces;
	struct uffd_pager *p;

	if (!pager)
		return;
	p = dipc_uffd_pager(pager);
	spaces = p->spaces;
	if (spaces->events->unkeep)
		spaces->events->unkeep(spaces->arg, DIPC_KEEP_MEMFD, p->id);
	close(p->rofd);
	close(p->memfd);
	free(p->populated);
	free(p);
	dipc_spaces_put(spaces);
}

int dipc_pager_uffd_fd(const struct dipc_pager *pager, bool is_readonly)
{
	const struct uffd_pager *p =
		dipc_container_of(pager, const struct uffd_pager, base);

	return is_readonly ? p->rofd : p->memfd;
}

uint64_t dipc_pager_uffd_resident(const struct dipc_pager *pager)
{
	struct stat st;

	if (fstat(dipc_pager_uffd_fd(pager, false), &st))
		return 0;
	return (uint64_t)st.st_blocks * 512 / DIPC_PAGE_SIZE;
}

/* ---- memory of this machine --------------------------------------------- */

/* The number in the first line of PATH; UINT64_MAX if there is none. */
static uint64_t read_number(const char *path)
{
	unsigned long long value;
	FILE *file = fopen(path, "re");
	int n;

	if (!file)
		return UINT64_MAX;
	n = fscanf(file, "%llu", &value);
	fclose(file);
	return n == 1 ? value : UINT64_MAX;
}

static uint64_t meminfo_available(void)
{
	unsigned long long kib;
	uint64_t bytes = UINT64_MAX;
	char line[128];
	FILE *file = fopen("/proc/meminfo", "re");

	if (!file)
		return bytes;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			bytes = kib * 1024;
	fclose(file);
	return bytes;
}

/* What the cgroup (version 2) leaves us. */
static uint64_t cgroup_available(void)
{
	char line[512], path[640];
	uint64_t max, used;
	FILE *file = fopen("/proc/self/cgroup", "re");

	if (!file)
		return UINT64_MAX;
	path[0] = '\0';
	while (fgets(line, sizeof(line), file)) {
		char group[512];

		if (sscanf(line, "0::%511s", group) == 1)
			snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.",
				 group);
	}
	fclose(file);
	if (!path[0])
		return UINT64_MAX;
	snprintf(line, sizeof(line), "%.480smax", path);
	max = read_number(line);
	snprintf(line, sizeof(line), "%.480scurrent", path);
	used = read_number(line);
	if (max == UINT64_MAX || used == UINT64_MAX)
		return UINT64_MAX;
	return used < max ? max - used : 0;
}

uint64_t dipc_memory_available(void)
{
	uint64_t machine = meminfo_available();
	uint64_t cgroup = cgroup_available();

	return machine < cgroup ? machine : cgroup;
}
