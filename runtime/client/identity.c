/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/identity.h"

#include <linux/capability.h>
#include <stddef.h>

#include "runtime/base/sys.h"

#define GROUPS_MAX 65536u /* the kernel's limit */

#define CAP_BIT(cap) (1ull << (cap))
#define CAPS_OF_IPC                                                            \
	(CAP_BIT(CAP_IPC_OWNER) | CAP_BIT(CAP_IPC_LOCK) |                      \
	 CAP_BIT(CAP_SYS_ADMIN) | CAP_BIT(CAP_SYS_RESOURCE))

static uint64_t hash_groups(const uint32_t *groups, long nr)
{
	uint64_t hash = 14695981039346656037u + (uint64_t)nr; /* FNV-1a */
	long i;

	for (i = 0; i < nr; i++) /* sorted by the kernel */
		hash = (hash ^ groups[i]) * 1099511628211u;
	return hash;
}

static uint64_t groups_read(void)
{
	const size_t len = GROUPS_MAX * sizeof(uint32_t);
	uint32_t few[64], *many;
	uint64_t hash = 0;
	long nr;

	nr = dipc_sys3(SYS_getgroups, sizeof(few) / sizeof(few[0]),
		       (uintptr_t)few, 0);
	if (nr >= 0)
		return hash_groups(few, nr);
	many = dipc_sys_mmap(NULL, len, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (dipc_sys_mmap_error(many))
		return hash;
	nr = dipc_sys3(SYS_getgroups, GROUPS_MAX, (uintptr_t)many, 0);
	if (nr >= 0)
		hash = hash_groups(many, nr);
	dipc_sys_munmap(many, len);
	return hash;
}

static void caps_read(uint64_t *effective_out, uint64_t *permitted_out)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {0};

	dipc_sys3(SYS_capget, (uintptr_t)&head, (uintptr_t)caps, 0);
	*effective_out = (uint64_t)caps[1].effective << 32 | caps[0].effective;
	*permitted_out = (uint64_t)caps[1].permitted << 32 | caps[0].permitted;
}

void dipc_identity_read(struct dipc_identity *id_out)
{
	uint64_t permitted;

	id_out->uid = (uint32_t)dipc_sys3(SYS_geteuid, 0, 0, 0);
	id_out->gid = (uint32_t)dipc_sys3(SYS_getegid, 0, 0, 0);
	id_out->groups = groups_read();
	caps_read(&id_out->caps, &permitted);
	id_out->caps &= CAPS_OF_IPC;
}

bool dipc_identity_equal(const struct dipc_identity *a,
			 const struct dipc_identity *b)
{
	return a->uid == b->uid && a->gid == b->gid && a->groups == b->groups &&
	       a->caps == b->caps;
}

static bool is_one_of_three(long get_call, uint32_t id)
{
	uint32_t real = id + 1, effective = id + 1, saved = id + 1;

	dipc_sys3(get_call, (uintptr_t)&real, (uintptr_t)&effective,
		  (uintptr_t)&saved);
	return id == real || id == effective || id == saved;
}

bool dipc_identity_may_regain(const struct dipc_identity *old,
			      const struct dipc_identity *now)
{
	uint64_t effective, permitted;

	caps_read(&effective, &permitted);
	/* root that comes back has what it had */
	if (permitted & CAP_BIT(CAP_SETUID) ||
	    (old->uid == 0 && is_one_of_three(SYS_getresuid, 0)))
		return true;
	return is_one_of_three(SYS_getresuid, old->uid) &&
	       (permitted & CAP_BIT(CAP_SETGID) ||
		(is_one_of_three(SYS_getresgid, old->gid) &&
		 old->groups == now->groups)) &&
	       (old->caps & ~permitted) == 0;
}
