/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/node/keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/local.h"
#include "runtime/base/log.h"

#define KEEPER_TICK_MS 250

struct keep_msg {
	uint32_t kind; /* enum dipc_keep_kind */
	uint32_t id;
	uint32_t is_del;
};

struct kept {
	uint32_t kind;
	uint32_t id;
	int fd;
};

struct keeper {
	struct kept *kept; /* owned */
	size_t nr, room;
	struct dipc_engine_page *page; /* mapped, NULL until it came */
	uint64_t last_beat;
	unsigned still_ms; /* how long the heartbeat has not moved */
};

/* ---- the engine's side -------------------------------------------------- */

static void keep_send(int sock, const struct keep_msg *msg, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)msg,
			    .iov_len = sizeof(*msg)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *cm = &control.head;

		mh.msg_control = &control;
		mh.msg_controllen = sizeof(control);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &fd, sizeof(fd));
	}
	if (sock >= 0 && sendmsg(sock, &mh, MSG_NOSIGNAL) < 0)
		dipc_error("cannot reach the keeper: %m");
}

void dipc_keeper_add(int sock, enum dipc_keep_kind kind, uint32_t id, int fd)
{
	struct keep_msg msg = {.kind = kind, .id = id};

	keep_send(sock, &msg, fd);
}

void dipc_keeper_del(int sock, enum dipc_keep_kind kind, uint32_t id)
{
	struct keep_msg msg = {.kind = kind, .id = id, .is_del = 1};

	keep_send(sock, &msg, -1);
}

/* ---- the keeper's side -------------------------------------------------- */

static void keeper_add(struct keeper *k, const struct keep_msg *msg, int fd)
{
	if (msg->kind == DIPC_KEEP_PAGE) {
		void *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

		k->page = map == MAP_FAILED ? NULL : map;
		close(fd);
		return;
	}
	if (k->nr == k->room) {
		size_t room = k->room ? 2 * k->room : 64;
		struct kept *kept = realloc(k->kept, room * sizeof(*kept));

		if (!kept) {
			dipc_error("keeper: no memory for a descriptor");
			close(fd);
			return;
		}
		k->kept = kept;
		k->room = room;
	}
	k->kept[k->nr++] =
		(struct kept){.kind = msg->kind, .id = msg->id, .fd = fd};
}

static void keeper_del(struct keeper *k, const struct keep_msg *msg)
{
	size_t i;

	for (i = 0; i < k->nr; i++) {
		if (k->kept[i].kind != msg->kind || k->kept[i].id != msg->id)
			continue;
		close(k->kept[i].fd);
		k->kept[i] = k->kept[--k->nr];
		return;
	}
}

/* One message of the engine. False when the engine's end is closed. */
static bool keeper_receive(struct keeper *k, int sock)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct keep_msg msg;
	struct iovec iov = {.iov_base = &msg, .iov_len = sizeof(msg)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control)};
	struct cmsghdr *cm;
	ssize_t n;
	int fd = -1;

	n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return false;
	cm = CMSG_FIRSTHDR(&mh);
	if (cm && cm->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(cm), sizeof(fd));
	if (n != sizeof(msg))
		return true;
	if (msg.is_del)
		keeper_del(k, &msg);
	else if (fd >= 0)
		keeper_add(k, &msg, fd);
	return true;
}

/*
 * The order matters: with the files emptied first, whatever the closing of a
 * userfaultfd lets through finds no page to read and gets SIGBUS.
 */
static void keeper_fail_everyone(struct keeper *k)
{
	size_t i;

	for (i = 0; i < k->nr; i++)
		if (k->kept[i].kind == DIPC_KEEP_MEMFD &&
		    ftruncate(k->kept[i].fd, 0))
			dipc_error("keeper: cannot empty segment %u: %m",
				   k->kept[i].id);
	for (i = 0; i < k->nr; i++)
		close(k->kept[i].fd);
	k->nr = 0;
}

static void keeper_check_beat(struct keeper *k, pid_t engine, unsigned hang_ms)
{
	uint64_t beat;

	if (!k->page)
		return;
	beat = atomic_load_explicit(&k->page->heartbeat, memory_order_relaxed);
	if (beat != k->last_beat) {
		k->last_beat = beat;
		k->still_ms = 0;
		return;
	}
	k->still_ms += KEEPER_TICK_MS;
	if (k->still_ms < hang_ms)
		return;
	dipc_error("the engine has not moved for %u ms: killed", k->still_ms);
	k->still_ms = 0;
	kill(engine, SIGKILL);
}

/* Exit status of a finished engine, as a shell would give it. */
static int engine_status(int wait_status)
{
	if (WIFEXITED(wait_status))
		return WEXITSTATUS(wait_status);
	dipc_error("the engine died of signal %d: segments are lost here",
		   WTERMSIG(wait_status));
	return 128 + WTERMSIG(wait_status);
}

int dipc_keeper_run(int sock, pid_t engine, unsigned hang_ms)
{
	struct keeper k = {0};
	struct pollfd fds[2] = {{.fd = sock, .events = POLLIN}};
	struct signalfd_siginfo info;
	int status, ret = 1;
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	fds[1].fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	fds[1].events = POLLIN;
	for (;;) {
		if (poll(fds, 2, KEEPER_TICK_MS) == 0)
			keeper_check_beat(&k, engine, hang_ms);
		if (fds[0].revents && !keeper_receive(&k, sock))
			fds[0].fd = -1;
		if ((fds[1].revents & POLLIN) &&
		    read(fds[1].fd, &info, sizeof(info)) == sizeof(info) &&
		    info.ssi_signo != SIGCHLD)
			kill(engine, SIGTERM);
		if (waitpid(engine, &status, WNOHANG) == engine)
			break;
	}
	/* what it sent before it died is still in the socket */
	while (fds[0].fd >= 0 && poll(fds, 1, 0) > 0 &&
	       keeper_receive(&k, sock)) {
		/* keep on */
	}
	ret = engine_status(status);
	keeper_fail_everyone(&k);
	free(k.kept);
	close(fds[1].fd);
	return ret;
}
