/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page protocol in simulated worlds, one a seed.
 *
 *	sim_pages --seeds FROM-TO [--jobs N]	the worlds of these seeds
 *	sim_pages --seed N [-v]			one of them; -v: all that happens
 *	sim_pages --same FROM-TO		each twice: the same trace?
 *	sim_pages --find FROM-TO [--blind]	succeeds if one of them fails;
 *						--blind: by its history alone
 *
 * Seeds run in processes of their own, some tens in each: what a crashed node
 * held is not freed, and a failed assertion ends one batch only.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/log.h"
#include "world.h"

#define BATCH        50u
#define JOBS_MAX     16u
#define SEED_SECONDS 60u /* of the machine's time: else it hangs */
#define FAILURES_MAX 5u
#define CRASH_WINDOW (2 * DIPC_MSEC)

/* What a batch tells who started it. */
struct batch {
	uint64_t next, to; /* seeds */
	struct sim_totals totals;
	pid_t pid;     /* 0: free */
	bool has_said; /* what failed */
};

static struct batch *batches; /* shared with the batches' processes */
static struct batch *self;    /* in such a process */
static const char *program;
static bool is_quiet;

/* ---- saying ------------------------------------------------------------- */

void sim_say(const char *fmt, ...)
{
	va_list ap;

	if (!world.is_verbose)
		return;
	printf("%12.3f us  ",
	       world.sim ? (double)(dipc_sim_now(world.sim) - DIPC_SEC) / 1e3
			 : 0.0);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static void say_replay(uint64_t seed)
{
	if (is_quiet)
		return;
	printf("  again: %s --seed %llu -v\n", program,
	       (unsigned long long)seed);
	fflush(stdout);
}

void sim_fail(const char *fmt, ...)
{
	va_list ap;

	if (!is_quiet || self) {
		printf("FAIL seed %llu, at %.3f us: ",
		       (unsigned long long)world.seed,
		       world.sim
			       ? (double)(dipc_sim_now(world.sim) - DIPC_SEC) /
					 1e3
			       : 0.0);
		va_start(ap, fmt);
		vprintf(fmt, ap);
		va_end(ap);
		putchar('\n');
	}
	say_replay(world.seed);
	fflush(stdout);
	if (self)
		self->has_said = true;
	_exit(1);
}

/* ---- one world ---------------------------------------------------------- */

/* A link that breaks again and again; of the one world there is. */
static struct flaky {
	unsigned a, b, nr;
} flaky;

static void crash_one(void *arg)
{
	unsigned node = 1 + (unsigned)sim_random(world.nr_nodes);
	unsigned i, alive = 0;

	(void)arg;
	for (i = 1; i <= world.nr_nodes; i++)
		alive += !sim_is_dead(i);
	if (sim_is_dead(node) || alive < 2)
		return;
	/* now, or around one of its next chains of requests */
	if (sim_random(2))
		dipc_sim_crash(world.sim, node);
	else
		dipc_sim_crash_at(world.sim, node,
				  (enum dipc_sim_moment)sim_random(3),
				  1 + sim_random(20));
}

static void break_one(void *arg)
{
	unsigned a = 1 + (unsigned)sim_random(world.nr_nodes);
	unsigned b = 1 + (unsigned)sim_random(world.nr_nodes);

	(void)arg;
	if (a != b && !sim_is_dead(a) && !sim_is_dead(b))
		sim_break(a, b);
}

/* The same link over and over: what mends the first is cut off by the next. */
static void break_again(void *arg)
{
	struct flaky *l = arg;

	if (!sim_is_dead(l->a) && !sim_is_dead(l->b))
		sim_break(l->a, l->b);
	if (--l->nr)
		sim_later(1 + sim_random(150 * DIPC_USEC), break_again, l);
}

static void plan_flaky(void)
{
	flaky.a = 1 + (unsigned)sim_random(world.nr_nodes);
	flaky.b = 1 + (unsigned)sim_random(world.nr_nodes);
	flaky.nr = 2 + (unsigned)sim_random(12);
	if (flaky.a != flaky.b)
		sim_later(sim_random(CRASH_WINDOW), break_again, &flaky);
}

static void plan_troubles(void)
{
	uint64_t i, nr;

	if (world.is_quiet)
		return;
	nr = sim_random(3);
	for (i = 0; i < nr; i++)
		sim_later(sim_random(CRASH_WINDOW), crash_one, NULL);
	nr = sim_random(3) ? 0 : 1 + sim_random(3);
	for (i = 0; i < nr; i++)
		sim_later(sim_random(CRASH_WINDOW), break_one, NULL);
	if (!sim_random(4))
		plan_flaky();
}

static void totals_take(void)
{
	unsigned i;

	for (i = 1; i <= world.nr_nodes; i++) {
		struct dipc_page_counters c =
			dipc_pages_counters(world.node[i].pages);

		world.totals.nr_invalidations += c.nr_invalidations;
		world.totals.nr_recalls += c.nr_recalls;
		world.totals.nr_discards += c.nr_discards;
		world.totals.nr_prefetched += c.nr_prefetched;
		world.totals.nr_useful += c.nr_prefetch_useful;
		world.totals.nr_evicted_clean += c.nr_evicted_clean;
		world.totals.nr_evicted_modified += c.nr_evicted_modified;
	}
}

/* The hash of all that happened. */
static uint64_t run_seed(uint64_t seed)
{
	sim_world_start(seed);
	plan_troubles();
	sim_threads_start();
	sim_world_run(sim_threads_are_done);
	sim_threads_check();
	/* what is still on its way, of those that died for instance */
	sim_world_run(NULL);
	if (!world.is_blind)
		sim_check_homes();
	sim_history_check();
	totals_take();
	sim_world_stop();
	return world.hash;
}

/* ---- many --------------------------------------------------------------- */

static void totals_add(struct sim_totals *sum, const struct sim_totals *more)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)more;
	unsigned i;

	for (i = 0; i < sizeof(*sum) / sizeof(*to); i++)
		to[i] += from[i];
}

