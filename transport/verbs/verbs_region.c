/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/verbs/verbs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

struct dipc_vregion {
	struct dipc_region base;
	struct ibv_mr *mr; /* owned */
};

static size_t round_up(size_t len, size_t unit)
{
	return (len + unit - 1) / unit * unit;
}

/*
 * Give FD, the file at PATH, its size and its blocks (a full tmpfs must fail
 * here and not with SIGBUS later). A size of 0 is a file just made, or made by
 * somebody who died right then.
 */
static int region_size_file(int fd, const char *path, size_t *len)
{
	struct statfs fs;
	struct stat st;

	if (fstatfs(fd, &fs) || fstat(fd, &st))
		return -errno;
	*len = round_up(*len, (size_t)fs.f_bsize); /* hugetlbfs: 2 MiB */
	if (st.st_size == 0) {
		if (ftruncate(fd, (off_t)*len))
			return -errno;
	} else if ((size_t)st.st_size != *len) {
		dipc_error("%s has %lld bytes, not the %zu it must have: it "
			   "is of another configuration; remove it",
			   path, (long long)st.st_size, *len);
		return -EINVAL;
	}
	if (fallocate(fd, 0, 0, (off_t)*len))
		return -errno;
	return 0;
}

/* The mapping outlives the descriptor. */
static int region_map(const char *path, size_t *len, void **base_out)
{
	int fd = -1, ret, flags = MAP_SHARED;
	void *base;

	*len = round_up(*len, (size_t)sysconf(_SC_PAGESIZE));
	if (path) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0)
			return -errno;
		ret = region_size_file(fd, path, len);
		if (ret)
			goto out_close;
	} else {
		flags |= MAP_ANONYMOUS;
	}
	ret = 0;
	base = mmap(NULL, *len, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (base == MAP_FAILED)
		ret = -errno;
	else
		*base_out = base;
out_close:
	if (fd >= 0)
		close(fd);
	return ret;
}

/* Say why LEN bytes were not registered; -ENOMEM covers two causes. */
static int region_refused(size_t len, int ret)
{
	struct rlimit limit = {0};

	getrlimit(RLIMIT_MEMLOCK, &limit);
	if ((ret == -ENOMEM || ret == -EAGAIN) &&
	    limit.rlim_cur != RLIM_INFINITY) {
		dipc_error("cannot register %zu bytes for RDMA: %s; only %llu "
			   "bytes may be locked: raise `ulimit -l`, "
			   "LimitMEMLOCK= in the systemd unit",
			   len, strerror(-ret),
			   (unsigned long long)limit.rlim_cur);
		return -ENOMEM;
	}
	dipc_error("cannot register %zu bytes for RDMA: %s", len,
		   strerror(-ret));
	return ret;
}

int dipc_vregion_create(struct dipc_transport *t, const char *path, size_t len,
			struct dipc_region **region_out)
{
	const unsigned access =
		IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ |
		IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC;
	struct dipc_vregion *region;
	void *base = NULL;
	int ret;

	if (len == 0 || len > SIZE_MAX / 2)
		return -EINVAL;
	region = calloc(1, sizeof(*region));
	if (!region)
		return -ENOMEM;
	ret = region_map(path, &len, &base);
	if (ret)
		goto err_region;
	/* A child must not take, by copy-on-write, the pages the device has. */
	if (madvise(base, len, MADV_DONTFORK)) {
		ret = -errno;
		goto err_map;
	}
	ret = vb_reg_mr(dipc_verbs_of(t)->pd, base, len, access, &region->mr);
	if (ret) {
		ret = region_refused(len, ret);
		goto err_map;
	}
	region->base = (struct dipc_region){
		.base = base,
		.len = len,
		.remote = {.addr = (uintptr_t)base, .rkey = region->mr->rkey},
		.lkey = region->mr->lkey,
		.transport = t,
	};
	*region_out = &region->base;
	return 0;

err_map:
	munmap(base, len);
err_region:
	free(region);
	return ret;
}

void dipc_vregion_destroy(struct dipc_region *base)
{
	struct dipc_vregion *region;

	if (!base)
		return;
	region = dipc_container_of(base, struct dipc_vregion, base);
	vb_dereg_mr(region->mr);
	munmap(base->base, base->len);
	free(region);
}
