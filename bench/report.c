/* SPDX-License-Identifier: BSD-2-Clause */
/* Medians of rounds, as lines or as JSON. */
#include "bench.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

struct bench_report {
	json_t *root;       /* owned; NULL: lines */
	json_t *benchmarks; /* borrowed from root */
	unsigned nr_rounds;
	bool is_bad; /* JSON could not be built */
};

static int double_compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median(double *values, unsigned nr)
{
	qsort(values, nr, sizeof(values[0]), double_compare);
	return nr % 2 ? values[nr / 2]
		      : (values[nr / 2 - 1] + values[nr / 2]) / 2;
}

static struct bench_result
result_median(unsigned nr, unsigned side,
	      struct bench_result result[][BENCH_SIDES_MAX])
{
	double p50[BENCH_ROUNDS_MAX], p99[BENCH_ROUNDS_MAX];
	double max[BENCH_ROUNDS_MAX], rate[BENCH_ROUNDS_MAX];
	unsigned i;

	for (i = 0; i < nr; i++) {
		p50[i] = result[i][side].p50_ns;
		p99[i] = result[i][side].p99_ns;
		max[i] = result[i][side].max_ns;
		rate[i] = result[i][side].ops_per_s;
	}
	return (struct bench_result){
		.p50_ns = median(p50, nr),
		.p99_ns = median(p99, nr),
		.max_ns = median(max, nr),
		.ops_per_s = median(rate, nr),
	};
}

/*
 * How many times as long ours takes. Of the two halves of each round, which
 * met the same weather, and then the median: not the quotient of medians.
 */
static double ratio_median(const struct bench *bench, unsigned nr,
			   unsigned side,
			   struct bench_result result[][BENCH_SIDES_MAX])
{
	double ratio[BENCH_ROUNDS_MAX];
	unsigned i;

	for (i = 0; i < nr; i++) {
		const struct bench_result *ours = &result[i][0];
		const struct bench_result *ref = &result[i][side];
		double by = bench->is_stream ? ours->ops_per_s : ref->p50_ns;

		ratio[i] = bench->is_stream ? ref->ops_per_s : ours->p50_ns;
		ratio[i] /= by > 0 ? by : 1; /* 0: below the clock's step */
	}
	return median(ratio, nr);
}

/* ---- lines -------------------------------------------------------------- */

static double load_average(void)
{
	double load;

	return getloadavg(&load, 1) == 1 ? load : 0;
}

static void head_print(const struct bench_cluster *cluster, unsigned nr_rounds)
{
	struct utsname uts = {0};

	uname(&uts);
	printf("# dipc-bench %s: all nodes on this machine, transport %s; "
	       "medians of %u rounds\n"
	       "# Linux %s %s, %ld processors, load %.2f at the start; "
	       "times in us\n",
	       DIPC_VERSION, cluster->transport, nr_rounds, uts.release,
	       uts.machine, sysconf(_SC_NPROCESSORS_ONLN), load_average());
	printf("%-24s%9s%10s%9s  %-17s%9s%10s%9s%10s\n", "name", "p50", "p99",
	       "ops/s", "reference", "p50", "p99", "ops/s", "ratio");
}

static void line_print(const struct bench *bench, unsigned side,
		       const struct bench_result *ours,
		       const struct bench_result *ref, double ratio)
{
	printf("%-24s%9.2f%10.2f%9.0f  %-17s%9.2f%10.2f%9.0f%10.2f\n",
	       bench->name, ours->p50_ns / 1000, ours->p99_ns / 1000,
	       ours->ops_per_s, bench->side[side].name, ref->p50_ns / 1000,
	       ref->p99_ns / 1000, ref->ops_per_s, ratio);
	fflush(stdout);
}

/* ---- JSON --------------------------------------------------------------- */

