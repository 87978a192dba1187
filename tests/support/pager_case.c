/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "runtime/node/uffd.h"
#include "tests/support/pager_case.h"

struct pager_shared *sh;
pid_t client_pid[MAX_CLIENTS];
pid_t engine_pid[NR_NODES + 1];
unsigned me;

static char dir[64];
static int client_sock[MAX_CLIENTS], engine_sock[MAX_CLIENTS];
static unsigned client_node[MAX_CLIENTS];
static unsigned nr_clients;
static int my_uffd = -1; /* this client's */

/* ---- clients ------------------------------------------------------------ */

uint8_t *attach(bool is_readonly)
{
	struct pager_message msg = {.op = 'A',
				    .is_readonly = is_readonly,
				    .pid = (uint32_t)getpid()};
	int sock = client_sock[me];
	int fd, uffd = -1;
	uint8_t *base;

	if (my_uffd < 0) {
		uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
		CLIENT_MUST(uffd >= 0);
		my_uffd = uffd;
	}
	CLIENT_MUST(pager_message_send(sock, &msg, uffd) == 0);
	CLIENT_MUST(pager_message_recv(sock, &msg, &fd) && msg.status == 0);
	base = mmap(NULL, SEG_LEN, PROT_NONE,
		    is_readonly ? MAP_PRIVATE : MAP_SHARED, fd, 0);
	CLIENT_MUST(base != MAP_FAILED);
	madvise(base, SEG_LEN, MADV_NOHUGEPAGE);
	close(fd);
	msg.op = 'M';
	msg.addr = (uintptr_t)base;
	msg.is_readonly = is_readonly;
	CLIENT_MUST(pager_message_send(sock, &msg, -1) == 0);
	CLIENT_MUST(pager_message_recv(sock, &msg, &fd) && msg.status == 0);
	if (uffd >= 0)
		close(uffd);
	CLIENT_MUST(mprotect(base, SEG_LEN,
			     is_readonly ? PROT_READ
					 : PROT_READ | PROT_WRITE) == 0);
	return base;
}

void await_phase(unsigned phase)
{
	while (atomic_load(&sh->phase) < phase)
		usleep(500);
}

/* ---- running a case ----------------------------------------------------- */

/* A child is no test: let it die as it would elsewhere. */
static void be_child(void)
{
	signal(SIGSEGV, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
	signal(SIGFPE, SIG_DFL);
	signal(SIGILL, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void case_start(void)
{
	unsigned i;

	strcpy(dir, "/tmp/dipc-pager-XXXXXX");
	assert_non_null(mkdtemp(dir));
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(sh != MAP_FAILED);
	nr_clients = 0;
	memset(client_node, 0, sizeof(client_node));
	for (i = 0; i < MAX_CLIENTS; i++) {
		int pair[2];

		assert_int_equal(socketpair(AF_UNIX,
					    SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
					    pair),
				 0);
		client_sock[i] = pair[0];
		engine_sock[i] = pair[1];
	}
}

/* Clients 0..NR-1 on these nodes; engines of nodes up to the highest. */
void engines_start(const unsigned *nodes, unsigned nr, uint64_t hold_ns)
{
	unsigned i, n, top = 1;

	for (i = 0; i < nr; i++) {
		client_node[i] = nodes[i];
		top = nodes[i] > top ? nodes[i] : top;
	}
	for (n = 1; n <= top; n++) {
		engine_pid[n] = fork();
		assert_true(engine_pid[n] >= 0);
		if (!engine_pid[n]) {
			be_child();
			for (i = 0; i < MAX_CLIENTS; i++)
				close(client_sock[i]);
			pager_engine_run(n, sh, dir, engine_sock, client_node,
					 hold_ns);
		}
	}
	for (; n <= NR_NODES; n++)
		engine_pid[n] = 0;
	for (i = 0; atomic_load(&sh->ready) != (2u << top) - 2; i++) {
		assert_true(i < 10000);
		usleep(1000);
	}
	for (i = 0; i < MAX_CLIENTS; i++)
		close(engine_sock[i]);
}

void client_start(void (*fn)(void))
{
	unsigned i;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		be_child();
		me = nr_clients;
		for (i = 0; i < MAX_CLIENTS; i++)
			if (i != me)
				close(client_sock[i]);
		fn();
		_exit(0);
	}
	client_pid[nr_clients++] = pid;
}

static void await_exit(pid_t pid, const char *who)
{
	int status = -1;
	unsigned i;

	for (i = 0; i < 60000; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			break;
		usleep(1000);
	}
	if (status) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		fail_msg("%s %d: status 0x%x", who, (int)pid, status);
	}
}

void clients_await(void)
{
	unsigned i;

	for (i = 0; i < nr_clients; i++)
		if (client_pid[i])
			await_exit(client_pid[i], "client");
}

void engines_end(void)
{
	unsigned n;
	char path[96];

	atomic_store(&sh->must_end, 1);
	for (n = NR_NODES; n > 1; n--)
		if (engine_pid[n])
			await_exit(engine_pid[n], "engine");
	atomic_store(&sh->must_end, 2);
	if (engine_pid[1])
		await_exit(engine_pid[1], "engine");
	assert_int_equal(atomic_load(&sh->nr_strays), 0);
	for (n = 0; n < MAX_CLIENTS; n++)
		close(client_sock[n]);
	for (n = 0; n <= NR_NODES; n++) {
		snprintf(path, sizeof(path), "%s/%u", dir, n);
		unlink(path);
	}
	rmdir(dir);
}

void case_end(void)
{
	engines_end();
	munmap(sh, sizeof(*sh));
}

bool pager_is_usable(void)
{
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	bool is_usable;

	is_usable = uffd >= 0 &&
		    dipc_uffd_api(uffd,
				  UFFD_FEATURE_EVENT_FORK |
					  UFFD_FEATURE_WP_HUGETLBFS_SHMEM) == 0;
	if (uffd >= 0)
		close(uffd);
	if (!is_usable)
		printf("needs a userfaultfd with fork events (privilege) and "
		       "write-protection of shared memory\n");
	return is_usable;
}
