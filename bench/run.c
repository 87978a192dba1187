/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The worker's half: take the order, measure, say what came of it. On stdout
 * go one byte when the objects are there, and at the end a struct
 * bench_result; end of file on stdin says that the other role is done.
 */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define WARM_UP_MIN 4u
#define SMOKE_SIZE  (4ul << 20)
#define NS_PER_S    1000000000ull

struct bench_run {
	unsigned count, nr_warm_up;
	unsigned nr_done; /* warm-up included */
	uint64_t start;   /* of the first sample that counts */
	uint64_t last;    /* begin() or end() */
	uint64_t *ns;     /* owned; COUNT of them */
};

int bench_fail(const char *fmt, ...)
{
	int cause = errno;
	va_list ap;

	fprintf(stderr, "dipc-bench: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(cause));
	return -1;
}

/* ---- measuring ---------------------------------------------------------- */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

unsigned bench_run_loops(const struct bench_run *run)
{
	return run->nr_warm_up + run->count;
}

void bench_run_begin(struct bench_run *run)
{
	run->last = now_ns();
	if (run->nr_done == run->nr_warm_up)
		run->start = run->last;
}

void bench_run_end(struct bench_run *run)
{
	uint64_t now = now_ns();

	if (run->nr_done >= run->nr_warm_up)
		run->ns[run->nr_done - run->nr_warm_up] = now - run->last;
	run->nr_done++;
	run->last = now;
	if (run->nr_done == run->nr_warm_up)
		run->start = now;
}

static int sample_compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The nearest rank. */
static double percentile(const uint64_t *sorted, unsigned nr, unsigned p)
{
	unsigned rank = (nr * p + 99) / 100;

	return (double)sorted[rank ? rank - 1 : 0];
}

static void run_sum_up(struct bench_run *run, struct bench_result *result)
{
	unsigned nr = run->count;

	*result = (struct bench_result){0};
	if (run->nr_done < bench_run_loops(run))
		return; /* the other role measures */
	qsort(run->ns, nr, sizeof(run->ns[0]), sample_compare);
	result->p50_ns = percentile(run->ns, nr, 50);
	result->p99_ns = percentile(run->ns, nr, 99);
	result->max_ns = (double)run->ns[nr - 1];
	result->ops_per_s =
		nr * (double)NS_PER_S / (double)(run->last - run->start);
}

/* ---- the controller's end ----------------------------------------------- */

static int say(const void *bytes, size_t len)
{
	const char *pos = bytes;

	while (len) {
		ssize_t n = write(STDOUT_FILENO, pos, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return bench_fail("write to the controller");
		pos += n;
		len -= (size_t)n;
	}
	return 0;
}

void bench_run_ready(struct bench_run *run)
{
	(void)run;
	say("R", 1);
}

void bench_run_hold(struct bench_run *run)
{
	char byte;
	ssize_t n;

	(void)run;
	do {
		n = read(STDIN_FILENO, &byte, 1);
	} while (n > 0 || (n < 0 && errno == EINTR));
}

static size_t size_of(const struct bench_side *side)
{
	return side->size > SMOKE_SIZE && getenv(BENCH_SMOKE_ENV) ? SMOKE_SIZE
								  : side->size;
}

/* Arguments: NAME SIDE ROLE KEY COUNT TRANSPORT ADDRESS. */
int bench_worker_main(int argc, char **argv)
{
	const struct bench *bench = argc == 7 ? bench_find(argv[0]) : NULL;
	unsigned side = bench ? (unsigned)atoi(argv[1]) : BENCH_SIDES_MAX;
	struct bench_result result;
	struct bench_run run = {0};
	struct bench_job job;
	int ret;

	if (side >= BENCH_SIDES_MAX || !bench->side[side].work) {
		fprintf(stderr, "dipc-bench: --worker is for its own use\n");
		return 2;
	}
	job = (struct bench_job){
		.role = (unsigned)atoi(argv[2]),
		.nr_roles = bench->side[side].nr_roles,
		.flag = bench->side[side].is_on_nodes ? IPC_DIPC : 0,
		.key = (key_t)strtoul(argv[3], NULL, 0),
		.size = size_of(&bench->side[side]),
		.per_sample = bench->side[side].per_sample,
		.count = (unsigned)atoi(argv[4]),
		.transport = argv[5],
		.address = argv[6],
	};
	/* the controller's death must not leave us in a semop for ever */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	run.count = job.count;
	run.nr_warm_up = job.count / 10 + WARM_UP_MIN;
	run.ns = calloc(run.count, sizeof(run.ns[0]));
	if (!run.count || !run.ns) {
		bench_fail("room for the samples");
		return 1;
	}
	ret = bench->side[side].work(&job, &run);
	if (!ret) {
		run_sum_up(&run, &result);
		ret = say(&result, sizeof(result));
	}
	free(run.ns);
	return ret ? 1 : 0;
}
