/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The real pager: engines (one process a node) and clients (forked processes
 * that map the segment), the page protocol over the shm transport. An atomic
 * add on a page must be one wherever it is done, so sums tell the truth.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/pager_case.h"

#define SKIPPED 77

static unsigned adds_pages = 3; /* that a case adds to */

/* ---- clients ------------------------------------------------------------ */

/* Counter of page PAGE, somewhere inside it. */
static _Atomic uint64_t *counter(uint8_t *base, unsigned page)
{
	return (void *)(base + (size_t)page * DIPC_PAGE_SIZE + page % 500 * 8);
}

static void add_randomly(uint8_t *base, unsigned nr, unsigned nr_pages)
{
	unsigned i, seed = (unsigned)getpid();

	for (i = 0; i < nr; i++)
		atomic_fetch_add(
			counter(base, (unsigned)rand_r(&seed) % nr_pages), 1);
	atomic_fetch_add(&sh->sum, nr);
}

/* Values only grow. */
static void read_growing(uint8_t *base, unsigned nr, unsigned nr_pages)
{
	static uint64_t last[NR_PAGES];
	unsigned i, seed = (unsigned)getpid();

	for (i = 0; i < nr; i++) {
		unsigned page = (unsigned)rand_r(&seed) % nr_pages;
		uint64_t value = atomic_load(counter(base, page));

		CLIENT_MUST(value >= last[page]);
		last[page] = value;
	}
}

static uint64_t total(uint8_t *base, unsigned nr_pages)
{
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < nr_pages; i++)
		sum += atomic_load(counter(base, i));
	return sum;
}

static sigjmp_buf on_bus;

static void bus_handler(int sig)
{
	(void)sig;
	siglongjmp(on_bus, 1);
}

/* Does reading ADDR end in SIGBUS? */
static bool gets_sigbus(volatile uint8_t *addr)
{
	signal(SIGBUS, bus_handler);
	if (sigsetjmp(on_bus, 1))
		return true;
	(void)*addr;
	return false;
}

/* ---- cases -------------------------------------------------------------- */

#define ADDS 3000u

static void client_adds(void)
{
	uint8_t *base = attach(false);

	add_randomly(base, ADDS, adds_pages);
	await_phase(1); /* everyone has added */
	CLIENT_MUST(total(base, adds_pages) == atomic_load(&sh->sum));
	CLIENT_MUST(munmap(base, SEG_LEN) == 0);
}

static void client_reads(void)
{
	read_growing(attach(false), 4000, adds_pages);
}

static void client_reads_only(void)
{
	uint8_t *base = attach(true);

	read_growing(base, 4000, adds_pages);
	await_phase(1);
	CLIENT_MUST(total(base, adds_pages) == atomic_load(&sh->sum));
}

/* When NR clients have added, let them look at the sum. */
static void let_them_look(unsigned nr)
{
	unsigned i;

	for (i = 0; atomic_load(&sh->sum) < (uint64_t)nr * ADDS; i++) {
		assert_true(i < 60000);
		usleep(1000);
	}
	atomic_store(&sh->phase, 1);
}

static void one_node__adds_and_reads(void **state)
{
	static const unsigned nodes[] = {1, 1, 1, 1};

	(void)state;
	case_start();
	engines_start(nodes, 4, 0);
	client_start(client_adds);
	client_start(client_adds);
	client_start(client_reads);
	client_start(client_reads_only);
	let_them_look(2);
	clients_await();
	case_end();
}

static void two_nodes(uint64_t hold_ns, unsigned nr_pages)
{
	static const unsigned nodes[] = {1, 2, 1, 2, 1, 2};

	case_start();
	adds_pages = nr_pages;
	engines_start(nodes, 6, hold_ns);
	client_start(client_adds);
	client_start(client_adds);
	client_start(client_reads);
	client_start(client_reads_only);
	client_start(client_reads_only);
	client_start(client_adds);
	let_them_look(3);
	clients_await();
	case_end();
	adds_pages = 3;
}

static void two_nodes__few_pages(void **state)
{
	(void)state;
	two_nodes(0, 3);
}

static void two_nodes__hold_time(void **state)
{
	(void)state;
	two_nodes(200 * DIPC_USEC, 3);
}

