/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The race that corrupts silently, and its cure.
 *
 * A process reads pages while the manager installs and punches them. A fault
 * that maps a page while PUNCH_HOLE is taking it makes the kernel unmap that
 * page a second time, and the second time drops the write-protect marker too.
 * Nothing shows it. When the page is installed again, the process writes to it
 * with no event.
 *
 * The cure: after the punch, before the page is installed again, write-protect
 * it in every process.
 *
 * kernel_race [CASE [SECONDS]]
 */
#include "case.h"
#include "manager.h"

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_RUN     64
#define MAX_SECONDS 3600
#define SHOW_WRITES 20 /* lost markers for which a write is tried as well */

/* Next to the flag that stops A: how often a write of A came back. */
#define WRITES(stop) ((stop) + 1)

static int race_seconds; /* from the command line; 0 for the case's own */

struct race {
	struct manager m;
	unsigned char *src; /* a run of pages to install */
	int pagemap;        /* of A */
	unsigned nr;        /* pages in the run */
	bool cured;
	bool writer; /* A writes, and is never allowed to */
	uint64_t random;
	long rounds;
	long lost_at_punch; /* markers gone just after a punch */
	long lost_after;    /* still or again gone afterwards */
	long silent_writes; /* writes that gave no event */
	long writes;        /* writes tried by try_write() */
};

/* A reads the run over and over until it is told to stop. */
static long op_read_run(struct client *c, long nr, long unused)
{
	long page;

	(void)unused;
	while (!atomic_load_explicit(c->stop, memory_order_relaxed))
		for (page = 0; page < nr; page++)
			op_read(c, page, 0);
	return 0;
}

/* A writes for ever; no write is granted, so that none should get through. */
static long op_write_run(struct client *c, long nr, long unused)
{
	long page;

	(void)unused;
	while (!atomic_load_explicit(c->stop, memory_order_relaxed))
		for (page = 0; page < nr; page++) {
			op_write(c, page, FILL + 1);
			atomic_fetch_add(WRITES(c->stop), 1);
		}
	return 0;
}

static uint64_t next_random(struct race *r)
{
	r->random ^= r->random << 13;
	r->random ^= r->random >> 7;
	r->random ^= r->random << 17;
	return r->random;
}

/*
 * The window is some microseconds wide, and where it lies depends on the
 * machine: spread the delays over all orders of magnitude up to 256 us.
 */
static void random_delay(struct race *r)
{
	uint64_t ns = next_random(r) % (UINT64_C(1000) << next_random(r) % 9);
	double until = now_us() + (double)ns / 1e3;

	while (now_us() < until)
		;
}

static void start_client(struct race *r)
{
	atomic_store(r->m.stop, 0);
	manager_post(&r->m, A, r->writer ? op_write_run : op_read_run,
		     (long)r->nr, 0);
}

/* Faults that still wait are served on the way: see manager_reply(). */
static void stop_client(struct race *r)
{
	atomic_store(r->m.stop, 1);
	EXPECT_EQ(manager_reply(&r->m, A), 0);
}

static void drain_events(struct race *r)
{
	struct uffd_msg msg;

	while (read(r->m.space[A].uffd, &msg, sizeof(msg)) > 0)
		;
}

/* Through B, so that only a fault brings the pages into A. */
static void install_run(struct race *r)
{
	size_t len = r->nr * PAGE_BYTES;

	drain_events(r);
	EXPECT_EQ(uffd_copy(r->m.space[B].uffd, manager_addr(&r->m, B, 0),
			    r->src, len, COPY_WP),
		  0);
	EXPECT_EQ(uffd_wake(r->m.space[A].uffd, manager_addr(&r->m, A, 0), len),
		  0);
}

static void protect_run(struct race *r)
{
	size_t len = r->nr * PAGE_BYTES;
	unsigned i;

	for (i = 0; i < r->m.nr; i++)
		EXPECT_EQ(uffd_protect(r->m.space[i].uffd,
				       manager_addr(&r->m, i, 0), len),
			  0);
}

/* How many markers does A lack? *page_out is the last such page, if any. */
static long count_lost(struct race *r, unsigned *page_out)
{
	unsigned page;
	long lost = 0;

	for (page = 0; page < r->nr; page++) {
		if (pagemap_is_wp(r->pagemap, manager_addr(&r->m, A, page)))
			continue;
		*page_out = page;
		lost++;
	}
	return lost;
}

