/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections to dipcd: one for each identity that threads of this process
 * have, since dipcd takes who calls from the kernel, when a connection is made.
 *
 * Locking: `lock` guards everything here and shm.c's table. It is taken before
 * fork and given on both sides, so that a child never inherits it taken.
 *
 * Memory ordering:
 * CONN_NEWS    `generation` is raised (RELEASE) when a thread's identity may
 *              have changed, or connections have; a thread that remembers an
 *              older one looks again, with the lock.
 * CONN_RETIRE  is_retired = 1, then `taken` is looked at; a caller sets its bit
 *              in `taken`, then looks at is_retired. All four seq_cst: either
 *              the caller backs off, or the connection waits for its call.
 */
#include "runtime/client/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/base/config.h"
#include "runtime/base/sys.h"
#include "runtime/client/away.h"
#include "runtime/client/born.h"
#include "runtime/client/client.h"
#include "runtime/client/fault.h"
#include "runtime/client/guard.h"
#include "runtime/client/pthread_sleep.h"
#include "runtime/client/identity.h"
#include "runtime/client/futex.h"
#include "runtime/client/name.h"
#include "runtime/client/range.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

#define CONNS_MAX 16u /* identities at a time */
#define PAGE_LEN  4096u

/* Where a process's calls on distributed objects go. */
enum conn_state {
	CONN_UNDECIDED,
	CONN_KERNEL,
	CONN_DIPC,
	CONN_BROKEN,
};

static struct dipc_lock lock;
static _Atomic uint32_t state; /* enum conn_state; changed with the lock */
static struct dipc_client_conn conns[CONNS_MAX];
static struct dipc_own_fd uffd_dev = {.fd = -1}; /* as dipcd handed it over */
static bool was_dipc;      /* so a child may not fall back */
static int owner_pid;      /* whose connections these are */
static bool has_fork_hook; /* pthread_atfork has been told */
static _Atomic uint64_t generation = 1;
/* the last one that a userfaultfd was handed over on; for threads that have
   none of their own, and for handlers, which cannot wait for `lock` */
static struct dipc_client_conn *_Atomic with_faults;

/* initial-exec: reading it never allocates, not in a handler either */
static _Thread_local struct {
	struct dipc_client_conn *conn; /* this thread's identity's, or NULL */
	uint64_t generation;           /* when that was so; see CONN_NEWS */
} mine __attribute__((tls_model("initial-exec")));

/* ---- complaints --------------------------------------------------------- */

void dipc_conn_complain(const char *what)
{
	static const char *said[8];
	char line[320];
	unsigned i;
	int n;

	for (i = 0; i < 8 && said[i]; i++)
		if (said[i] == what)
			return;
	if (i < 8)
		said[i] = what;
	n = snprintf(line, sizeof(line), "libdipc-rdma: %s\n", what);
	if (n > 0 && dipc_sys_write(STDERR_FILENO, line, (size_t)n) < 0) {
		/* nowhere to say it */
	}
}

/* ---- a connection ------------------------------------------------------- */

static void news(void)
{
	/* CONN_NEWS */
	atomic_fetch_add_explicit(&generation, 1, memory_order_release);
}

static bool conn_is_idle(struct dipc_client_conn *c)
{
	unsigned i;

	for (i = 0; i < DIPC_SLOTS / 64; i++) /* CONN_RETIRE */
		if (atomic_load_explicit(&c->taken[i], memory_order_seq_cst))
			return false;
	return true;
}

/* Keep the place of the mappings: somebody may be about to look there. */
static void conn_blank(struct dipc_client_conn *c)
{
	const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;

	dipc_sys_mmap(c->area, sizeof(*c->area), PROT_READ | PROT_WRITE, how,
		      -1, 0);
	dipc_sys_madvise(c->area, sizeof(*c->area), MADV_DONTFORK);
}

/* No call goes through C any more: give it back to dipcd. */
static void conn_finish(struct dipc_client_conn *c)
{
	dipc_own_fd_close(&c->sock);
	dipc_own_fd_close(&c->bell);
	conn_blank(c);
	c->is_used = false;
	news();
}