static json_t *head_json(const struct bench_cluster *cluster,
			 unsigned nr_rounds)
{
	struct utsname uts = {0};

	uname(&uts);
	return json_pack("{s:s, s:s, s:i, s:{s:s, s:s, s:i, s:f}, s:[]}",
			 "version", DIPC_VERSION, "transport",
			 cluster->transport, "rounds", (int)nr_rounds,
			 "machine", "kernel", uts.release, "arch", uts.machine,
			 "processors", (int)sysconf(_SC_NPROCESSORS_ONLN),
			 "load", load_average(), "benchmarks");
}

static json_t *result_json(const char *name, unsigned nr, unsigned side,
			   struct bench_result result[][BENCH_SIDES_MAX])
{
	struct bench_result mid = result_median(nr, side, result);
	json_t *rounds = json_array();
	unsigned i;

	for (i = 0; i < nr; i++)
		json_array_append_new(rounds,
				      json_real(result[i][side].p50_ns));
	return json_pack("{s:s, s:f, s:f, s:f, s:f, s:o}", "name", name,
			 "p50_ns", mid.p50_ns, "p99_ns", mid.p99_ns, "max_ns",
			 mid.max_ns, "ops_per_s", mid.ops_per_s,
			 "p50_ns_of_rounds", rounds);
}

static void add_json(struct bench_report *report, const struct bench *bench,
		     unsigned count,
		     struct bench_result result[][BENCH_SIDES_MAX])
{
	unsigned side, nr = report->nr_rounds;
	json_t *references = json_array();
	json_t *ref, *entry;

	for (side = 1; side < BENCH_SIDES_MAX; side++) {
		if (!bench->side[side].name)
			break;
		ref = result_json(bench->side[side].name, nr, side, result);
		if (json_object_set_new(
			    ref, "ratio",
			    json_real(ratio_median(bench, nr, side, result))) ||
		    json_array_append_new(references, ref))
			report->is_bad = true;
	}
	entry = json_pack("{s:s, s:s, s:i, s:i, s:s, s:o, s:o}", "name",
			  bench->name, "what", bench->what, "nodes",
			  (int)bench_nr_nodes(bench), "samples_of_round",
			  (int)count, "ratio_of",
			  bench->is_stream ? "ops_per_s" : "p50_ns", "dipc",
			  result_json(bench->side[0].name, nr, 0, result),
			  "references", references);
	if (json_array_append_new(report->benchmarks, entry))
		report->is_bad = true;
}

/* ------------------------------------------------------------------------- */

struct bench_report *bench_report_create(const struct bench_cluster *cluster,
					 bool is_json, unsigned nr_rounds)
{
	struct bench_report *report = calloc(1, sizeof(*report));

	if (!report)
		goto err_report;
	report->nr_rounds = nr_rounds;
	if (!is_json) {
		head_print(cluster, nr_rounds);
		return report;
	}
	report->root = head_json(cluster, nr_rounds);
	if (!report->root)
		goto err_report;
	report->benchmarks = json_object_get(report->root, "benchmarks");
	return report;

err_report:
	free(report);
	errno = ENOMEM;
	bench_fail("report");
	return NULL;
}

void bench_report_add(struct bench_report *report, const struct bench *bench,
		      unsigned count,
		      struct bench_result result[][BENCH_SIDES_MAX])
{
	unsigned side, nr = report->nr_rounds;
	struct bench_result ours, ref;

	if (report->root) {
		add_json(report, bench, count, result);
		return;
	}
	ours = result_median(nr, 0, result);
	for (side = 1; side < BENCH_SIDES_MAX; side++) {
		if (!bench->side[side].name)
			break;
		ref = result_median(nr, side, result);
		line_print(bench, side, &ours, &ref,
			   ratio_median(bench, nr, side, result));
	}
}

int bench_report_finish(struct bench_report *report)
{
	bool is_bad = report->is_bad;

	if (report->root) {
		is_bad |= json_dumpf(report->root, stdout,
				     JSON_INDENT(2) | JSON_REAL_PRECISION(7)) !=
			  0;
		putchar('\n');
		json_decref(report->root);
	}
	free(report);
	is_bad |= fflush(stdout) || ferror(stdout);
	return is_bad ? bench_fail("standard output") : 0;
}
