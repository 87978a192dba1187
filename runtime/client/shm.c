/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segments. An attachment is mapped PROT_NONE, put under dipcd's care, and
 * only then opened up: nothing, not even mlockall or a fork in between, can
 * touch a page before its faults are served.
 */
#include "runtime/client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "runtime/client/copy.h"
#include "runtime/client/range.h"
#include "runtime/client/stat.h"

#define PAGE_SIZE 4096u /* and SHMLBA */

struct attachment {
	struct attachment *next;
	char *addr;
	size_t len;
};

static struct attachment *attachments; /* guarded by the connection's lock */

DIPC_EXPORT int shmget(key_t key, size_t size, int flags)
{
	int use;

	if (!dipc_keys_match(key, flags, true))
		return dipc_real()->shmget(key, size, flags);
	use = dipc_conn_use();
	if (use == 0)
		return dipc_real()->shmget(key, size, flags);
	if (use < 0)
		return (int)dipc_posix_ret(use);
	return (int)dipc_posix_ret(
		dipc_get(DIPC_CALL_SHMGET, key, size, flags));
}

/* ---- attaching ---------------------------------------------------------- */

/* Where the program wants it: NULL means anywhere. */
static int attach_place(const void *wanted, int flags, char **addr_out)
{
	uintptr_t addr = (uintptr_t)wanted;

	if (!wanted) {
		*addr_out = NULL;
		return (flags & SHM_REMAP) ? -EINVAL : 0;
	}
	if (addr % PAGE_SIZE) {
		if (!(flags & SHM_RND))
			return -EINVAL;
		addr -= addr % PAGE_SIZE;
		if (addr == 0 && (flags & SHM_REMAP))
			return -EINVAL;
	}
	*addr_out = (char *)addr;
	return 0;
}

static int attach_map(char *addr, size_t len, int fd, int flags,
		      char **addr_out)
{
	int how = (flags & SHM_RDONLY) ? MAP_PRIVATE : MAP_SHARED;
	char *map;

	if (addr)
		how |= (flags & SHM_REMAP) ? MAP_FIXED : MAP_FIXED_NOREPLACE;
	map = mmap(addr, len, PROT_NONE, how | MAP_NORESERVE, fd, 0);
	if (map == MAP_FAILED)
		return errno == EEXIST ? -EINVAL : -errno;
	if (addr && map != addr) { /* a kernel without NOREPLACE */
		munmap(map, len);
		return -EINVAL;
	}
	madvise(map, len, MADV_NOHUGEPAGE);
	*addr_out = map;
	return 0;
}

static int attach_protection(int flags)
{
	int prot = PROT_READ;

	if (!(flags & SHM_RDONLY))
		prot |= PROT_WRITE;
	if (flags & SHM_EXEC)
		prot |= PROT_EXEC;
	return prot;
}

/* Called with the lock held. */
static int attach_with(struct attachment *at, int id, const void *wanted,
		       int flags)
{
	struct dipc_sock_msg q = {
		.type = DIPC_SOCK_ATTACH, .id = id, .flags = flags};
	struct dipc_range range = {.id = id, .is_readonly = flags & SHM_RDONLY};
	static uint32_t last_attach;
	struct dipc_sock_msg a;
	char *place;
	int fd, ret;

	ret = attach_place(wanted, flags, &place);
	if (ret)
		return ret;
	ret = dipc_conn_need_faults();
	if (ret)
		return ret;
	ret = dipc_conn_ask(&q, -1, &a, &fd);
	if (ret)
		return ret;
	ret = a.status;
	if (ret == 0 && fd < 0)
		ret = -EPROTO;
	if (ret)
		goto out_fd;
	at->len = (a.size + PAGE_SIZE - 1) & ~(size_t)(PAGE_SIZE - 1);
	ret = attach_map(place, at->len, fd, flags, &at->addr);
	if (ret)
		goto out_fd;
	range.start = at->addr;
	range.len = at->len;
	range.segment_size = a.size;
	range.attach = ++last_attach;
	ret = dipc_range_add(&range);
	if (ret)
		goto err_map;
	q.type = DIPC_SOCK_MAPPED;
	q.addr = (uintptr_t)at->addr;
	q.size = at->len;
	ret = dipc_conn_ask(&q, -1, &a, NULL);
	if (ret == 0)
		ret = a.status;
	if (ret == 0 && mprotect(at->addr, at->len, attach_protection(flags)))
		ret = -errno;
	if (ret)
		goto err_range;
	goto out_fd;

err_range:
	dipc_range_remove(at->addr, at->len);
err_map:
	munmap(at->addr, at->len);
out_fd:
	if (fd >= 0)
		close(fd);
	return ret;
}