/* No new calls; it ends with the last one that goes through it. */
static void conn_retire(struct dipc_client_conn *c)
{
	/* CONN_RETIRE */
	atomic_store_explicit(&c->is_retired, 1, memory_order_seq_cst);
	if (conn_is_idle(c))
		conn_finish(c);
}

void dipc_conn_reap(struct dipc_client_conn *c)
{
	dipc_lock_take(&lock);
	if (c->is_used &&
	    atomic_load_explicit(&c->is_retired, memory_order_relaxed) &&
	    conn_is_idle(c))
		conn_finish(c);
	dipc_lock_give(&lock);
}

/* An entry without a connection, or NULL: all are in use by calls. */
static struct dipc_client_conn *conn_free_entry(void)
{
	unsigned i;

	for (i = 0; i < CONNS_MAX; i++)
		if (!conns[i].is_used)
			return &conns[i];
	for (i = 0; i < CONNS_MAX; i++) {
		conn_retire(&conns[i]);
		if (!conns[i].is_used)
			return &conns[i];
		/* it was busy: let it be what it was */
		atomic_store_explicit(&conns[i].is_retired, 0,
				      memory_order_relaxed);
	}
	return NULL;
}

/* ---- connecting --------------------------------------------------------- */

/* Where dipcd's socket is; 0 or -errno with a complaint. */
static int socket_path(struct sockaddr_un *addr)
{
	const char *path = getenv("DIPC_SOCKET");
	struct dipc_config conf;
	static char err[256];
	int ret;

	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	if (path && strlen(path) >= sizeof(addr->sun_path)) {
		dipc_conn_complain("DIPC_SOCKET is longer than 107 characters");
		return -ENAMETOOLONG;
	}
	if (path) {
		snprintf(addr->sun_path, sizeof(addr->sun_path), "%s", path);
		return 0;
	}
	ret = dipc_config_load(dipc_config_path(), &conf, err, sizeof(err));
	if (ret) {
		if (ret != -ENOENT)
			dipc_conn_complain(err);
		return ret;
	}
	snprintf(addr->sun_path, sizeof(addr->sun_path), "%s", conf.socket);
	dipc_config_fini(&conf);
	return 0;
}

/* At the place of an earlier mapping, if there was one. */
static void *hello_map_at(void *old, size_t len, int prot, int fd)
{
	if (!old)
		return dipc_away_mmap(len, prot, MAP_SHARED, fd);
	return dipc_sys_mmap(old, len, prot, MAP_SHARED | MAP_FIXED, fd, 0);
}

static int hello_map(struct dipc_client_conn *c, const int *fds)
{
	const size_t len = sizeof(struct dipc_area);
	void *area, *page;

	area = hello_map_at(c->area, len, PROT_READ | PROT_WRITE, fds[0]);
	if (dipc_sys_mmap_error(area))
		return -ENOMEM;
	/* a fork must not share the slots; the child makes its own connection
	 */
	dipc_sys_madvise(area, len, MADV_DONTFORK);
	c->area = area;
	page = hello_map_at((void *)(uintptr_t)c->engine, PAGE_LEN, PROT_READ,
			    fds[1]);
	if (dipc_sys_mmap_error(page))
		return -ENOMEM;
	c->engine = page;
	return 0;
}

/* Who dipcd is, to find it again when its path is out of reach. */
static struct {
	uint64_t name; /* 0: never connected, or it has none */
	struct ucred who;
} dipcd;

static int sock_peer(const struct dipc_own_fd *sock, struct ucred *who_out)
{
	socklen_t len = sizeof(*who_out);

	return dipc_sys_getsockopt(sock->fd, SOL_SOCKET, SO_PEERCRED, who_out,
				   &len);
}

static void dipcd_note(const struct dipc_own_fd *sock, uint64_t name)
{
	dipcd.name = sock_peer(sock, &dipcd.who) ? 0 : name;
}

