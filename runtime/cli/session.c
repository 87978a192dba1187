/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory ordering: LOCAL_POST, LOCAL_SLEEP and LOCAL_DONE in
 * runtime/base/local.h. Only slot 0 is used; one thread.
 */
#include "runtime/cli/session.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "runtime/cli/cli.h"

#define ANSWER_SECONDS 5
#define HELLO_FDS      4

struct dipc_session {
	int sock;                              /* owned */
	int bell;                              /* owned; the engine's eventfd */
	struct dipc_area *area;                /* owned mapping */
	const struct dipc_engine_page *engine; /* owned mapping */
	uint32_t node;
};

/* ---- hello -------------------------------------------------------------- */

/* The answer and its descriptors into FDS; how many came, or -errno. */
static int hello_receive(int sock, struct dipc_sock_msg *msg, int *fds)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(HELLO_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = msg, .iov_len = sizeof(*msg)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control)};
	struct cmsghdr *cm;
	size_t nr = 0;
	ssize_t n;

	n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	cm = CMSG_FIRSTHDR(&mh);
	if (cm && cm->cmsg_level == SOL_SOCKET && cm->cmsg_type == SCM_RIGHTS) {
		nr = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(cm), nr * sizeof(int));
	}
	if (n != sizeof(*msg) || msg->magic != DIPC_LOCAL_MAGIC ||
	    msg->version != DIPC_LOCAL_VERSION)
		msg->status = -EPROTO;
	return (int)nr;
}

/* A mapping that is too short for what it is said to be would be a SIGBUS. */
static void *hello_map(int fd, size_t len, int prot)
{
	struct stat st;
	void *map;

	if (fstat(fd, &st) || st.st_size < (off_t)len)
		return NULL;
	map = mmap(NULL, len, prot, MAP_SHARED, fd, 0);
	return map == MAP_FAILED ? NULL : map;
}

