/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * INV-7 against the kernel: a fault beside PUNCH_HOLE can take away the marker
 * that write-protects an absent page (tests/kernel/test_race.c), and once the
 * page is installed again, that process writes with no event. The pager's cure
 * puts the marker back.
 *
 * Clients read a few pages as fast as they can while the engine brings and
 * releases them. After each drop, and after each install, the engine looks
 * into the clients' page tables: nobody ever writes here, so each of the pages
 * must be write-protected in every client.
 *
 * Compiled with mistake 4, a pager without the cure, it is the other way round:
 * an installed page must be found that one of them could write.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/node/space_private.h"
#include "runtime/protocol/seeded_bug.h"
#include "tests/support/pager_case.h"

#define SKIPPED   77
#define READERS   2u
#define CLIENTS   (READERS + 1)
#define RUN       2u
#define SECONDS   5u                  /* with the cure, or until... */
#define MIN_DROPS 1000u               /* fewer are no test */
#define LIMIT     60u                 /* until it must be decided */
#define UFFD_WP   (UINT64_C(1) << 57) /* in /proc/PID/pagemap */

enum { RACE_ON, RACE_OVER }; /* phases */

/* Written by the engine, read when it has ended. */
struct findings {
	uint64_t nr_drops;
	uint64_t nr_installs;
	uint64_t nr_lost;     /* absent pages that lack their marker */
	uint64_t nr_writable; /* installed pages that somebody could write */
};

static struct findings *found; /* shared by all processes */

/* ---- the engine's side -------------------------------------------------- */