/* Anybody may take a name once dipcd is gone: it must be the same process. */
static int connect_by_name(const struct dipc_own_fd *sock)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct ucred who;
	int len, ret;

	if (!dipcd.name)
		return -ENOENT;
	len = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1,
		       DIPC_LOCAL_NAME, (unsigned long long)dipcd.name);
	ret = dipc_sys_connect(
		sock->fd, &addr,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1) +
			(socklen_t)len);
	if (ret)
		return ret;
	ret = sock_peer(sock, &who);
	if (ret == 0 && (who.pid != dipcd.who.pid || who.uid != dipcd.who.uid))
		ret = -ENOENT;
	return ret;
}

static int connect_somehow(const struct dipc_own_fd *sock)
{
	struct sockaddr_un addr;
	int ret;

	ret = socket_path(&addr);
	if (ret == -ENAMETOOLONG)
		return ret; /* somebody meant a dipcd */
	if (ret)
		ret = -ENOENT;
	else
		ret = dipc_sys_connect(sock->fd, &addr, sizeof(addr));
	if (ret != -ENOENT && ret != -ENOTDIR && ret != -EACCES)
		return ret;
	return connect_by_name(sock) ? ret : 0;
}

static int hello(struct dipc_client_conn *c)
{
	struct dipc_sock_msg q = {.magic = DIPC_LOCAL_MAGIC,
				  .version = DIPC_LOCAL_VERSION,
				  .type = DIPC_SOCK_HELLO};
	struct dipc_sock_msg a;
	int fds[DIPC_HELLO_FDS];
	int nr, ret;

	ret = dipc_sock_send(&c->sock, &q, -1);
	if (ret)
		return ret;
	nr = dipc_sock_receive(&c->sock, &a, fds);
	if (nr < 0)
		return nr;
	ret = a.status;
	if (ret || nr < 3)
		goto err_fds;
	ret = hello_map(c, fds);
	if (ret)
		goto err_fds;
	dipc_sys_close(fds[0]);
	dipc_sys_close(fds[1]);
	ret = dipc_own_fd_set(&c->bell, fds[2]);
	if (ret == 0)
		dipcd_note(&c->sock, a.addr);
	if (nr > 3) {
		dipc_own_fd_close(&uffd_dev);
		if (dipc_own_fd_set(&uffd_dev, fds[3]))
			uffd_dev.fd = -1;
	}
	return ret;

err_fds:
	dipc_sock_close_all(fds, nr);
	return ret ? ret : -EPROTO;
}

/* -ENOENT: there is no dipcd; anything else: it does not answer. */
static int conn_open(struct dipc_client_conn *c)
{
	const struct timeval limit = {.tv_sec = 10};
	int fd, ret;

	fd = dipc_sys_socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	ret = dipc_own_fd_set(&c->sock, fd);
	if (ret)
		return ret;
	ret = connect_somehow(&c->sock);
	if (ret)
		goto err_sock;
	dipc_sys_setsockopt(c->sock.fd, SOL_SOCKET, SO_RCVTIMEO, &limit,
			    sizeof(limit));
	ret = hello(c);
	if (ret) {
		ret = -EPROTO;
		goto err_sock;
	}
	return 0;

err_sock:
	dipc_own_fd_close(&c->sock);
	return ret;
}

/* The connection for ID, in *CONN_OUT, or the decision that there is none. */
static enum conn_state conn_decide(const struct dipc_identity *id,
				   struct dipc_client_conn **conn_out)
{
	const char *fallback = getenv("DIPC_FALLBACK");
	bool may_fall_back =
		!was_dipc && !(fallback && !strcmp(fallback, "never"));
	struct dipc_client_conn *c = conn_free_entry();
	int ret = c ? conn_open(c) : -EMFILE;

	if (ret == 0) {
		c->identity = *id;
		c->has_faults = false;
		c->is_used = true;
		/* after conn_finish()'s news, for dipc_conn_is_mine() */
		atomic_store_explicit(&c->is_retired, 0, memory_order_seq_cst);
		was_dipc = true;
		owner_pid = dipc_sys_getpid();
		*conn_out = c;
		return CONN_DIPC;
	}
	if (ret == -ENOENT && may_fall_back)
		return CONN_KERNEL;
	if (ret == -ENOENT)
		dipc_conn_complain("no dipcd on this machine, and "
				   "DIPC_FALLBACK=never or an earlier dipcd "
				   "forbids the kernel's objects");
	else
		dipc_conn_complain("dipcd does not answer on its socket: "
				   "distributed objects fail with ENOLINK; "
				   "start it again");
	return CONN_BROKEN;
}