static int hello(struct dipc_session *s)
{
	const struct dipc_sock_msg question = {.magic = DIPC_LOCAL_MAGIC,
					       .version = DIPC_LOCAL_VERSION,
					       .type = DIPC_SOCK_HELLO};
	struct dipc_sock_msg answer = {0};
	int fds[HELLO_FDS];
	int i, nr, ret;

	if (send(s->sock, &question, sizeof(question), MSG_NOSIGNAL) < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	nr = hello_receive(s->sock, &answer, fds);
	if (nr < 0)
		return nr;
	ret = answer.status;
	if (!ret && nr < 3)
		ret = -EPROTO;
	if (!ret) {
		s->area = hello_map(fds[0], sizeof(*s->area),
				    PROT_READ | PROT_WRITE);
		s->engine = hello_map(fds[1], sizeof(*s->engine), PROT_READ);
		s->bell = fds[2];
		s->node = answer.node;
		fds[2] = -1;
		if (!s->area || !s->engine)
			ret = -EPROTO;
	}
	for (i = 0; i < nr; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return ret;
}

int dipc_session_open(const char *socket_path,
		      struct dipc_session **session_out)
{
	const struct timeval limit = {.tv_sec = ANSWER_SECONDS};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct dipc_session *s;
	int ret;

	if (strlen(socket_path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, socket_path);
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->bell = -1;
	s->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (s->sock < 0) {
		ret = -errno;
		goto err_session;
	}
	/* connect() too: it waits while the backlog of a hung dipcd is full */
	setsockopt(s->sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(s->sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(s->sock, (struct sockaddr *)&addr, sizeof(addr))) {
		ret = errno == EAGAIN ? -ETIMEDOUT : -errno;
		goto err_session;
	}
	ret = hello(s);
	if (ret)
		goto err_session;
	*session_out = s;
	return 0;

err_session:
	dipc_session_close(s);
	return ret;
}

void dipc_session_close(struct dipc_session *session)
{
	if (!session)
		return;
	if (session->area)
		munmap(session->area, sizeof(*session->area));
	if (session->engine)
		munmap((void *)(uintptr_t)session->engine,
		       sizeof(*session->engine));
	if (session->bell >= 0)
		close(session->bell);
	if (session->sock >= 0)
		close(session->sock);
	free(session);
}

uint32_t dipc_session_node(const struct dipc_session *session)
{
	return session->node;
}

/* ---- calls -------------------------------------------------------------- */

static void ring(struct dipc_session *s)
{
	const uint64_t one = 1;

	/* LOCAL_SLEEP */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&s->engine->is_asleep, memory_order_relaxed) &&
	    write(s->bell, &one, sizeof(one)) < 0) {
		/* full means it is rung already */
	}
}

static int slot_wait(struct dipc_slot *slot)
{
	const struct timespec second = {.tv_sec = 1};
	int left = ANSWER_SECONDS;

	atomic_store_explicit(&slot->is_waiting, 1, memory_order_seq_cst);
	while (left > 0) {
		uint32_t state = atomic_load_explicit(&slot->state,
						      memory_order_seq_cst);

		if (state == DIPC_SLOT_DONE)
			return 0;
		if (syscall(SYS_futex, &slot->state, FUTEX_WAIT, state, &second,
			    NULL, 0) &&
		    errno == ETIMEDOUT)
			left--;
	}
	return -ETIMEDOUT;
}

/* No payload goes with a call; *LEN bytes at most come back into OUT. */
static int64_t session_call(struct dipc_session *s, enum dipc_local_call call,
			    const union dipc_call_args *args, void *out,
			    size_t *len)
{
	struct dipc_slot *slot = &s->area->slot[0];
	size_t got;
	int64_t ret;

	slot->call = call;
	slot->args = *args;
	slot->payload_len = 0;
	atomic_store_explicit(&slot->must_cancel, 0, memory_order_relaxed);
	/* LOCAL_POST */
	atomic_store_explicit(&slot->state, DIPC_SLOT_POSTED,
			      memory_order_release);
	dipc_area_post(s->area, 0);
	ring(s);
	ret = slot_wait(slot);
	if (ret)
		return ret; /* the slot stays dipcd's: close the session */
	ret = slot->result;
	if (ret >= 0 && out) {
		got = slot->payload_len;
		if (got > *len)
			got = *len;
		memcpy(out, s->area->payload[0], got);
		*len = got;
	}
	atomic_store_explicit(&slot->state, DIPC_SLOT_FREE,
			      memory_order_relaxed);
	return ret;
}

int dipc_session_status(struct dipc_session *session,
			struct dipc_status *status_out)
{
	union dipc_call_args args = {0};
	struct dipc_status st;
	size_t len = sizeof(st);
	int64_t ret;

	ret = session_call(session, DIPC_CALL_STATUS, &args, &st, &len);
	if (ret < 0)
		return (int)ret;
	if (len != sizeof(st))
		return -EPROTO;
	st.transport[sizeof(st.transport) - 1] = '\0';
	st.address[sizeof(st.address) - 1] = '\0';
	st.referee[sizeof(st.referee) - 1] = '\0';
	*status_out = st;
	return 0;
}

/*
 * A call that answers with records of SIZE bytes, as many as there is room
 * for, and says where to go on from. *RECORDS_OUT is the caller's to free.
 */
static int session_list(struct dipc_session *session, enum dipc_local_call call,
			size_t size, void **records_out, unsigned *nr_out)
{
	const size_t room = DIPC_SLOT_PAYLOAD / size;
	union dipc_call_args args = {0};
	char *records = NULL, *more;
	size_t nr = 0, len;
	int64_t next;

	do {
		more = realloc(records, (nr + room) * size);
		if (!more) {
			next = -ENOMEM;
			break;
		}
		records = more;
		len = room * size;
		next = session_call(session, call, &args, records + nr * size,
				    &len);
		if (next < 0)
			break;
		nr += len / size;
		/* it must go on, or a mad dipcd would hold us here */
		if (next > INT32_MAX || (next && next <= args.ctl.num))
			next = -EPROTO;
		args.ctl.num = (int32_t)next;
	} while (next > 0);
	if (next < 0) {
		free(records);
		return (int)next;
	}
	*records_out = records;
	*nr_out = (unsigned)nr;
	return 0;
}

int dipc_session_ls(struct dipc_session *session, struct dipc_ls_row **rows_out,
		    unsigned *nr_out)
{
	void *rows;
	int ret = session_list(session, DIPC_CALL_LS, sizeof(**rows_out), &rows,
			       nr_out);

	if (ret == 0)
		*rows_out = rows;
	return ret;
}

int dipc_session_pages(struct dipc_session *session,
		       struct dipc_page_stat **stats_out, unsigned *nr_out)
{
	void *stats;
	int ret = session_list(session, DIPC_CALL_PAGES, sizeof(**stats_out),
			       &stats, nr_out);

	if (ret == 0)
		*stats_out = stats;
	return ret;
}

int dipc_session_rm(struct dipc_session *session, const struct dipc_ls_row *row)
{
	static const enum dipc_local_call calls[] = {
		DIPC_CALL_SHMCTL, DIPC_CALL_SEMCTL, DIPC_CALL_MSGCTL};
	union dipc_call_args args = {0};

	if (row->kind < 1 || row->kind > 3)
		return -EINVAL;
	args.ctl.id = row->stat.id;
	args.ctl.cmd = IPC_RMID;
	return (int)session_call(session, calls[row->kind - 1], &args, NULL,
				 NULL);
}