static void two_nodes__many_pages(void **state)
{
	(void)state;
	two_nodes(0, NR_PAGES);
}

static void client_read_only_alone(void)
{
	uint8_t *base = attach(true);

	CLIENT_MUST(total(base, NR_PAGES) == 0);
	atomic_store(&sh->phase, 1);
	await_phase(2);
	CLIENT_MUST(total(base, NR_PAGES) == ADDS);
}

static void client_adds_after(void)
{
	uint8_t *base;

	await_phase(1);
	base = attach(false);
	add_randomly(base, ADDS, NR_PAGES);
	atomic_store(&sh->phase, 2);
}

/* A node with nothing but read-only attachments fills the memfd itself. */
static void readonly_alone(void **state)
{
	static const unsigned nodes[] = {1, 2};

	(void)state;
	case_start();
	engines_start(nodes, 2, 0);
	client_start(client_read_only_alone);
	client_start(client_adds_after);
	clients_await();
	case_end();
}

static void client_forks(void)
{
	uint8_t *base = attach(false);
	pid_t pid[3];
	unsigned i;
	int status;

	add_randomly(base, 10, 3);
	for (i = 0; i < 3; i++) {
		pid[i] = fork();
		CLIENT_MUST(pid[i] >= 0);
		if (!pid[i]) {
			add_randomly(base, ADDS, 3);
			_exit(0);
		}
	}
	CLIENT_MUST(munmap(base, 100 * DIPC_PAGE_SIZE) == 0);
	CLIENT_MUST(munmap(base + 200 * DIPC_PAGE_SIZE, 100 * DIPC_PAGE_SIZE) ==
		    0);
	atomic_fetch_add(counter(base, 150), 1);
	for (i = 0; i < 3; i++)
		CLIENT_MUST(waitpid(pid[i], &status, 0) == pid[i] && !status);
	CLIENT_MUST(munmap(base, SEG_LEN) == 0);
	base = attach(false); /* with the same userfaultfd */
	CLIENT_MUST(total(base, 3) == 3 * ADDS + 10);
	CLIENT_MUST(atomic_load(counter(base, 150)) == 1);
}

/* Children are followed; attachments are counted to the last piece. */
static void fork_and_unmap__counted(void **state)
{
	static const unsigned nodes[] = {2, 1};

	(void)state;
	case_start();
	engines_start(nodes, 2, 0);
	client_start(client_forks);
	client_start(client_reads);
	clients_await();
	engines_end();
	assert_int_equal(atomic_load(&sh->nattch[1]), 0);
	assert_int_equal(atomic_load(&sh->nattch[2]), 0);
	munmap(sh, sizeof(*sh));
}