static enum conn_state state_now(void)
{
	return (enum conn_state)atomic_load_explicit(&state,
						     memory_order_relaxed);
}

static void state_set(enum conn_state to)
{
	atomic_store_explicit(&state, (uint32_t)to, memory_order_relaxed);
}

/* ---- fork --------------------------------------------------------------- */

static void fork_prepare(void)
{
	dipc_lock_take(&lock);
}

static void fork_parent(void)
{
	dipc_lock_give(&lock);
}

static void conn_forget(struct dipc_client_conn *c, bool is_mapped)
{
	const struct dipc_engine_page *engine = c->engine;
	struct dipc_area *area = c->area;

	memset(c, 0, sizeof(*c));
	if (is_mapped) {
		c->area = area;
		c->engine = engine;
	}
}

/*
 * The parent's other threads, and the slots they held, are not here. With the
 * lock.
 */
static void child_begin(void)
{
	bool is_in_call = dipc_slot_after_fork();
	unsigned i;

	atomic_store_explicit(&with_faults, NULL, memory_order_relaxed);
	for (i = 0; i < CONNS_MAX; i++) {
		struct dipc_client_conn *c = &conns[i];

		if (c->is_used) {
			dipc_own_fd_close(&c->sock);
			dipc_own_fd_close(&c->bell);
		}
		/* the areas were not inherited */
		if (is_in_call && c->area)
			conn_blank(c);
		else if (c->engine)
			dipc_sys_munmap((void *)(uintptr_t)c->engine, PAGE_LEN);
		conn_forget(c, is_in_call);
	}
	dipc_own_fd_close(&uffd_dev);
	if (state_now() == CONN_DIPC)
		state_set(CONN_UNDECIDED);
	news();
	dipc_owner_after_fork();
	dipc_name_after_fork();
	dipc_tag_after_fork();
	dipc_sleepers_after_fork();
	dipc_barrier_after_fork();
	dipc_cond_after_fork();
	dipc_born_here();
}

static enum conn_state conn_choose(void);

static void fork_child(void)
{
	child_begin();
	/* its faults cannot wait until it calls */
	if (dipc_tag_is_due() && dipc_range_any() && conn_choose() == CONN_DIPC)
		mine.conn->has_faults = dipc_tag_show() == 0;
	dipc_lock_give(&lock);
}

/*
 * A child that was made past libc's fork: who held the lock is not here, and
 * what it guards was at rest but for what that one did.
 */
static void fork_unseen(void)
{
	if (!dipc_born_claim())
		return;
	atomic_store_explicit(&lock.word, 0, memory_order_relaxed);
	dipc_lock_take(&lock);
	child_begin();
	dipc_lock_give(&lock);
}

/* Whoever is first in a child, by whichever way in. */
static inline void fork_check(void)
{
	if (!dipc_born_is_here())
		fork_unseen();
}

/* ---- which one ---------------------------------------------------------- */

/* Those of an identity that the calling thread cannot have back. */
static void conns_forgo(const struct dipc_identity *now)
{
	unsigned i;

	for (i = 0; i < CONNS_MAX; i++)
		if (conns[i].is_used &&
		    !dipc_identity_equal(&conns[i].identity, now) &&
		    !dipc_identity_may_regain(&conns[i].identity, now))
			conn_retire(&conns[i]);
}

/* Those that dipcd has let go of, and what this thread cannot have back. */
static void conns_sweep(const struct dipc_identity *now)
{
	struct dipc_client_conn *before = mine.conn;
	unsigned i;

	for (i = 0; i < CONNS_MAX; i++)
		if (conns[i].is_used && dipc_area_is_closed(conns[i].area))
			conn_retire(&conns[i]);
	if (before && before->is_used &&
	    !dipc_identity_equal(&before->identity, now) &&
	    !dipc_identity_may_regain(&before->identity, now))
		conn_retire(before);
}

static struct dipc_client_conn *conn_find(const struct dipc_identity *id)
{
	unsigned i;

