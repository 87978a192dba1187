/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/node/process.h"

#include <assert.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/base/log.h"
#include "runtime/node/node.h"

/* Adjustments of one set, kept sparse: programs undo few semaphores. */
struct undo_set {
	struct dipc_list entry; /* process->undo */
	int32_t id;
	unsigned nr, room;
	struct dipc_sem_adj *adj; /* owned */
};

static void undo_set_free(struct undo_set *set)
{
	dipc_list_del(&set->entry);
	free(set->adj);
	free(set);
}

/* ---- life --------------------------------------------------------------- */

static void process_free(struct dipc_process *p)
{
	dipc_loop_unwatch(p->node->loop, &p->watch);
	close(p->watch.fd);
	while (!dipc_list_is_empty(&p->undo))
		undo_set_free(dipc_container_of(p->undo.next, struct undo_set,
						entry));
	dipc_list_del(&p->entry);
	free(p);
}

/* Take back everything, then forget the process. Fiber. */
static void process_bury(void *arg)
{
	struct dipc_process *p = arg;

	while (!dipc_list_is_empty(&p->undo)) {
		struct undo_set *set =
			dipc_container_of(p->undo.next, struct undo_set, entry);
		int ret;

		dipc_list_del(&set->entry);
		ret = dipc_sem_undo(p->node->sems, set->id, p->pid, set->adj,
				    set->nr);
		if (ret && ret != -EIDRM && ret != -EINVAL)
			dipc_error("undo of process %u on set 0x%x lost: %s",
				   p->pid, (unsigned)set->id, strerror(-ret));
		undo_set_free(set);
	}
	process_free(p);
}

static void process_check(struct dipc_process *p)
{
	if (!p->is_gone || p->nr_refs)
		return;
	if (dipc_list_is_empty(&p->undo)) {
		process_free(p);
		return;
	}
	p->nr_refs++; /* the burial's; never put */
	if (dipc_fiber_spawn(dipc_loop_sched(p->node->loop), process_bury, p))
		dipc_error("no memory to undo what process %u did", p->pid);
}

static void process_gone(struct dipc_watch *watch, uint32_t events)
{
	struct dipc_process *p =
		dipc_container_of(watch, struct dipc_process, watch);

	(void)events;
	p->is_gone = true;
	dipc_loop_unwatch(p->node->loop, watch);
	dipc_node_process_gone(p->node, p->pid);
	process_check(p);
}

int dipc_process_get(struct dipc_node *node, uint32_t pid,
		     struct dipc_process **process_out)
{
	struct dipc_list *pos;
	struct dipc_process *p;
	int ret;

	dipc_list_for_each (pos, &node->processes) {
		p = dipc_container_of(pos, struct dipc_process, entry);
		if (p->pid != pid || p->is_gone)
			continue;
		p->nr_refs++;
		*process_out = p;
		return 0;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->node = node;
	p->pid = pid;
	p->nr_refs = 1;
	dipc_list_init(&p->undo);
	p->watch.fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (p->watch.fd < 0) {
		ret = -errno;
		goto err_process;
	}
	p->watch.fn = process_gone;
	ret = dipc_loop_watch(node->loop, &p->watch, EPOLLIN);
	if (ret)
		goto err_fd;
	dipc_list_add_tail(&node->processes, &p->entry);
	*process_out = p;
	return 0;

err_fd:
	close(p->watch.fd);
err_process:
	free(p);
	return ret;
}

void dipc_process_ref(struct dipc_process *process)
{
	process->nr_refs++;
}

void dipc_process_put(struct dipc_process *process)
{
	process->nr_refs--;
	process_check(process);
}

/* ---- credentials -------------------------------------------------------- */

static int cred_groups(int sock, struct dipc_cred *cred, uint32_t **groups_out)
{
	gid_t *groups = NULL;
	socklen_t len = 0;

	static_assert(sizeof(gid_t) == sizeof(uint32_t), "groups");
	/* the first call only asks for the length */
	while (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, groups, &len)) {
		gid_t *more;

		if (errno != ERANGE)
			goto err_groups;
		more = realloc(groups, len);
		if (!more)
			goto err_groups;
		groups = more;
	}
	*groups_out = groups;
	cred->groups = groups;
	cred->nr_groups = len / (socklen_t)sizeof(gid_t);
	return 0;

err_groups:
	free(groups);
	return errno == ENOMEM ? -ENOMEM : -errno;
}

