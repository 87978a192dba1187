/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Here calls may come in from anywhere, before main and inside other
 * libraries' start-up: who does not use dipcd for all keys must get past by one
 * look at a word, without a lock, libc's files, or the configuration.
 */
#include "runtime/client/sysvipc.h"

#include <errno.h>
#include <linux/memfd.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/sys.h"
#include "runtime/client/client.h"
#include "runtime/client/copy.h"

#define PAGE_SIZE 4096u

extern char **environ;

/* ---- which -------------------------------------------------------------- */

static const struct file {
	const char *path;
	enum dipc_kind kind; /* NONE: one of the limits */
	size_t limit;        /* where in struct dipc_info */
	unsigned size;       /* of it; 0: all four of semaphores */
} files[] = {
#define LIMIT(name)                                                            \
	{                                                                      \
		"/proc/sys/kernel/" #name, DIPC_KIND_NONE,                     \
			offsetof(struct dipc_info, name),                      \
			sizeof(((struct dipc_info *)0)->name)                  \
	}
	{"/proc/sysvipc/shm", DIPC_KIND_SHM, 0, 0},
	{"/proc/sysvipc/sem", DIPC_KIND_SEM, 0, 0},
	{"/proc/sysvipc/msg", DIPC_KIND_MSG, 0, 0},
	{"/proc/sys/kernel/sem", DIPC_KIND_NONE, 0, 0},
	LIMIT(shmmax),
	LIMIT(shmall),
	LIMIT(shmmni),
	LIMIT(msgmax),
	LIMIT(msgmnb),
	LIMIT(msgmni),
};

#define NR_FILES     (sizeof(files) / sizeof(files[0]))
#define PATH_MAX_LEN 24u /* of those above, with their ends */

enum wanted {
	WANTED_UNKNOWN,
	WANTED_NO,
	WANTED_YES,
};

/* By the environment alone: dipc_keys_are_all() reads the configuration. */
static bool is_wanted(void)
{
	static _Atomic int wanted = WANTED_UNKNOWN;
	/* WANTED_1 relaxed: whoever looks for himself finds the same */
	int now = atomic_load_explicit(&wanted, memory_order_relaxed);
	const char *keys;

	if (now == WANTED_UNKNOWN) {
		if (!environ)
			return false; /* too early to know */
		keys = getenv("DIPC_KEYS");
		now = keys && !strcmp(keys, "all") ? WANTED_YES : WANTED_NO;
		atomic_store_explicit(&wanted, now, memory_order_relaxed);
	}
	return now == WANTED_YES;
}

/* The path's beginning, which may be at a bad address or end at a page's. */
static bool path_copy(char copy[PATH_MAX_LEN], const char *path)
{
	size_t here = PAGE_SIZE - (uintptr_t)path % PAGE_SIZE;

	memset(copy, 0, PATH_MAX_LEN);
	if (here > PATH_MAX_LEN)
		here = PATH_MAX_LEN;
	if (dipc_copy_in(copy, path, here))
		return false;
	if (here == PATH_MAX_LEN || memchr(copy, 0, here))
		return true;
	return !strncmp(copy, "/proc/sys", here < 9 ? here : 9) &&
	       !dipc_copy_in(copy + here, path + here, PATH_MAX_LEN - here);
}

int dipc_sysvipc_find(const char *path)
{
	char copy[PATH_MAX_LEN];
	unsigned i;

	if (!is_wanted() || !path || !path_copy(copy, path))
		return -1;
	if (memcmp(copy, "/proc/sys", 9))
		return -1;
	for (i = 0; i < NR_FILES; i++)
		if (!strncmp(copy, files[i].path, PATH_MAX_LEN))
			return (int)i;
	return -1;
}

/* ---- text --------------------------------------------------------------- */

/* A memfd that is being filled. */
struct text {
	int fd;
	int error; /* the first one, 0 */
	unsigned len;
	char buf[4096];
};

static void text_flush(struct text *t)
{
	unsigned done = 0;

	while (!t->error && done < t->len) {
		ssize_t n = dipc_sys_write(t->fd, t->buf + done, t->len - done);

		if (n < 0 && n != -EINTR)
			t->error = (int)n;
		else if (n > 0)
			done += (unsigned)n;
	}
	t->len = 0;
}

__attribute__((format(printf, 2, 3))) static void
text_add(struct text *t, const char *format, ...)
{
	va_list ap;
	int n;

	if (t->len > sizeof(t->buf) - 512)
		text_flush(t);
	va_start(ap, format);
	n = vsnprintf(t->buf + t->len, sizeof(t->buf) - t->len, format, ap);
	va_end(ap);
	if (n > 0)
		t->len += (unsigned)n;
}

/* What the kernel has to say. -ENOSYS: nothing, let it say so itself. */
static int text_add_kernel(struct text *t, const char *path)
{
	int fd = dipc_sys_open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd < 0)
		return -ENOSYS;
	do {
		text_flush(t);
		n = dipc_sys_read(fd, t->buf, sizeof(t->buf));
		if (n > 0)
			t->len = (unsigned)n;
	} while (n > 0 || n == -EINTR);
	dipc_sys_close(fd);
	return n < 0 ? (int)n : 0;
}