static void client_plays_tricks(void)
{
	uint8_t *base = attach(false), *again;
	char byte = 0;
	int fd[2];

	/* system calls on absent pages */
	CLIENT_MUST(pipe(fd) == 0 && write(fd[1], "hello", 5) == 5);
	CLIENT_MUST(read(fd[0], base + 5 * DIPC_PAGE_SIZE - 2, 5) == 5);
	CLIENT_MUST(memcmp(base + 5 * DIPC_PAGE_SIZE - 2, "hello", 5) == 0);
	CLIENT_MUST(write(fd[1], base + 7 * DIPC_PAGE_SIZE, 1) == 1);
	CLIENT_MUST(read(fd[0], &byte, 1) == 1 && byte == 0);
	/* madvise: a copy stays or is fetched again, our own page is zeros */
	CLIENT_MUST(madvise(base, SEG_LEN, MADV_DONTNEED) == 0);
	CLIENT_MUST(base[5 * DIPC_PAGE_SIZE] == 'l');
	CLIENT_MUST(madvise(base + 5 * DIPC_PAGE_SIZE, DIPC_PAGE_SIZE,
			    MADV_REMOVE) == 0);
	CLIENT_MUST(base[5 * DIPC_PAGE_SIZE] == 0);
	CLIENT_MUST(base[5 * DIPC_PAGE_SIZE - 1] == 'e');
	/* split by mprotect, and moved */
	CLIENT_MUST(mprotect(base + 20 * DIPC_PAGE_SIZE, DIPC_PAGE_SIZE,
			     PROT_READ) == 0);
	CLIENT_MUST(base[20 * DIPC_PAGE_SIZE] == 0);
	base[21 * DIPC_PAGE_SIZE] = 21;
	again = mremap(base, SEG_LEN, SEG_LEN, MREMAP_MAYMOVE | MREMAP_FIXED,
		       mmap(NULL, SEG_LEN, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	if (again == MAP_FAILED) /* the split ones cannot be moved at once */
		again = base;
	CLIENT_MUST(again[21 * DIPC_PAGE_SIZE] == 21);
	again[22 * DIPC_PAGE_SIZE] = 22;
	/* twice in one process: the same memory */
	base = attach(false);
	CLIENT_MUST(base[22 * DIPC_PAGE_SIZE] == 22);
	base[22 * DIPC_PAGE_SIZE] = 23;
	CLIENT_MUST(again[22 * DIPC_PAGE_SIZE] == 23);
	again[22 * DIPC_PAGE_SIZE + 1] = 24;
	CLIENT_MUST(base[22 * DIPC_PAGE_SIZE + 1] == 24);
}

static void tricks(void **state)
{
	static const unsigned nodes[] = {2, 1};

	(void)state;
	case_start();
	engines_start(nodes, 2, 0);
	client_start(client_plays_tricks);
	clients_await();
	case_end();
}

static void client_adds_for_ever(void)
{
	uint8_t *base = attach(false);

	for (;;)
		add_randomly(base, 1, 3);
}

/* SIGKILL at any moment takes nothing with it. */
static void sigkill__others_go_on(void **state)
{
	static const unsigned nodes[] = {1, 2, 1, 2};

	(void)state;
	case_start();
	engines_start(nodes, 4, 0);
	client_start(client_reads);
	client_start(client_reads);
	client_start(client_adds_for_ever);
	client_start(client_adds_for_ever);
	usleep(100000);
	kill(client_pid[2], SIGKILL);
	usleep(20000);
	kill(client_pid[3], SIGKILL);
	waitpid(client_pid[2], NULL, 0);
	waitpid(client_pid[3], NULL, 0);
	client_pid[2] = client_pid[3] = 0;
	clients_await();
	case_end();
}

static void client_meets_sigbus(void)
{
	uint8_t *base = attach(false);
	unsigned i;

	add_randomly(base, 100, 3);
	atomic_fetch_add(&sh->phase, 1);
	for (i = 0; i < 10000 && !gets_sigbus(base); i++)
		usleep(1000);
	CLIENT_MUST(gets_sigbus(base));
	CLIENT_MUST(gets_sigbus(base + 100 * DIPC_PAGE_SIZE));
}

static void home_dies__sigbus(void **state)
{
	static const unsigned nodes[] = {2, 2};

	(void)state;
	case_start();
	engines_start(nodes, 2, 0);
	client_start(client_meets_sigbus);
	client_start(client_meets_sigbus);
	await_phase(2);
	kill(engine_pid[1], SIGKILL);
	waitpid(engine_pid[1], NULL, 0);
	engine_pid[1] = 0;
	clients_await();
	case_end();
}

static void clean_stop__sigbus(void **state)
{
	static const unsigned nodes[] = {1, 2};

	(void)state;
	case_start();
	engines_start(nodes, 2, 0);
	client_start(client_meets_sigbus);
	client_start(client_meets_sigbus);
	await_phase(2);
	atomic_store(&sh->must_stop, 1);
	clients_await();
	assert_int_equal(atomic_load(&sh->stopped), 2);
	case_end();
}

/* ---- main --------------------------------------------------------------- */

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_node__adds_and_reads),
		cmocka_unit_test(two_nodes__few_pages),
		cmocka_unit_test(two_nodes__hold_time),
		cmocka_unit_test(two_nodes__many_pages),
		cmocka_unit_test(readonly_alone),
		cmocka_unit_test(fork_and_unmap__counted),
		cmocka_unit_test(tricks),
		cmocka_unit_test(sigkill__others_go_on),
		cmocka_unit_test(home_dies__sigbus),
		cmocka_unit_test(clean_stop__sigbus),
	};

	if (!pager_is_usable())
		return SKIPPED;
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
