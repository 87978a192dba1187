/* SPDX-License-Identifier: BSD-2-Clause */
/* dipc top: what pages of segments cost just now. Words, and lines. */
#include "runtime/cli/top.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH_PAGES 4u /* of a segment, in lines */
#define MIB         (1024.0 * 1024.0)

/* ---- columns ------------------------------------------------------------ */

typedef uint64_t (*value_fn)(const struct dipc_sample_row *row);

static uint64_t value_key(const struct dipc_sample_row *row)
{
	return (uint32_t)row->key;
}

static uint64_t value_size(const struct dipc_sample_row *row)
{
	return row->size;
}

static uint64_t value_here(const struct dipc_sample_row *row)
{
	return row->resident;
}

static uint64_t value_misses(const struct dipc_sample_row *row)
{
	return row->counts.nr_read_misses + row->counts.nr_write_misses;
}

static uint64_t value_upgrades(const struct dipc_sample_row *row)
{
	return row->counts.nr_upgrades;
}

static uint64_t value_invalidations(const struct dipc_sample_row *row)
{
	return row->counts.nr_invalidations;
}

static uint64_t value_taken(const struct dipc_sample_row *row)
{
	return row->counts.nr_invalidated + row->counts.nr_recalled;
}

static uint64_t value_in(const struct dipc_sample_row *row)
{
	return row->counts.bytes_in;
}

static uint64_t value_out(const struct dipc_sample_row *row)
{
	return row->counts.bytes_out;
}

static uint64_t value_holds(const struct dipc_sample_row *row)
{
	return row->counts.nr_hold_delays;
}

static uint64_t value_useful(const struct dipc_sample_row *row)
{
	return row->counts.nr_prefetch_useful;
}

static uint64_t value_wasted(const struct dipc_sample_row *row)
{
	return row->counts.nr_prefetch_wasted;
}

enum column_kind {
	COLUMN_KEY,
	COLUMN_BYTES,
	COLUMN_RATE, /* a second */
	COLUMN_MIB,  /* a second */
};

static const struct column {
	const char *title;
	int width;
	char key;
	enum column_kind kind;
	value_fn value;
} columns[] = {
	{"KEY", 10, 'k', COLUMN_KEY, value_key},
	{"SIZE", 9, 's', COLUMN_BYTES, value_size},
	{"HERE", 9, 'e', COLUMN_BYTES, value_here},
	{"MISS/s", 7, 'm', COLUMN_RATE, value_misses},
	{"UPGR/s", 7, 'u', COLUMN_RATE, value_upgrades},
	{"INVAL/s", 7, 'i', COLUMN_RATE, value_invalidations},
	{"TAKEN/s", 7, 't', COLUMN_RATE, value_taken},
	{"IN MB/s", 7, 'r', COLUMN_MIB, value_in},
	{"OUT MB/s", 8, 'w', COLUMN_MIB, value_out},
	{"HOLD/s", 7, 'h', COLUMN_RATE, value_holds},
	{"AHEAD/s", 7, 'a', COLUMN_RATE, value_useful},
	{"WASTE/s", 7, 'x', COLUMN_RATE, value_wasted},
};

#define NR_COLUMNS   (sizeof(columns) / sizeof(columns[0]))
#define SORT_AT_ONCE 6u /* TAKEN/s: what several nodes fight for */

bool dipc_top_sort_by(struct dipc_top *top, int key)
{
	unsigned i;

	for (i = 0; i < NR_COLUMNS; i++) {
		if (columns[i].key != key)
			continue;
		top->sort = i;
		return true;
	}
	return false;
}

const char *dipc_top_keys(char text[DIPC_TOP_LINE])
{
	size_t used = (size_t)snprintf(text, DIPC_TOP_LINE,
				       "q quit, arrows select, space looks, "
				       "sort by column:");
	unsigned i;

	for (i = 0; i < NR_COLUMNS; i++)
		used += (size_t)snprintf(text + used, DIPC_TOP_LINE - used,
					 " %c", columns[i].key);
	return text;
}

/* qsort() hands nothing through. */
static value_fn sort_value;

