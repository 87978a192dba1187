/* SPDX-License-Identifier: BSD-2-Clause */
#include "manager.h"
#include "case.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOBODY      65534
#define PATIENCE_MS 8000

struct request {
	client_op *op;
	long a, b;
};

/*
 * The client.
 */

static sigjmp_buf sigbus_env;
static volatile sig_atomic_t sigbus_code;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	sigbus_code = info->si_code;
	siglongjmp(sigbus_env, 1);
}

static void catch_sigbus(void)
{
	struct sigaction sa = {.sa_flags = SA_SIGINFO};

	sa.sa_sigaction = on_sigbus;
	sigaction(SIGBUS, &sa, NULL);
}

long op_read(struct client *c, long page, long unused)
{
	(void)unused;
	if (sigsetjmp(sigbus_env, 1))
		return SIGBUS_BASE - sigbus_code;
	return *(volatile unsigned char *)(c->base + page * (long)PAGE_BYTES);
}

long op_write(struct client *c, long page, long value)
{
	if (sigsetjmp(sigbus_env, 1))
		return SIGBUS_BASE - sigbus_code;
	*(volatile char *)(c->base + page * (long)PAGE_BYTES) = (char)value;
	return 0;
}

static long client_map(struct client *c, int fd, long prot, long flags)
{
	void *p = mmap(NULL, c->len, (int)prot, (int)flags, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	c->base = p;
	/* EINVAL where the kernel has no transparent huge pages: as good. */
	madvise(c->base, c->len, MADV_NOHUGEPAGE);
	return (long)(uintptr_t)p;
}

long op_map(struct client *c, long prot, long flags)
{
	return client_map(c, c->memfd, prot, flags);
}

long op_map_ro(struct client *c, long prot, long flags)
{
	return client_map(c, c->rofd, prot, flags);
}

long op_mprotect(struct client *c, long prot, long unused)
{
	(void)unused;
	return mprotect(c->base, c->len, (int)prot) ? -errno : 0;
}

long op_send_uffd(struct client *c, long unused, long unused2)
{
	(void)unused;
	(void)unused2;
	c->uffd = uffd_open();
	if (c->uffd < 0)
		return c->uffd;
	return fd_send(c->sock, c->uffd);
}

long op_register(struct client *c, long mode, long unused)
{
	(void)unused;
	return uffd_register(c->uffd, (uintptr_t)c->base, c->len,
			     (uint64_t)mode);
}

long op_close_uffd(struct client *c, long unused, long unused2)
{
	(void)unused;
	(void)unused2;
	close(c->uffd);
	c->uffd = -1;
	return 0;
}

long op_become_nobody(struct client *c, long unused, long unused2)
{
	(void)c;
	(void)unused;
	(void)unused2;
	if (setgid(NOBODY) || setuid(NOBODY))
		return -errno;
	/* As after exec: its /proc/self belongs to it again. */
	return prctl(PR_SET_DUMPABLE, 1) ? -errno : 0;
}

long op_exit(struct client *c, long unused, long unused2)
{
	(void)c;
	(void)unused;
	(void)unused2;
	_exit(0);
}

void client_loop(struct client *c)
{
	struct request req;
	long result;

	while (read(c->sock, &req, sizeof(req)) == sizeof(req)) {
		result = req.op(c, req.a, req.b);
		if (write(c->sock, &result, sizeof(result)) < 0)
			break;
	}
	_exit(0);
}

/*
 * The manager.
 */

static void skip_unless_usable(void)
{
	int uffd = uffd_open();
	int ret;

	if (uffd == -EPERM || uffd == -ENOSYS)
		case_skip("userfaultfd: %s", strerror(-uffd));
	if (uffd < 0)
		case_fail("userfaultfd: %s", strerror(-uffd));
	ret = uffd_api(uffd, UFFD_PAGES | UFFD_EVENTS);
	if (ret == -EPERM)
		case_skip("fork events need CAP_SYS_PTRACE");
	if (ret == -EINVAL)
		case_skip("this kernel cannot write-protect shared memory");
	EXPECT_EQ(ret, 0);
	close(uffd);
}

void manager_init(struct manager *m, unsigned nr_pages)
{
	if (sysconf(_SC_PAGESIZE) != (long)PAGE_BYTES)
		case_skip("written for pages of 4096 bytes");
	skip_unless_usable();

	memset(m, 0, sizeof(*m));
	m->nr_pages = nr_pages;
	m->len = nr_pages * PAGE_BYTES;
	m->fill = malloc(PAGE_BYTES);
	EXPECT(m->fill);
	memset(m->fill, FILL, PAGE_BYTES);
	m->memfd = memfd_make(m->len);
	EXPECT(m->memfd >= 0);
	m->rofd = memfd_reopen(m->memfd, O_RDONLY);
	EXPECT(m->rofd >= 0);
	m->stop = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	EXPECT(m->stop != MAP_FAILED);
	signal(SIGPIPE, SIG_IGN);
}

static void manager_run_client(struct manager *m, int sock, int spare)
{
	struct client c = {
		.len = m->len,
		.memfd = m->memfd,
		.rofd = m->rofd,
		.uffd = -1,
		.sock = sock,
		.spare = spare,
		.stop = m->stop,
	};
	unsigned i;

	/* Another client's userfaultfd must not live on in this one. */
	for (i = 0; i < m->nr; i++) {
		close(m->space[i].uffd);
		close(m->space[i].sock);
		close(m->space[i].spare);
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	catch_sigbus();
	client_loop(&c);
}

unsigned manager_spawn(struct manager *m)
{
	struct space *sp = &m->space[m->nr];
	int main_pair[2], spare_pair[2];
	int type = SOCK_STREAM | SOCK_CLOEXEC;

	EXPECT(m->nr < MAX_SPACES);
	EXPECT_EQ(socketpair(AF_UNIX, type, 0, main_pair), 0);
	EXPECT_EQ(socketpair(AF_UNIX, type, 0, spare_pair), 0);
	sp->pid = fork();
	EXPECT(sp->pid >= 0);
	if (!sp->pid) {
		close(main_pair[0]);
		close(spare_pair[0]);
		manager_run_client(m, main_pair[1], spare_pair[1]);
	}
	close(main_pair[1]);
	close(spare_pair[1]);
	sp->sock = main_pair[0];
	sp->spare = spare_pair[0];
	sp->uffd = -1;
	return m->nr++;
}

void manager_take_uffd(struct manager *m, unsigned who)
{
	manager_post(m, who, op_send_uffd, 0, 0);
	m->space[who].uffd = fd_recv(m->space[who].sock);
	EXPECT(m->space[who].uffd >= 0);
	EXPECT_EQ(manager_reply(m, who), 0);
}

unsigned manager_attach(struct manager *m, uint64_t features)
{
	unsigned who = manager_spawn(m);
	struct space *sp = &m->space[who];
	long base = manager_call(m, who, op_map, PROT_NONE, MAP_SHARED);

	EXPECT(base > 0);
	sp->base = (uint64_t)base;
	manager_take_uffd(m, who);
	EXPECT_EQ(uffd_api(sp->uffd, UFFD_PAGES | features), 0);
	EXPECT_EQ(manager_call(m, who, op_register,
			       (long)(UFFD_MISSING | UFFD_WP), 0),
		  0);
	EXPECT_EQ(manager_call(m, who, op_close_uffd, 0, 0), 0);
	EXPECT_EQ(uffd_protect(sp->uffd, sp->base, m->len), 0);
	EXPECT_EQ(manager_call(m, who, op_mprotect, PROT_READ | PROT_WRITE, 0),
		  0);
	return who;
}

uint64_t manager_addr(const struct manager *m, unsigned who, unsigned page)
{
	return m->space[who].base + page * PAGE_BYTES;
}

int manager_install(struct manager *m, unsigned who, unsigned page,
		    uint64_t mode)
{
	return uffd_copy(m->space[who].uffd, manager_addr(m, who, page),
			 m->fill, PAGE_BYTES, mode);
}

void manager_protect_all(struct manager *m, unsigned page)
{
	unsigned i;

	for (i = 0; i < m->nr; i++)
		EXPECT_EQ(uffd_protect(m->space[i].uffd,
				       manager_addr(m, i, page), PAGE_BYTES),
			  0);
}

/* Addresses are traced as page numbers of the space they belong to. */
static void trace_event(struct manager *m, unsigned who,
			const struct uffd_msg *msg)
{
	size_t used = strlen(m->trace);
	uint64_t flags = msg->arg.pagefault.flags;
	uint64_t base = m->space[who].base;
	char what[64];

	switch (msg->event) {
	case UFFD_EVENT_PAGEFAULT:
		snprintf(what, sizeof(what), "%s/%s",
			 flags & UFFD_PAGEFAULT_FLAG_WP ? "wp" : "miss",
			 flags & UFFD_PAGEFAULT_FLAG_WRITE ? "w" : "r");
		break;
	case UFFD_EVENT_FORK:
		snprintf(what, sizeof(what), "fork(%c)", 'A' + (int)m->nr);
		break;
	case UFFD_EVENT_REMAP:
		snprintf(what, sizeof(what), "remap(%llu,%llu)",
			 (msg->arg.remap.from - base) / PAGE_BYTES,
			 msg->arg.remap.len / PAGE_BYTES);
		break;
	case UFFD_EVENT_UNMAP:
	case UFFD_EVENT_REMOVE:
		snprintf(what, sizeof(what), "%s(%llu,%llu)",
			 msg->event == UFFD_EVENT_UNMAP ? "unmap" : "remove",
			 (msg->arg.remove.start - base) / PAGE_BYTES,
			 (msg->arg.remove.end - base) / PAGE_BYTES);
		break;
	default:
		snprintf(what, sizeof(what), "event %u", msg->event);
		break;
	}
	snprintf(m->trace + used, sizeof(m->trace) - used, "%s%c:%s",
		 used ? " " : "", 'A' + (int)who, what);
}

static bool take_event(struct manager *m, unsigned who, struct uffd_msg *msg)
{
	ssize_t n = read(m->space[who].uffd, msg, sizeof(*msg));

	if (n != sizeof(*msg))
		return false;
	trace_event(m, who, msg);
	return true;
}

static int resolve_missing(struct manager *m, unsigned who, uint64_t addr,
			   bool write)
{
	const struct space *sp = &m->space[who];
	uint64_t mode = write && !m->two_step ? 0 : COPY_WP;
	int ret;

	if (m->fill_memfd) {
		off_t at = (off_t)(addr - sp->base);

		if (pwrite(m->memfd, m->fill, PAGE_BYTES, at) < 0)
			return -errno;
		return uffd_wake(sp->uffd, addr, PAGE_BYTES);
	}
	ret = uffd_copy(sp->uffd, addr, m->fill, PAGE_BYTES, mode);
	if (ret == -EEXIST) /* came in through another space meanwhile */
		ret = uffd_wake(sp->uffd, addr, PAGE_BYTES);
	return ret;
}

static void resolve_fault(struct manager *m, unsigned who,
			  const struct uffd_msg *msg)
{
	uint64_t flags = msg->arg.pagefault.flags;
	uint64_t addr = msg->arg.pagefault.address & ~(PAGE_BYTES - 1);
	int ret;

	if (flags & UFFD_PAGEFAULT_FLAG_WP)
		ret = uffd_unprotect(m->space[who].uffd, addr, PAGE_BYTES);
	else
		ret = resolve_missing(m, who, addr,
				      flags & UFFD_PAGEFAULT_FLAG_WRITE);
	if (ret)
		case_fail("resolving %s: %s", m->trace, strerror(-ret));
}

static void adopt_child(struct manager *m, unsigned parent, int uffd)
{
	struct space *sp = &m->space[m->nr];

	EXPECT(m->nr < MAX_SPACES);
	sp->uffd = uffd;
	sp->sock = m->space[parent].spare;
	sp->spare = -1;
	sp->pid = 0;
	sp->base = m->space[parent].base;
	m->nr++;
}

bool manager_serve(struct manager *m, unsigned who)
{
	struct uffd_msg msg;

	if (!take_event(m, who, &msg))
		return false;
	if (msg.event == UFFD_EVENT_PAGEFAULT)
		resolve_fault(m, who, &msg);
	else if (msg.event == UFFD_EVENT_FORK)
		adopt_child(m, who, (int)msg.arg.fork.ufd);
	return true;
}

void manager_event(struct manager *m, unsigned who, struct uffd_msg *msg)
{
	struct pollfd pfd = {.fd = m->space[who].uffd, .events = POLLIN};

	if (poll(&pfd, 1, case_limit_ms(PATIENCE_MS)) != 1)
		case_fail("no event of %c after: %s", 'A' + (int)who, m->trace);
	EXPECT(take_event(m, who, msg));
}

void manager_post(struct manager *m, unsigned who, client_op *op, long a,
		  long b)
{
	struct request req = {.op = op, .a = a, .b = b};

	m->trace[0] = '\0';
	EXPECT_EQ(write(m->space[who].sock, &req, sizeof(req)), sizeof(req));
}

long manager_reply(struct manager *m, unsigned who)
{
	double deadline = now_us() + case_limit_ms(PATIENCE_MS) * 1e3;
	struct pollfd pfd[MAX_SPACES + 1];
	long result;
	nfds_t i;

	for (;;) {
		nfds_t nr = m->nr;

		for (i = 0; i < nr; i++)
			pfd[i] = (struct pollfd){m->space[i].uffd, POLLIN, 0};
		pfd[nr] = (struct pollfd){m->space[who].sock, POLLIN, 0};
		if (now_us() > deadline || poll(pfd, nr + 1, PATIENCE_MS) < 0)
			case_fail("%c does not answer; trace: %s",
				  'A' + (int)who, m->trace);
		for (i = 0; i < nr; i++)
			if (pfd[i].revents & POLLIN)
				manager_serve(m, (unsigned)i);
		if (!pfd[nr].revents)
			continue;
		if (read(pfd[nr].fd, &result, sizeof(result)) != sizeof(result))
			case_fail("%c died; trace: %s", 'A' + (int)who,
				  m->trace);
		return result;
	}
}

long manager_call(struct manager *m, unsigned who, client_op *op, long a,
		  long b)
{
	manager_post(m, who, op, a, b);
	return manager_reply(m, who);
}

bool manager_is_stuck(struct manager *m, unsigned who, int ms)
{
	struct pollfd pfd = {.fd = m->space[who].sock, .events = POLLIN};

	return poll(&pfd, 1, case_limit_ms(ms)) == 0;
}

bool manager_is_gone(struct manager *m, unsigned who)
{
	struct pollfd pfd = {.fd = m->space[who].sock, .events = POLLIN};
	char byte;

	if (poll(&pfd, 1, case_limit_ms(PATIENCE_MS)) != 1)
		return false;
	return read(pfd.fd, &byte, 1) == 0;
}
