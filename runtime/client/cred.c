/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls that change who a process is. The kernel looks at that in every System
 * V call; dipcd hears it from the kernel when a connection is made. So each of
 * these lets the real one do its work and then asks for another connection.
 */
#include "runtime/client/client.h"

#include <grp.h>
#include <linux/capability.h>
#include <unistd.h>

#include "runtime/client/elf.h"
#include "runtime/client/guard.h"

/* libc exports it without a header of its own */
int capset(cap_user_header_t head, const cap_user_data_t data);

static struct {
	int (*setuid)(uid_t);
	int (*seteuid)(uid_t);
	int (*setreuid)(uid_t, uid_t);
	int (*setresuid)(uid_t, uid_t, uid_t);
	int (*setgid)(gid_t);
	int (*setegid)(gid_t);
	int (*setregid)(gid_t, gid_t);
	int (*setresgid)(gid_t, gid_t, gid_t);
	int (*setgroups)(size_t, const gid_t *);
	int (*initgroups)(const char *, gid_t);
	int (*capset)(cap_user_header_t, const cap_user_data_t);
} real;
static struct dipc_once real_once = DIPC_ONCE_INIT;

/* It gives an object pointer; ISO C wants the detour to a function's. */
#define FIND(name)                                                             \
	do {                                                                   \
		void *sym = dipc_elf_next(#name);                              \
		__builtin_memcpy(&real.name, &sym, sizeof(sym));               \
	} while (0)

static void real_find(void)
{
	FIND(setuid);
	FIND(seteuid);
	FIND(setreuid);
	FIND(setresuid);
	FIND(setgid);
	FIND(setegid);
	FIND(setregid);
	FIND(setresgid);
	FIND(setgroups);
	FIND(initgroups);
	FIND(capset);
}

/* A failed call may have done a part: initgroups, or a preload's. */
static int changed(int ret)
{
	dipc_conn_identity_changed(true);
	return ret;
}

#define CALL(name, ...)                                                        \
	do {                                                                   \
		dipc_once(&real_once, real_find);                              \
		return changed(real.name(__VA_ARGS__));                        \
	} while (0)

DIPC_EXPORT int setuid(uid_t uid)
{
	CALL(setuid, uid);
}

DIPC_EXPORT int seteuid(uid_t uid)
{
	CALL(seteuid, uid);
}

DIPC_EXPORT int setreuid(uid_t real_id, uid_t effective)
{
	CALL(setreuid, real_id, effective);
}

DIPC_EXPORT int setresuid(uid_t real_id, uid_t effective, uid_t saved)
{
	CALL(setresuid, real_id, effective, saved);
}

DIPC_EXPORT int setgid(gid_t gid)
{
	CALL(setgid, gid);
}

DIPC_EXPORT int setegid(gid_t gid)
{
	CALL(setegid, gid);
}

DIPC_EXPORT int setregid(gid_t real_id, gid_t effective)
{
	CALL(setregid, real_id, effective);
}

DIPC_EXPORT int setresgid(gid_t real_id, gid_t effective, gid_t saved)
{
	CALL(setresgid, real_id, effective, saved);
}

DIPC_EXPORT int setgroups(size_t nr, const gid_t *groups)
{
	CALL(setgroups, nr, groups);
}

DIPC_EXPORT int initgroups(const char *user, gid_t gid)
{
	CALL(initgroups, user, gid);
}

/* For the calling thread only. */
DIPC_EXPORT int capset(cap_user_header_t head, const cap_user_data_t data)
{
	int ret;

	dipc_once(&real_once, real_find);
	ret = real.capset(head, data);
	dipc_conn_identity_changed(false);
	return ret;
}