/* A failure cannot be reported by cmocka here: end the process. */
#define MUST(cond)                                                             \
	do {                                                                   \
		if (!(cond)) {                                                 \
			fprintf(stderr, "engine, line %d: %s: %m\n", __LINE__, \
				#cond);                                        \
			_exit(1);                                              \
		}                                                              \
	} while (0)

static const struct dipc_pager_ops *real;
static struct dipc_pager_ops watched;

static int pagemap_of(uint32_t pid)
{
	static struct {
		uint32_t pid;
		int fd;
	} known[CLIENTS];
	char path[32];
	unsigned i;

	for (i = 0; i < CLIENTS && known[i].pid; i++)
		if (known[i].pid == pid)
			return known[i].fd;
	MUST(i < CLIENTS);
	snprintf(path, sizeof(path), "/proc/%u/pagemap", pid);
	known[i].pid = pid;
	known[i].fd = open(path, O_RDONLY | O_CLOEXEC);
	MUST(known[i].fd >= 0);
	return known[i].fd;
}

/* Of NR pages from FIRST on, over all clients. */
static unsigned nr_unprotected(struct dipc_pager *pager, uint64_t first,
			       unsigned nr)
{
	struct uffd_pager *p = dipc_uffd_pager(pager);
	size_t len = nr * sizeof(uint64_t);
	unsigned nr_found = 0, i;
	struct dipc_list *pos;
	uint64_t entry[RUN];

	if (atomic_load(&sh->phase) == RACE_OVER)
		return 0; /* clients are leaving */
	MUST(nr <= RUN);
	dipc_list_for_each (pos, &p->maps) {
		struct map *map = dipc_container_of(pos, struct map, in_pager);
		uint64_t at = map->addr / DIPC_PAGE_SIZE + first - map->first;

		MUST(pread(pagemap_of(map->space->pid), entry, len,
			   (off_t)(at * sizeof(*entry))) == (ssize_t)len);
		for (i = 0; i < nr; i++)
			nr_found += !(entry[i] & UFFD_WP);
	}
	return nr_found;
}

static int watched_install(struct dipc_pager *pager, uint64_t first,
			   unsigned nr, const void *data, uint64_t who,
			   bool is_write)
{
	int ret = real->install(pager, first, nr, data, who, is_write);

	MUST(ret == 0 && !is_write);
	found->nr_installs++;
	found->nr_writable += nr_unprotected(pager, first, nr);
	return 0;
}

static int watched_drop(struct dipc_pager *pager, uint64_t first, unsigned nr)
{
	int ret = real->drop(pager, first, nr);

	MUST(ret == 0);
	found->nr_drops++;
	found->nr_lost += nr_unprotected(pager, first, nr);
	return 0;
}

/* The window is short and opens when the readers are woken. */
static void random_delay(unsigned *seed)
{
	unsigned limit = 1000u << (unsigned)rand_r(seed) % 3;
	uint64_t ns = (uint64_t)rand_r(seed) % limit;
	uint64_t until = dipc_now(dipc_clock_system()) + ns;

	while (dipc_now(dipc_clock_system()) < until)
		;
}

static bool must_go_on(uint64_t began)
{
	uint64_t now = dipc_now(dipc_clock_system());

	if (found->nr_writable || now >= began + LIMIT * DIPC_SEC)
		return false;
	return seeded_bug(4) || found->nr_drops < MIN_DROPS ||
	       now < began + SECONDS * DIPC_SEC;
}

static void race_fiber(void *arg)
{
	struct dipc_segment *seg = arg;
	unsigned seed = 1;
	uint64_t began;

	while (atomic_load(&sh->nattch[1]) < (int)CLIENTS)
		dipc_fiber_sleep(DIPC_MSEC);
	began = dipc_now(dipc_clock_system());
	while (must_go_on(began)) {
		MUST(dipc_pages_fetch(seg, 0, RUN, false) == 0);
		random_delay(&seed);
		MUST(dipc_pages_release(seg, 0, RUN) == 0);
	}
	atomic_store(&sh->phase, RACE_OVER);
}

int __real_dipc_pager_uffd_create(struct dipc_spaces *spaces,
				  struct dipc_segment *seg,
				  struct dipc_pager **pager_out);
int __wrap_dipc_pager_uffd_create(struct dipc_spaces *spaces,
				  struct dipc_segment *seg,
				  struct dipc_pager **pager_out);

int __wrap_dipc_pager_uffd_create(struct dipc_spaces *spaces,
				  struct dipc_segment *seg,
				  struct dipc_pager **pager_out)
{
	int ret = __real_dipc_pager_uffd_create(spaces, seg, pager_out);

	MUST(ret == 0);
	real = (*pager_out)->ops;
	watched = *real;
	watched.install = watched_install;
	watched.drop = watched_drop;
	(*pager_out)->ops = &watched;
	MUST(dipc_fiber_spawn(dipc_loop_sched(spaces->loop), race_fiber, seg) ==
	     0);
	return 0;
}

/* ---- clients ------------------------------------------------------------ */

static void client_reads(void)
{
	const volatile uint8_t *base = attach(false);
	unsigned i;

	while (atomic_load(&sh->phase) != RACE_OVER)
		for (i = 0; i < RUN; i++)
			(void)base[i * DIPC_PAGE_SIZE];
}

/*
 * The last to come, so that pages that nobody waits for are installed through
 * it, and readers get them by faults of their own.
 */
static void client_only_attaches(void)
{
	while (atomic_load(&sh->nattch[1]) < (int)READERS)
		usleep(1000);
	(void)attach(false);
	await_phase(RACE_OVER);
}

/* ---- the case ----------------------------------------------------------- */

static void faults_beside_drops(void **state)
{
	static const unsigned nodes[CLIENTS] = {1, 1, 1};
	unsigned i;

	(void)state;
	found = mmap(NULL, sizeof(*found), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(found != MAP_FAILED);
	case_start();
	engines_start(nodes, CLIENTS, 0);
	for (i = 0; i < READERS; i++)
		client_start(client_reads);
	client_start(client_only_attaches);
	clients_await();
	case_end();
	printf("%llu drops and %llu installs: %llu markers lost, %llu pages "
	       "could be written\n",
	       (unsigned long long)found->nr_drops,
	       (unsigned long long)found->nr_installs,
	       (unsigned long long)found->nr_lost,
	       (unsigned long long)found->nr_writable);
	if (seeded_bug(4)) {
		assert_true(found->nr_writable > 0);
		return;
	}
	assert_int_equal(found->nr_lost, 0);
	assert_int_equal(found->nr_writable, 0);
	assert_true(found->nr_drops >= MIN_DROPS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(faults_beside_drops),
	};

	if (!pager_is_usable())
		return SKIPPED;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