static int row_compare(const void *a, const void *b)
{
	const struct dipc_sample_row *x = a, *y = b;
	uint64_t vx = sort_value(x), vy = sort_value(y);

	if (vx != vy)
		return vx > vy ? -1 : 1;
	if (value_misses(x) != value_misses(y))
		return value_misses(x) > value_misses(y) ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

struct dipc_sample_row *dipc_top_rows(struct dipc_top *top, unsigned *nr_out)
{
	struct dipc_sample_row *rows = dipc_sample_rows(top->sample, nr_out);

	sort_value = columns[top->sort].value;
	if (*nr_out)
		qsort(rows, *nr_out, sizeof(*rows), row_compare);
	return rows;
}

/* ---- lines -------------------------------------------------------------- */

static double per_second(const struct dipc_top *top, uint64_t count)
{
	double seconds = dipc_sample_seconds(top->sample);

	return seconds > 0 ? (double)count / seconds : 0;
}

/* At most 7 characters. */
static void bytes_text(uint64_t bytes, char *text, size_t size)
{
	static const char units[] = "KMGT";
	double value = (double)bytes / 1024;
	unsigned u = 0;

	for (; value >= 1000 && u < 3; u++)
		value /= 1024;
	snprintf(text, size, "%.1f%c", value, units[u]);
}

static void cell_text(const struct dipc_top *top, const struct column *c,
		      const struct dipc_sample_row *row, char *text,
		      size_t size)
{
	uint64_t value = c->value(row);

	switch (c->kind) {
	case COLUMN_KEY:
		if (row->has_key)
			snprintf(text, size, "0x%08x", (unsigned)value);
		else
			snprintf(text, size, "-");
		break;
	case COLUMN_BYTES:
		bytes_text(value, text, size);
		break;
	case COLUMN_RATE:
		snprintf(text, size, "%.0f", per_second(top, value));
		break;
	case COLUMN_MIB:
		snprintf(text, size, "%.2f", per_second(top, value) / MIB);
		break;
	}
}

const char *dipc_top_head(const struct dipc_top *top, char text[DIPC_TOP_LINE])
{
	char nodes[160], stamp[32] = "";
	time_t now = time(NULL);
	struct tm tm;
	unsigned nr;

	if (localtime_r(&now, &tm))
		strftime(stamp, sizeof(stamp), "%H:%M:%S", &tm);
	(void)dipc_sample_rows(top->sample, &nr);
	snprintf(text, DIPC_TOP_LINE,
		 "dipc top %s, node%s %s, %u segment%s attached, %.1f s, by %s",
		 stamp,
		 __builtin_popcountll(dipc_sample_nodes(top->sample)) == 1
			 ? ""
			 : "s",
		 dipc_sample_nodes_text(dipc_sample_nodes(top->sample), nodes,
					sizeof(nodes)),
		 nr, nr == 1 ? "" : "s", dipc_sample_seconds(top->sample),
		 columns[top->sort].title);
	return text;
}

const char *dipc_top_titles(char text[DIPC_TOP_LINE])
{
	size_t used = 0;
	unsigned i;

	for (i = 0; i < NR_COLUMNS; i++)
		used += (size_t)snprintf(
			text + used, DIPC_TOP_LINE - used, "%s%*s",
			i ? " " : "", i ? columns[i].width : -columns[i].width,
			columns[i].title);
	snprintf(text + used, DIPC_TOP_LINE - used, "  NODES");
	return text;
}

const char *dipc_top_row(const struct dipc_top *top,
			 const struct dipc_sample_row *row,
			 char text[DIPC_TOP_LINE])
{
	char cell[32], nodes[64];
	size_t used = 0;
	unsigned i;

	for (i = 0; i < NR_COLUMNS && used < DIPC_TOP_LINE - 64; i++) {
		cell_text(top, &columns[i], row, cell, sizeof(cell));
		used += (size_t)snprintf(
			text + used, DIPC_TOP_LINE - used, "%s%*s",
			i ? " " : "", i ? columns[i].width : -columns[i].width,
			cell);
	}
	snprintf(text + used, DIPC_TOP_LINE - used, "  %s",
		 dipc_sample_nodes_text(row->nodes, nodes, sizeof(nodes)));
	return text;
}

const char *dipc_top_page(const struct dipc_top *top,
			  const struct dipc_sample_page *page,
			  char text[DIPC_TOP_LINE])
{
	char nodes[128];

	snprintf(text, DIPC_TOP_LINE,
		 "offset 0x%llx: taken away %llu times, %.0f/s; missed %llu "
		 "times, %.0f/s; node%s %s",
		 (unsigned long long)page->page * 4096,
		 (unsigned long long)page->nr_taken,
		 per_second(top, page->taken),
		 (unsigned long long)page->nr_missed,
		 per_second(top, page->missed),
		 page->nodes & (page->nodes - 1) ? "s" : "",
		 dipc_sample_nodes_text(page->nodes, nodes, sizeof(nodes)));
	return text;
}

/* ---- without a terminal ------------------------------------------------- */

static void batch_print(struct dipc_top *top)
{
	char text[DIPC_TOP_LINE];
	struct dipc_sample_row *rows;
	unsigned i, p, nr;

	puts(dipc_top_head(top, text));
	rows = dipc_top_rows(top, &nr);
	if (nr)
		puts(dipc_top_titles(text));
	for (i = 0; i < nr; i++) {
		puts(dipc_top_row(top, &rows[i], text));
		for (p = 0; p < rows[i].nr_pages && p < BATCH_PAGES; p++)
			printf("    %s\n",
			       dipc_top_page(top, &rows[i].pages[p], text));
	}
	putchar('\n');
}

/* COUNT 0: until something ends us. */
static int batch_run(struct dipc_top *top, unsigned long count)
{
	const struct timespec delay = {
		.tv_sec = (time_t)(top->delay_ms / 1000),
		.tv_nsec = (long)(top->delay_ms % 1000) * 1000000,
	};
	unsigned long i;

	for (i = 0; i < count || !count; i++) {
		nanosleep(&delay, NULL);
		if (dipc_sample_take(top->sample))
			return dipc_cli_fail("no dipcd answers any more");
		batch_print(top);
		if (fflush(stdout))
			return dipc_cli_fail("standard output: %m");
	}
	return 0;
}

/* ---- the command -------------------------------------------------------- */

struct options {
	const char *dir;
	unsigned long node, count, delay_ms;
	bool is_batch;
};

static int delay_parse(const char *text, unsigned long *ms_out)
{
	char *end;
	double seconds = strtod(text, &end);

	/* NaN fails both */
	if (end == text || *end || !(seconds >= 0.1 && seconds <= 3600)) {
		dipc_cli_usage("-d: not 0.1 to 3600 seconds: %s", text);
		return -1;
	}
	*ms_out = (unsigned long)(seconds * 1000);
	return 0;
}

/* 0, or the exit status of a mistake; -1: that was --help. */
static int options_parse(int argc, char **argv, struct options *o)
{
	static const struct option table[] = {
		{"dir", required_argument, NULL, 'D'},
		{"node", required_argument, NULL, 'N'},
		{"batch", no_argument, NULL, 'b'},
		{"count", required_argument, NULL, 'n'},
		{"delay", required_argument, NULL, 'd'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, ret = 0;

	while (!ret &&
	       (c = getopt_long(argc, argv, "bd:hn:", table, NULL)) != -1) {
		if (c == 'h')
			return dipc_cli_help() ? DIPC_EXIT_FAIL : -1;
		else if (c == 'D')
			o->dir = optarg;
		else if (c == 'b')
			o->is_batch = true;
		else if (c == 'N')
			ret = dipc_cli_number("--node", optarg, 1,
					      DIPC_CLI_NODES, &o->node);
		else if (c == 'n')
			ret = dipc_cli_number("-n", optarg, 1, 1000000000,
					      &o->count);
		else if (c == 'd')
			ret = delay_parse(optarg, &o->delay_ms);
		else
			ret = -1;
	}
	if (ret)
		return DIPC_EXIT_USAGE;
	if (optind < argc)
		return dipc_cli_usage("unexpected argument %s", argv[optind]);
	return 0;
}

int dipc_cmd_top(int argc, char **argv)
{
	struct options o = {.delay_ms = 1000};
	struct dipc_top top = {.sort = SORT_AT_ONCE};
	int ret = options_parse(argc, argv, &o);

	if (ret)
		return ret < 0 ? 0 : ret;
	top.delay_ms = o.delay_ms;
	ret = dipc_sample_open(o.dir, (unsigned)o.node, &top.sample);
	if (ret)
		return ret;
	if (o.is_batch || o.count || !isatty(STDIN_FILENO) ||
	    !isatty(STDOUT_FILENO))
		ret = batch_run(&top, o.count);
	else
		ret = dipc_screen_run(&top);
	dipc_sample_close(top.sample);
	return ret;
}