/* What root has not given up. */
static void cred_capabilities(struct dipc_cred *cred)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
		.pid = (int)cred->pid,
	};
	struct __user_cap_data_struct caps[2] = {0};

	if (syscall(SYS_capget, &head, caps))
		return; /* it has ended */
	cred->has_ipc_owner = caps[0].effective >> CAP_IPC_OWNER & 1;
	cred->has_ipc_lock = caps[0].effective >> CAP_IPC_LOCK & 1;
	cred->has_sys_admin = caps[0].effective >> CAP_SYS_ADMIN & 1;
	cred->has_sys_resource = caps[0].effective >> CAP_SYS_RESOURCE & 1;
}

int dipc_process_cred(int sock, struct dipc_cred *cred_out,
		      uint32_t **groups_out)
{
	struct dipc_cred cred = {0};
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int ret;

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return -errno;
	cred.pid = (uint32_t)peer.pid;
	cred.uid = peer.uid;
	cred.gid = peer.gid;
	if (peer.uid == 0)
		cred_capabilities(&cred);
	ret = cred_groups(sock, &cred, groups_out);
	if (ret)
		return ret;
	*cred_out = cred;
	return 0;
}

/* ---- SEM_UNDO ----------------------------------------------------------- */

static struct undo_set *undo_find(struct dipc_process *p, int32_t id)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &p->undo) {
		struct undo_set *set =
			dipc_container_of(pos, struct undo_set, entry);

		if (set->id == id)
			return set;
	}
	return NULL;
}

static struct dipc_sem_adj *undo_adj(struct undo_set *set, uint16_t num)
{
	unsigned i;

	for (i = 0; i < set->nr; i++)
		if (set->adj[i].num == num)
			return &set->adj[i];
	return NULL;
}

static int undo_grow(struct undo_set *set, unsigned nr)
{
	unsigned room = set->nr + nr;
	struct dipc_sem_adj *adj;

	if (room <= set->room)
		return 0;
	adj = realloc(set->adj, room * sizeof(*adj));
	if (!adj)
		return -ENOMEM;
	set->adj = adj;
	set->room = room;
	return 0;
}

/* What semaphore NUM's adjustment would be after OPS. */
static int undo_sum(struct undo_set *set, const struct sembuf *ops, unsigned nr,
		    uint16_t num)
{
	struct dipc_sem_adj *adj = undo_adj(set, num);
	int sum = adj ? adj->adj : 0;
	unsigned i;

	for (i = 0; i < nr; i++)
		if (ops[i].sem_num == num && (ops[i].sem_flg & SEM_UNDO))
			sum -= ops[i].sem_op;
	return sum;
}

int dipc_process_undo_prepare(struct dipc_process *process, int32_t id,
			      const struct sembuf *ops, unsigned nr)
{
	struct undo_set *set = undo_find(process, id);
	unsigned i;

	if (!set) {
		set = calloc(1, sizeof(*set));
		if (!set)
			return -ENOMEM;
		set->id = id;
		dipc_list_add_tail(&process->undo, &set->entry);
	}
	for (i = 0; i < nr; i++) {
		int sum = undo_sum(set, ops, i + 1, ops[i].sem_num);

		if (sum < -32768 || sum > 32767)
			return -ERANGE;
	}
	return undo_grow(set, nr);
}

void dipc_process_undo_note(struct dipc_process *process, int32_t id,
			    const struct sembuf *ops, unsigned nr)
{
	struct undo_set *set = undo_find(process, id);
	unsigned i;

	if (!set)
		return; /* cleared by a removal in between */
	for (i = 0; i < nr; i++) {
		struct dipc_sem_adj *adj;

		if (!(ops[i].sem_flg & SEM_UNDO))
			continue;
		adj = undo_adj(set, ops[i].sem_num);
		if (!adj) {
			if (undo_grow(set, 1))
				return;
			adj = &set->adj[set->nr++];
			adj->num = ops[i].sem_num;
			adj->adj = 0;
		}
		adj->adj = (int16_t)(adj->adj - ops[i].sem_op);
	}
}

void dipc_process_undo_clear(struct dipc_node *node, int32_t id, int num)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &node->processes) {
		struct dipc_process *p =
			dipc_container_of(pos, struct dipc_process, entry);
		struct undo_set *set = undo_find(p, id);
		struct dipc_sem_adj *adj;

		if (!set)
			continue;
		if (num < 0) {
			/* not freed: a call that made room in it may be
			   blocked */
			set->nr = 0;
			continue;
		}
		adj = undo_adj(set, (uint16_t)num);
		if (adj)
			adj->adj = 0;
	}
}