static void batch_run(struct batch *b)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	self = b;
	/* what is lost is logged as such; a replay shows it */
	if (null >= 0)
		dup2(null, STDERR_FILENO);
	for (; b->next < b->to; b->next++) {
		alarm(SEED_SECONDS);
		run_seed(b->next);
		b->totals = world.totals;
	}
	_exit(0);
}

static void batch_start(struct batch *b, uint64_t from, uint64_t to)
{
	pid_t pid;

	memset(b, 0, sizeof(*b));
	b->next = from;
	b->to = to;
	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		perror("fork");
		exit(2);
	}
	if (!pid)
		batch_run(b);
	b->pid = pid;
}

/* One that has ended; true: it failed at b->next. */
static bool batch_wait(struct batch **b_out)
{
	int status;
	pid_t pid = wait(&status);
	unsigned i;

	for (i = 0; i < JOBS_MAX && batches[i].pid != pid; i++)
		;
	if (pid < 0 || i == JOBS_MAX) {
		perror("wait");
		exit(2);
	}
	*b_out = &batches[i];
	batches[i].pid = 0;
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return false;
	if (!batches[i].has_said && !is_quiet) {
		printf("FAIL seed %llu: %s\n",
		       (unsigned long long)batches[i].next,
		       WIFSIGNALED(status)
			       ? WTERMSIG(status) == SIGALRM
					 ? "it hangs"
					 : strsignal(WTERMSIG(status))
			       : "an assertion");
		say_replay(batches[i].next);
	}
	return true;
}

struct count {
	const char *name;
	uint64_t nr;
};

static void say_counts(const char *what, const struct count *counts)
{
	printf("  %s:", what);
	for (; counts->name; counts++)
		printf(" %llu %s%s", (unsigned long long)counts->nr,
		       counts->name, counts[1].name ? "," : "\n");
}

/* What was tried, so that what was not can be seen. */
static void say_totals(const struct sim_totals *t, double seconds)
{
	const struct count done[] = {
		{"reads", t->nr_reads},        {"writes", t->nr_writes},
		{"increments", t->nr_incs},    {"fetches", t->nr_fetches},
		{"releases", t->nr_releases},  {"opens", t->nr_opens},
		{"made anew", t->nr_reopened}, {NULL, 0},
	};
	const struct count between[] = {
		{"invalidations", t->nr_invalidations},
		{"recalls", t->nr_recalls},
		{"messages for runs", t->nr_run_recalls},
		{"discards", t->nr_discards},
		{NULL, 0},
	};
	const struct count here[] = {
		{"segments with units", t->nr_units},
		{"prefetched", t->nr_prefetched},
		{"of use", t->nr_useful},
		{"evicted clean", t->nr_evicted_clean},
		{"evicted modified", t->nr_evicted_modified},
		{NULL, 0},
	};
	const struct count troubles[] = {
		{"crashes", t->nr_crashes},
		{"of homes", t->nr_home_crashes},
		{"breaks", t->nr_breaks},
		{"forgets", t->nr_forgets},
		{"pages lost", t->nr_lost},
		{"times SIGBUS", t->nr_sigbus},
		{NULL, 0},
	};

	printf("%llu worlds, %llu steps, %.1f s of their time in %.1f s\n",
	       (unsigned long long)t->nr_seeds, (unsigned long long)t->nr_steps,
	       (double)t->virtual_ns / 1e9, seconds);
	say_counts("programs", done);
	say_counts("between nodes", between);
	say_counts("caches", here);
	say_counts("troubles", troubles);
}