	for (i = 0; i < CONNS_MAX; i++)
		if (conns[i].is_used &&
		    !atomic_load_explicit(&conns[i].is_retired,
					  memory_order_relaxed) &&
		    dipc_identity_equal(&conns[i].identity, id))
			return &conns[i];
	return NULL;
}

static bool conns_any(void)
{
	unsigned i;

	for (i = 0; i < CONNS_MAX; i++)
		if (conns[i].is_used)
			return true;
	return false;
}

/* With the lock: this thread's connection, made if need be. */
static enum conn_state conn_choose(void)
{
	struct dipc_client_conn *c;
	struct dipc_identity id;
	enum conn_state now;

	now = state_now();
	if (now == CONN_KERNEL || now == CONN_BROKEN)
		return now;
	if (!has_fork_hook) {
		pthread_atfork(fork_prepare, fork_parent, fork_child);
		has_fork_hook = true;
		dipc_born_here();
	}
	/* CONN_NEWS */
	mine.generation =
		atomic_load_explicit(&generation, memory_order_acquire);
	dipc_identity_read(&id);
	conns_sweep(&id);
	c = conn_find(&id);
	now = c ? CONN_DIPC : conn_decide(&id, &c);
	if (now == CONN_DIPC)
		mine.conn = c;
	/* who cannot connect now may be somebody again who could */
	if (now != CONN_BROKEN || !conns_any())
		state_set(now);
	return now;
}

static int conn_use_slowly(void)
{
	enum conn_state now;
	int saved = errno;

	dipc_lock_take(&lock);
	now = conn_choose();
	dipc_lock_give(&lock);
	errno = saved;
	if (now == CONN_DIPC)
		return 1;
	return now == CONN_KERNEL ? 0 : -ENOLINK;
}

static bool mine_is_good(void)
{
	return mine.conn && /* CONN_NEWS */
	       mine.generation == atomic_load_explicit(&generation,
						       memory_order_acquire) &&
	       !atomic_load_explicit(&mine.conn->is_retired,
				     memory_order_relaxed) &&
	       !dipc_area_is_closed(mine.conn->area);
}

int dipc_conn_use(void)
{
	fork_check();
	if (mine_is_good())
		return 1;
	/* code that runs inside of us, or in a handler of SIGSEGV there */
	if (dipc_guard_is_inside() || state_now() == CONN_KERNEL)
		return 0;
	return conn_use_slowly();
}

bool dipc_conn_is_mine(const struct dipc_client_conn *conn)
{
	/* CONN_RETIRE first: a new life of the entry begins with news */
	return !atomic_load_explicit(&conn->is_retired, memory_order_seq_cst) &&
	       mine.generation ==
		       atomic_load_explicit(&generation, memory_order_acquire);
}

struct dipc_client_conn *dipc_conn_mine(void)
{
	return mine.conn;
}

struct dipc_client_conn *dipc_conn_for_faults(void)
{
	struct dipc_client_conn *c;

	fork_check();
	if (mine_is_good())
		return mine.conn;
	c = atomic_load_explicit(&with_faults, memory_order_acquire);
	if (c && !atomic_load_explicit(&c->is_retired, memory_order_relaxed) &&
	    !dipc_area_is_closed(c->area))
		return c;
	return dipc_conn_use() > 0 ? mine.conn : NULL;
}

int dipc_conn_show_tags(void)
{
	int saved = errno, ret = -ESRCH;

	if (dipc_guard_is_inside())
		return ret;
	dipc_lock_take(&lock);
	if (dipc_tag_is_due() && (mine_is_good() || conn_choose() == CONN_DIPC))
		ret = dipc_tag_show();
	if (ret == 0)
		mine.conn->has_faults = true;
	dipc_lock_give(&lock);
	errno = saved;
	return ret;
}

void dipc_conn_identity_changed(bool is_everybody)
{
	struct dipc_identity id;

	fork_check();
	if (dipc_guard_is_inside() || dipc_sys_getpid() != owner_pid)
		return; /* never connected, or a child of vfork */
	dipc_lock_take(&lock);
	if (is_everybody) {
		dipc_identity_read(&id);
		conns_forgo(&id);
	}
	news();
	dipc_lock_give(&lock);
}