/*
 * What was at AT's place is gone: replaced by SHM_REMAP, or unmapped by the
 * program without shmdt. Called with the lock held.
 */
static void attach_forget_overlapped(const struct attachment *at)
{
	struct attachment **link = &attachments;

	while (*link) {
		struct attachment *old = *link;

		if (old->addr >= at->addr + at->len ||
		    at->addr >= old->addr + old->len) {
			link = &old->next;
			continue;
		}
		*link = old->next;
		free(old);
	}
}

DIPC_EXPORT void *shmat(int id, const void *wanted, int flags)
{
	int ours = dipc_id_is_ours(id);
	struct attachment *at;
	int saved = errno;
	int ret;

	if (ours == 0)
		return dipc_real()->shmat(id, wanted, flags);
	if (ours < 0)
		goto err_none;
	at = calloc(1, sizeof(*at));
	if (!at) {
		ours = -ENOMEM;
		goto err_none;
	}
	dipc_conn_lock();
	ret = attach_with(at, id, wanted, flags);
	if (ret == 0) {
		attach_forget_overlapped(at);
		at->next = attachments;
		attachments = at;
	}
	dipc_conn_unlock();
	if (ret == 0) {
		errno = saved;
		return at->addr;
	}
	free(at);
	ours = ret;
err_none:
	return (void *)dipc_posix_ret(ours);
}

/* ---- detaching ---------------------------------------------------------- */

DIPC_EXPORT int shmdt(const void *addr)
{
	struct attachment **link, *at;

	dipc_conn_lock();
	for (link = &attachments; *link; link = &(*link)->next)
		if ((*link)->addr == addr)
			break;
	at = *link;
	if (at)
		*link = at->next;
	if (at) {
		/* dipcd learns of it from the kernel, as of any munmap */
		munmap(at->addr, at->len);
		dipc_range_remove(at->addr, at->len);
	}
	dipc_conn_unlock();
	if (!at)
		return dipc_real()->shmdt(addr);
	free(at);
	return 0;
}

/* ---- control ------------------------------------------------------------ */

static int64_t shm_stat(int id, struct shmid_ds *buf)
{
	struct dipc_stat stat = {0};
	struct shmid_ds ds;
	int64_t ret = dipc_ctl(DIPC_CALL_SHMCTL, id, IPC_STAT, &stat);

	if (ret < 0)
		return ret;
	dipc_stat_to_shm(&stat, &ds);
	return dipc_copy_out(buf, &ds, sizeof(ds));
}

static int64_t shm_set(int id, const struct shmid_ds *buf)
{
	struct dipc_stat stat = {0};
	struct shmid_ds ds;

	if (dipc_copy_in(&ds, buf, sizeof(ds)))
		return -EFAULT;
	stat.uid = ds.shm_perm.uid;
	stat.gid = ds.shm_perm.gid;
	stat.mode = ds.shm_perm.mode & 0777;
	return dipc_ctl(DIPC_CALL_SHMCTL, id, IPC_SET, &stat);
}

static int64_t shm_ctl(int id, int cmd, struct shmid_ds *ds)
{
	int64_t ret;

	if (dipc_info_shm(id, cmd, ds, &ret))
		return ret;
	switch (cmd) {
	case IPC_STAT:
		return shm_stat(id, ds);
	case IPC_SET:
		return shm_set(id, ds);
	default:
		return dipc_ctl(DIPC_CALL_SHMCTL, id, cmd, NULL);
	}
}

DIPC_EXPORT int shmctl(int id, int cmd, struct shmid_ds *ds)
{
	int ours = dipc_ctl_is_ours(DIPC_KIND_SHM, id, cmd);

	if (ours == 0)
		return dipc_real()->shmctl(id, cmd, ds);
	if (ours < 0)
		return (int)dipc_posix_ret(ours);
	return (int)dipc_posix_ret(shm_ctl(id, cmd, ds));
}