/* How many seeds failed. */
static unsigned run_many(uint64_t from, uint64_t to, unsigned jobs,
			 unsigned max_failures, uint64_t *first_out)
{
	struct sim_totals totals = {0};
	unsigned busy = 0, failed = 0;
	struct timespec start, end;
	uint64_t next = from;
	struct batch *b;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (busy || (next <= to && failed < max_failures)) {
		if (busy < jobs && next <= to && failed < max_failures) {
			uint64_t last =
				next + BATCH <= to + 1 ? next + BATCH : to + 1;

			for (b = batches; b->pid; b++)
				;
			batch_start(b, next, last);
			next = last;
			busy++;
			continue;
		}
		busy--;
		if (!batch_wait(&b)) {
			totals_add(&totals, &b->totals);
			continue;
		}
		totals_add(&totals, &b->totals);
		if (!failed || b->next < *first_out)
			*first_out = b->next;
		failed++;
		/* the rest of it */
		if (b->next + 1 < b->to && failed < max_failures) {
			batch_start(b, b->next + 1, b->to);
			busy++;
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	if (!is_quiet)
		say_totals(&totals,
			   (double)(end.tv_sec - start.tv_sec) +
				   (double)(end.tv_nsec - start.tv_nsec) / 1e9);
	return failed;
}

static int run_seeds(uint64_t from, uint64_t to, unsigned jobs)
{
	uint64_t first = 0;
	unsigned failed = run_many(from, to, jobs, FAILURES_MAX, &first);

	printf("%llu passed, %u failed\n",
	       (unsigned long long)(to - from + 1 - failed), failed);
	return failed ? 1 : 0;
}

/* For protocols that are wrong: it must show. */
static int run_find(uint64_t from, uint64_t to, unsigned jobs)
{
	uint64_t first = 0;

	is_quiet = true;
	if (!run_many(from, to, jobs, 1, &first)) {
		printf("none of the seeds %llu-%llu finds anything\n",
		       (unsigned long long)from, (unsigned long long)to);
		return 1;
	}
	printf("found with seed %llu\n", (unsigned long long)first);
	return 0;
}

static int run_one(uint64_t seed, bool is_verbose)
{
	struct timespec start, end;
	uint64_t hash;

	world.is_verbose = is_verbose;
	clock_gettime(CLOCK_MONOTONIC, &start);
	hash = run_seed(seed);
	clock_gettime(CLOCK_MONOTONIC, &end);
	say_totals(&world.totals,
		   (double)(end.tv_sec - start.tv_sec) +
			   (double)(end.tv_nsec - start.tv_nsec) / 1e9);
	printf("seed %llu: trace %016llx\n", (unsigned long long)seed,
	       (unsigned long long)hash);
	return 0;
}

/* Each seed twice, in this process: the same trace. */
static int run_same(uint64_t from, uint64_t to)
{
	unsigned failed = 0;
	uint64_t seed;

	for (seed = from; seed <= to; seed++)
		if (run_seed(seed) != run_seed(seed)) {
			printf("FAIL seed %llu is not the same twice\n",
			       (unsigned long long)seed);
			failed++;
		}
	printf("%llu passed, %u failed\n",
	       (unsigned long long)(to - from + 1 - failed), failed);
	return failed ? 1 : 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: sim_pages --seeds FROM-TO [--jobs N]\n"
			"       sim_pages --seed N [-v]\n"
			"       sim_pages --same FROM-TO\n"
			"       sim_pages --find FROM-TO [--blind]\n");
	return 2;
}

int main(int argc, char **argv)
{
	unsigned long long from = 0, to = 0;
	unsigned jobs = 2;
	const char *what;

	program = argv[0];
	if (argc < 3)
		return usage();
	what = argv[1];
	if (sscanf(argv[2], "%llu-%llu", &from, &to) == 1)
		to = from;
	if (argc == 5 && !strcmp(argv[3], "--jobs"))
		jobs = (unsigned)atoi(argv[4]);
	world.is_blind = !strcmp(argv[argc - 1], "--blind");
	if (to < from || !jobs || jobs > JOBS_MAX)
		return usage();
	dipc_log_init("sim");
	batches =
		mmap(NULL, JOBS_MAX * sizeof(*batches), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (batches == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	if (!strcmp(what, "--seeds"))
		return run_seeds(from, to, jobs);
	if (!strcmp(what, "--find"))
		return run_find(from, to, jobs);
	if (!strcmp(what, "--same"))
		return run_same(from, to);
	if (!strcmp(what, "--seed"))
		return run_one(from, argc == 4 && !strcmp(argv[3], "-v"));
	return usage();
}