void dipc_conn_cancel(pthread_t thread)
{
	unsigned i;

	fork_check();
	dipc_lock_take(&lock);
	for (i = 0; i < CONNS_MAX; i++)
		if (conns[i].is_used)
			dipc_slot_cancel_thread(&conns[i], thread);
	dipc_lock_give(&lock);
}

void dipc_conn_lock(void)
{
	fork_check();
	dipc_lock_take(&lock);
}

void dipc_conn_unlock(void)
{
	dipc_lock_give(&lock);
}

int dipc_conn_ask(const struct dipc_sock_msg *question, int fd_in,
		  struct dipc_sock_msg *answer, int *fd_out)
{
	if (!mine_is_good() && conn_choose() != CONN_DIPC)
		return -ENOLINK;
	return dipc_sock_ask(&mine.conn->sock, question, fd_in, answer, fd_out);
}

void dipc_conn_ring(const struct dipc_client_conn *c)
{
	const uint64_t one = 1;

	/* LOCAL_SLEEP */
	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load_explicit(&c->engine->is_asleep, memory_order_relaxed))
		return;
	if (dipc_own_fd_is_ours(&c->bell) &&
	    dipc_sys_write(c->bell.fd, &one, sizeof(one)) < 0) {
		/* full means it is rung already */
	}
}

bool dipc_conn_is_alive(const struct dipc_client_conn *c)
{
	struct pollfd p = {.fd = c->sock.fd, .events = POLLRDHUP};

	if (!dipc_own_fd_is_ours(&c->sock))
		return false;
	return dipc_sys_poll(&p, 1, 0) == 0 ||
	       !(p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* ---- userfaultfd -------------------------------------------------------- */

static int faults_open(void)
{
	int fd = -1;

	if (dipc_own_fd_is_ours(&uffd_dev))
		fd = dipc_sys_ioctl(uffd_dev.fd, USERFAULTFD_IOC_NEW,
				    O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		fd = (int)dipc_sys3(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK, 0,
				    0);
	return fd;
}

/* Hand over FD, a new userfaultfd, with the page that goes with it. */
static int faults_tell(int fd, bool by_signal)
{
	struct dipc_sock_msg q = {.type = DIPC_SOCK_FAULTS,
				  .flags = by_signal ? DIPC_SOCK_BY_SIGNAL : 0};
	struct dipc_sock_msg a;
	void *page = by_signal ? dipc_tag_create() : dipc_name_create();
	int ret;

	if (!page)
		return -ENOMEM;
	q.addr = (uintptr_t)page;
	ret = dipc_conn_ask(&q, fd, &a, NULL);
	if (ret == 0)
		ret = a.status;
	if (ret == 0 && by_signal)
		dipc_tag_keep(page);
	else if (ret == 0)
		dipc_name_keep(page);
	else if (by_signal)
		dipc_tag_destroy(page);
	else
		dipc_name_destroy(page);
	return ret;
}

int dipc_conn_need_faults(void)
{
	bool by_signal = dipc_fault_is_wanted();
	int fd, ret;

	if (!mine_is_good() && conn_choose() != CONN_DIPC)
		return -ENOLINK;
	if (mine.conn->has_faults)
		return 0;
	if (by_signal && dipc_tag_is_due() && dipc_tag_show() == 0) {
		mine.conn->has_faults = true;
		return 0;
	}
	ret = by_signal ? dipc_fault_install() : 0;
	if (ret)
		return ret;
	fd = faults_open();
	if (fd < 0) {
		dipc_conn_complain("userfaultfd is not permitted: `dipc "
				   "doctor` tells how to allow it");
		return fd;
	}
	ret = faults_tell(fd, by_signal);
	dipc_sys_close(fd);
	if (ret == -EINVAL && by_signal)
		dipc_conn_complain("DIPC_FAULTS=signal: this kernel cannot");
	if (ret)
		return ret;
	mine.conn->has_faults = true;
	if (by_signal)
		atomic_store_explicit(&with_faults, mine.conn,
				      memory_order_release);
	return 0;
}