/* What it means: does a write of A to the reinstalled page pass unseen? */
static void try_write(struct race *r, unsigned page)
{
	long value;

	install_run(r);
	stop_client(r);
	EXPECT_EQ(manager_call(&r->m, A, op_write, page, FILL + 1), 0);
	r->writes++;
	if (!r->m.trace[0]) {
		value = manager_call(&r->m, B, op_read, page, 0);
		EXPECT_EQ(value, FILL + 1); /* B sees it: corrupt, not lost */
		r->silent_writes++;
	}
	protect_run(r);
	EXPECT_EQ(memfd_punch(r->m.memfd, 0, r->nr), 0);
	protect_run(r);
	start_client(r);
}

static void punch_run(struct race *r)
{
	EXPECT_EQ(memfd_punch(r->m.memfd, 0, r->nr), 0);
	if (r->cured)
		protect_run(r);
}

static void reader_round(struct race *r)
{
	unsigned page = 0, other;
	long lost;

	install_run(r);
	random_delay(r);
	/* Not in every round: looking takes time, and so moves the race. */
	if (r->cured && r->rounds % 16 == 0)
		r->lost_after += count_lost(r, &other);
	EXPECT_EQ(memfd_punch(r->m.memfd, 0, r->nr), 0);

	lost = count_lost(r, &page);
	r->lost_at_punch += lost;
	if (r->cured) {
		protect_run(r);
		r->lost_after += count_lost(r, &other);
	}
	if (lost && r->writes < SHOW_WRITES)
		try_write(r, page);
	else if (lost)
		protect_run(r); /* so that each loss is counted once */
}

/* Here the damage itself is counted, and no look at page tables slows it. */
static void writer_round(struct race *r)
{
	install_run(r);
	random_delay(r);
	punch_run(r);
	if (atomic_exchange(WRITES(r->m.stop), 0)) {
		r->silent_writes++;
		protect_run(r);
		punch_run(r);
		protect_run(r);
		atomic_store(WRITES(r->m.stop), 0);
	}
}

static void race_setup(struct race *r)
{
	r->random = 0x9e3779b97f4a7c15u;
	manager_init(&r->m, MAX_RUN);
	manager_attach(&r->m, 0);
	manager_attach(&r->m, 0);
	r->src = calloc(r->nr, PAGE_BYTES);
	r->pagemap = pagemap_open(r->m.space[A].pid);
	EXPECT(r->src && r->pagemap >= 0);
	EXPECT(pagemap_is_wp(r->pagemap, manager_addr(&r->m, A, 0)));
}

static void race_run(struct race *r, int seconds)
{
	double until;

	race_setup(r);
	start_client(r);
	until = now_us() + (race_seconds ? race_seconds : seconds) * 1e6;
	for (; now_us() < until; r->rounds++) {
		if (r->writer)
			writer_round(r);
		else
			reader_round(r);
	}
	install_run(r);
	stop_client(r);

	if (r->writer)
		case_info("%ld rounds: writes unseen in %ld", r->rounds,
			  r->silent_writes);
	else
		case_info("%ld rounds of %u pages: %ld markers lost at the "
			  "punch, %ld of %ld writes tried then unseen",
			  r->rounds, r->nr, r->lost_at_punch, r->silent_writes,
			  r->writes);
	if (r->cured && (r->lost_after || r->silent_writes))
		case_fail("the cure let %ld markers and %ld writes slip",
			  r->lost_after, r->silent_writes);
}

static void one_page_uncured(void)
{
	race_run(&(struct race){.nr = 1}, 4);
}

static void one_page_cured(void)
{
	race_run(&(struct race){.nr = 1, .cured = true}, 5);
}

static void run_uncured(void)
{
	race_run(&(struct race){.nr = MAX_RUN}, 2);
}

static void run_cured(void)
{
	race_run(&(struct race){.nr = MAX_RUN, .cured = true}, 3);
}

static void writer_uncured(void)
{
	race_run(&(struct race){.nr = 1, .writer = true}, 2);
}

static void writer_cured(void)
{
	race_run(&(struct race){.nr = 1, .writer = true, .cured = true}, 5);
}

static const struct test_case cases[] = {
	{"one_page_uncured", one_page_uncured, MAX_SECONDS + 60},
	{"one_page_cured", one_page_cured, MAX_SECONDS + 60},
	{"run_uncured", run_uncured, MAX_SECONDS + 60},
	{"run_cured", run_cured, MAX_SECONDS + 60},
	{"writer_uncured", writer_uncured, MAX_SECONDS + 60},
	{"writer_cured", writer_cured, MAX_SECONDS + 60},
};

int main(int argc, char **argv)
{
	if (argc > 2) {
		long seconds = strtol(argv[2], NULL, 10);

		race_seconds =
			seconds > MAX_SECONDS ? MAX_SECONDS : (int)seconds;
	}
	return case_main(cases, sizeof(cases) / sizeof(cases[0]),
			 argc > 1 ? argv[1] : NULL);
}
