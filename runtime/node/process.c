/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/node/process.h"

#include <assert.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/base/log.h"
#include "runtime/node/client.h"

#define DEATHS_AT_ONCE 16
#define LOOK           (10 * DIPC_MSEC) /* a cancel does not wake who waits */

/* ---- life --------------------------------------------------------------- */

static void process_free(struct dipc_process *p)
{
	struct dipc_node *node = p->node;

	/* ENOENT if it has been found gone */
	(void)epoll_ctl(node->deaths.fd, EPOLL_CTL_DEL, p->pidfd, NULL);
	close(p->pidfd);
	dipc_sem_undoer_destroy(p->undo);
	dipc_list_del(&p->entry);
	node->nr_dying -= p->death != 0;
	free(p);
	dipc_waitq_wake_all(&node->buried);
}

/* Take back everything, then forget the process. Fiber. */
static void process_bury(void *arg)
{
	struct dipc_process *p = arg;
	int ret = dipc_sem_undoer_run(p->undo);

	if (ret)
		dipc_error("undo of process %u lost: %s", p->pid,
			   strerror(-ret));
	process_free(p);
}

static void process_check(struct dipc_process *p)
{
	if (!p->death || p->nr_refs)
		return;
	if (dipc_sem_undoer_is_empty(p->undo)) {
		process_free(p);
		return;
	}
	p->nr_refs++; /* the burial's; never put */
	if (dipc_fiber_spawn(dipc_loop_sched(p->node->loop), process_bury, p)) {
		dipc_error("no memory to undo what process %u did", p->pid);
		process_free(p);
	}
}

static void process_gone(struct dipc_process *p)
{
	struct dipc_node *node = p->node;

	p->death = ++node->nr_deaths;
	node->nr_dying++;
	(void)epoll_ctl(node->deaths.fd, EPOLL_CTL_DEL, p->pidfd, NULL);
	p->nr_refs++;
	/* a child may have its sockets still: what it asked for is void */
	dipc_clients_drop(node, p);
	dipc_node_process_gone(node, p->pid);
	dipc_process_put(p);
}

/* Who has ended since the last look: one system call if nobody has. */
static void deaths_look(struct dipc_node *node)
{
	struct epoll_event events[DEATHS_AT_ONCE];
	int i, nr;

	do {
		nr = epoll_wait(node->deaths.fd, events, DEATHS_AT_ONCE, 0);
		for (i = 0; i < nr; i++)
			process_gone(events[i].data.ptr);
	} while (nr == DEATHS_AT_ONCE);
}

static void deaths_readable(struct dipc_watch *watch, uint32_t events)
{
	(void)events;
	deaths_look(dipc_container_of(watch, struct dipc_node, deaths));
}

int dipc_processes_open(struct dipc_node *node)
{
	int ret;

	dipc_waitq_init(&node->buried);
	node->deaths.fd = epoll_create1(EPOLL_CLOEXEC);
	if (node->deaths.fd < 0)
		return -errno;
	node->deaths.fn = deaths_readable;
	ret = dipc_loop_watch(node->loop, &node->deaths, EPOLLIN);
	if (ret)
		close(node->deaths.fd);
	return ret;
}

static int process_watch(struct dipc_process *p)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
	int ret;

	p->pidfd = (int)syscall(SYS_pidfd_open, (pid_t)p->pid, 0);
	if (p->pidfd < 0)
		return -errno;
	if (epoll_ctl(p->node->deaths.fd, EPOLL_CTL_ADD, p->pidfd, &event) == 0)
		return 0;
	ret = -errno;
	close(p->pidfd);
	return ret;
}

int dipc_process_get(struct dipc_node *node, uint32_t pid,
		     struct dipc_process **process_out)
{
	struct dipc_list *pos;
	struct dipc_process *p;
	int ret;

	deaths_look(node); /* one that had this pid before */
	dipc_list_for_each (pos, &node->processes) {
		p = dipc_container_of(pos, struct dipc_process, entry);
		if (p->pid != pid || p->death)
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
	ret = dipc_sem_undoer_create(node->sems, pid, &p->undo);
	if (ret)
		goto err_process;
	ret = process_watch(p);
	if (ret)
		goto err_undo;
	dipc_list_add_tail(&node->processes, &p->entry);
	*process_out = p;
	return 0;

err_undo:
	dipc_sem_undoer_destroy(p->undo);
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

/*
 * Capabilities are those over one's own user namespace: in another one than
 * ours, which anybody may make, they say nothing here. Who cannot be looked at
 * is taken to be elsewhere.
 */
static bool cred_is_of_our_namespace(const struct dipc_cred *cred)
{
	struct stat own, its;
	char path[40];

	snprintf(path, sizeof(path), "/proc/%u/ns/user", cred->pid);
	return stat("/proc/self/ns/user", &own) == 0 && stat(path, &its) == 0 &&
	       own.st_dev == its.st_dev && own.st_ino == its.st_ino;
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
	/* afterwards: nobody comes back from there */
	if (!cred_is_of_our_namespace(cred))
		return;
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

/* ---- what they left ----------------------------------------------------- */

/* Does anybody who died up to DEATH still have something to finish here? */
static bool is_burying(const struct dipc_node *node,
		       const struct dipc_process *self, uint64_t death)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &node->processes) {
		const struct dipc_process *p =
			dipc_container_of(pos, struct dipc_process, entry);

		if (p != self && p->death && p->death <= death &&
		    (p->nr_jobs || !dipc_sem_undoer_is_empty(p->undo)))
			return true;
	}
	return false;
}

void dipc_process_settle(struct dipc_process *self,
			 const struct dipc_cancel *cancel)
{
	struct dipc_node *node = self->node;
	uint64_t death;

	if (node->nr_jobs == self->nr_jobs &&
	    !dipc_sem_undoer_has_others(self->undo))
		return;
	deaths_look(node);
	death = node->nr_deaths;
	while (node->nr_dying && is_burying(node, self, death)) {
		/*
		 * A burial waits for the calls of its process. If one of those
		 * is waiting here, as we may be, the cancellation of both ends
		 * it.
		 */
		if (cancel->is_set)
			break;
		(void)dipc_waitq_wait(&node->buried,
				      dipc_fabric_now(node->fabric) + LOOK);
	}
}

void dipc_process_job_begin(struct dipc_process *process)
{
	process->nr_jobs++;
	process->node->nr_jobs++;
}

void dipc_process_job_end(struct dipc_process *process)
{
	process->nr_jobs--;
	process->node->nr_jobs--;
	if (process->death)
		dipc_waitq_wake_all(&process->node->buried);
}