/* The columns of ipc/{shm,sem,msg}.c. */
static void text_add_row(struct text *t, const struct dipc_ls_row *row)
{
	const struct dipc_stat *st = &row->stat;

	switch ((enum dipc_kind)row->kind) {
	case DIPC_KIND_SHM:
		text_add(t,
			 "%10d %10d  %4o %21llu %5d %5d  %5llu %5u %5u %5u %5u "
			 "%10lld %10lld %10lld %21llu %21llu\n",
			 st->key, st->id, st->mode & 07777,
			 (unsigned long long)st->size, st->pid1, st->pid2,
			 (unsigned long long)st->count, st->uid, st->gid,
			 st->cuid, st->cgid, (long long)st->time1,
			 (long long)st->time2, (long long)st->ctime,
			 (unsigned long long)row->rss, 0ull);
		return;
	case DIPC_KIND_SEM:
		text_add(t,
			 "%10d %10d  %4o %10llu %5u %5u %5u %5u %10lld "
			 "%10lld\n",
			 st->key, st->id, st->mode & 0777,
			 (unsigned long long)st->size, st->uid, st->gid,
			 st->cuid, st->cgid, (long long)st->time1,
			 (long long)st->ctime);
		return;
	case DIPC_KIND_MSG:
		text_add(t,
			 "%10d %10d  %4o  %10llu %10llu %5d %5d %5u %5u %5u "
			 "%5u %10lld %10lld %10lld\n",
			 st->key, st->id, st->mode & 0777,
			 (unsigned long long)st->bytes,
			 (unsigned long long)st->count, st->pid1, st->pid2,
			 st->uid, st->gid, st->cuid, st->cgid,
			 (long long)st->time1, (long long)st->time2,
			 (long long)st->ctime);
		return;
	case DIPC_KIND_NONE:
		return;
	}
}

static int text_add_objects(struct text *t, enum dipc_kind kind)
{
	struct dipc_slot_call c = {.call = DIPC_CALL_LS};
	struct dipc_ls_row *rows;
	int64_t next;
	size_t i;
	int ret;

	rows = dipc_sys_mmap(NULL, DIPC_SLOT_PAYLOAD, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ret = dipc_sys_mmap_error(rows);
	if (ret)
		return ret;
	c.args.ctl.cmd = (int32_t)kind;
	c.out = rows;
	c.out_max = DIPC_SLOT_PAYLOAD;
	do {
		next = dipc_slot_run(&c);
		for (i = 0; next >= 0 && i < c.out_len / sizeof(*rows); i++)
			text_add_row(t, &rows[i]);
		/* it must go on, or a mad dipcd would hold us here */
		if (next > 0 && next <= c.args.ctl.num)
			next = -EPROTO;
		c.args.ctl.num = (int32_t)next;
	} while (next > 0);
	dipc_sys_munmap(rows, DIPC_SLOT_PAYLOAD);
	return (int)next;
}

static int text_add_limit(struct text *t, const struct file *file)
{
	struct dipc_slot_call c = {.call = DIPC_CALL_INFO};
	struct dipc_info info = {0};
	uint64_t value = 0; /* little endian: the low bytes come first */
	int64_t ret;

	c.args.ctl.num = DIPC_KIND_SHM; /* any: limits are all there */
	c.out = &info;
	c.out_max = sizeof(info);
	ret = dipc_slot_run(&c);
	if (ret < 0)
		return (int)ret;
	memcpy(&value, (const char *)&info + file->limit, file->size);
	if (file->size)
		text_add(t, "%llu\n", (unsigned long long)value);
	else
		text_add(t, "%u\t%u\t%u\t%u\n", info.semmsl, info.semmns,
			 info.semopm, info.semmni);
	return 0;
}

/* ---- opening ------------------------------------------------------------ */

/* Another description of what FD is, read-only and from the start. */
static int reopen(int fd, int flags)
{
	char path[40];
	int ret;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ret = dipc_sys_open(path, O_RDONLY | (flags & O_CLOEXEC));
	dipc_sys_close(fd);
	return ret;
}

int dipc_sysvipc_open(int which, int flags)
{
	const struct file *file = &files[which];
	struct text t = {.error = 0};
	int ret;

	/* writing, creating, O_PATH: nothing that we would know better */
	if (flags & ~(O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW |
		      O_LARGEFILE | 0100000))
		return -ENOSYS;
	if (dipc_conn_use() != 1)
		return -ENOSYS;
	t.fd = (int)dipc_sys3(SYS_memfd_create, (uintptr_t) "dipc-sysvipc",
			      MFD_CLOEXEC, 0);
	if (t.fd < 0)
		return t.fd;
	if (file->kind == DIPC_KIND_NONE) {
		ret = text_add_limit(&t, file);
	} else {
		ret = text_add_kernel(&t, file->path);
		if (!ret)
			ret = text_add_objects(&t, file->kind);
	}
	text_flush(&t);
	if (!ret)
		ret = t.error;
	if (!ret)
		return reopen(t.fd, flags);
	dipc_sys_close(t.fd);
	return ret;
}
