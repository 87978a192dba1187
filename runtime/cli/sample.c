/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/cli/sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/cli/session.h"

#define RETRY_SECONDS 5.0 /* a node that does not answer is asked again */

/* One dipcd, and what it said last and before. */
struct source {
	struct dipc_target target;
	struct dipc_session *session; /* owned; NULL: does not answer */
	double retry_at;
	struct dipc_page_stat *now, *before; /* owned */
	unsigned nr_now, nr_before;
};

struct dipc_sample {
	struct source sources[DIPC_CLI_NODES];
	unsigned nr_sources;
	double taken_at, seconds;
	uint64_t nodes;
	struct dipc_sample_row *rows; /* owned */
	unsigned nr_rows, room;
	struct dipc_ls_row *objects; /* owned: keys of segments */
	unsigned nr_objects;
};

static double now_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t node_bit(const struct source *s)
{
	unsigned node = dipc_session_node(s->session);

	return node >= 1 && node <= 64 ? 1ull << (node - 1) : 0;
}

/* ---- asking ------------------------------------------------------------- */

static void source_lost(struct source *s)
{
	dipc_session_close(s->session);
	s->session = NULL;
	free(s->now);
	s->now = NULL;
	s->nr_now = 0;
	s->retry_at = now_seconds() + RETRY_SECONDS;
}

/* What it says now; what it said is `before`. */
static void source_ask(struct source *s)
{
	free(s->before);
	s->before = s->now;
	s->nr_before = s->nr_now;
	s->now = NULL;
	s->nr_now = 0;
	if (!s->session && (now_seconds() < s->retry_at ||
			    dipc_session_open(s->target.socket, &s->session)))
		return;
	if (dipc_session_pages(s->session, &s->now, &s->nr_now))
		source_lost(s);
}

/* The keys of segments, from the first node that can tell. */
static void sample_read_keys(struct dipc_sample *sample)
{
	struct dipc_ls_row *objects;
	unsigned i, nr;

	for (i = 0; i < sample->nr_sources; i++) {
		struct dipc_session *session = sample->sources[i].session;

		if (!session || dipc_session_ls(session, &objects, &nr))
			continue;
		free(sample->objects);
		sample->objects = objects;
		sample->nr_objects = nr;
		return;
	}
}

static const struct dipc_ls_row *sample_object(const struct dipc_sample *sample,
					       int32_t id)
{
	unsigned i;

	for (i = 0; i < sample->nr_objects; i++)
		if (sample->objects[i].stat.id == id)
			return &sample->objects[i];
	return NULL;
}

/* ---- adding up ---------------------------------------------------------- */

static struct dipc_sample_row *sample_row(struct dipc_sample *sample,
					  const struct dipc_page_stat *st)
{
	struct dipc_sample_row *more;
	unsigned i;

	for (i = 0; i < sample->nr_rows; i++)
		if (sample->rows[i].id == st->id)
			return &sample->rows[i];
	if (sample->nr_rows == sample->room) {
		sample->room = sample->room ? sample->room * 2 : 16;
		more = realloc(sample->rows, sample->room * sizeof(*more));
		if (!more) {
			sample->room = sample->nr_rows;
			return NULL;
		}
		sample->rows = more;
	}
	more = &sample->rows[sample->nr_rows++];
	*more = (struct dipc_sample_row){
		.id = st->id, .home = st->home, .size = st->size};
	return more;
}

/* What ST was when we looked last; zeros: it was not open. */
static const struct dipc_page_stat *stat_before(const struct source *s,
						const struct dipc_page_stat *st)
{
	static const struct dipc_page_stat none;
	unsigned i;

	if (!s->nr_before)
		return st; /* nobody has looked */
	for (i = 1; i < s->nr_before; i++)
		if (s->before[i].id == st->id)
			return &s->before[i];
	return &none;
}

/* A count that fell began anew: its segment was opened again. */
static uint64_t grown(uint64_t now, uint64_t before)
{
	return now >= before ? now - before : now;
}

static uint64_t rank_of(const struct dipc_page_rank *rank, uint64_t page)
{
	unsigned i;

	for (i = 0; i < DIPC_PAGES_RANKED && rank[i].nr; i++)
		if (rank[i].page == page)
			return rank[i].nr;
	return 0;
}

/* NULL: the row has enough of them. */
static struct dipc_sample_page *row_page(struct dipc_sample_row *row,
					 uint64_t page)
{
	unsigned i;

	for (i = 0; i < row->nr_pages; i++)
		if (row->pages[i].page == page)
			return &row->pages[i];
	if (row->nr_pages == DIPC_SAMPLE_PAGES)
		return NULL;
	row->pages[row->nr_pages] = (struct dipc_sample_page){.page = page};
	return &row->pages[row->nr_pages++];
}

static void row_add_pages(struct dipc_sample_row *row, uint64_t node,
			  const struct dipc_page_stat *now,
			  const struct dipc_page_stat *before)
{
	struct dipc_sample_page *p;
	unsigned i;

	for (i = 0; i < DIPC_PAGES_RANKED; i++) {
		const struct dipc_page_rank *r = &now->taken[i];

		p = r->nr ? row_page(row, r->page) : NULL;
		if (!p)
			continue;
		p->nodes |= node;
		p->nr_taken += r->nr;
		p->taken += grown(r->nr, rank_of(before->taken, r->page));
	}
	for (i = 0; i < DIPC_PAGES_RANKED; i++) {
		const struct dipc_page_rank *r = &now->missed[i];

		p = r->nr ? row_page(row, r->page) : NULL;
		if (!p)
			continue;
		p->nodes |= node;
		p->nr_missed += r->nr;
		p->missed += grown(r->nr, rank_of(before->missed, r->page));
	}
}

static void row_add(struct dipc_sample_row *row, uint64_t node,
		    const struct dipc_page_stat *now,
		    const struct dipc_page_stat *before)
{
	const struct dipc_page_counters *c = &now->counters;
	const struct dipc_page_counters *b = &before->counters;

	row->nodes |= node;
	row->resident += now->resident;
#define X(name, words) row->counts.name += grown(c->name, b->name);
	DIPC_PAGE_COUNTERS(X)
#undef X
	row_add_pages(row, node, now, before);
}

static int page_compare(const void *a, const void *b)
{
	const struct dipc_sample_page *x = a, *y = b;

	if (x->taken != y->taken)
		return x->taken > y->taken ? -1 : 1;
	if (x->nr_taken != y->nr_taken)
		return x->nr_taken > y->nr_taken ? -1 : 1;
	if (x->nr_missed != y->nr_missed)
		return x->nr_missed > y->nr_missed ? -1 : 1;
	return x->page < y->page ? -1 : x->page > y->page;
}

static void sample_add(struct dipc_sample *sample, const struct source *s)
{
	struct dipc_sample_row *row;
	unsigned i;

	/* the first is the node's sum */
	for (i = 1; i < s->nr_now; i++) {
		row = sample_row(sample, &s->now[i]);
		if (row)
			row_add(row, node_bit(s), &s->now[i],
				stat_before(s, &s->now[i]));
	}
}

static void sample_name(struct dipc_sample *sample)
{
	const struct dipc_ls_row *object;
	bool must_read = false;
	unsigned i;

	for (i = 0; i < sample->nr_rows; i++)
		must_read |= !sample_object(sample, sample->rows[i].id);
	if (must_read)
		sample_read_keys(sample);
	for (i = 0; i < sample->nr_rows; i++) {
		object = sample_object(sample, sample->rows[i].id);
		sample->rows[i].has_key = object;
		sample->rows[i].key = object ? object->stat.key : 0;
	}
}

/* ---- for all ------------------------------------------------------------ */

int dipc_sample_take(struct dipc_sample *sample)
{
	double now = now_seconds();
	unsigned i;

	sample->seconds = sample->taken_at > 0 ? now - sample->taken_at : 0;
	sample->taken_at = now;
	sample->nodes = 0;
	sample->nr_rows = 0;
	for (i = 0; i < sample->nr_sources; i++) {
		struct source *s = &sample->sources[i];

		source_ask(s);
		if (!s->session)
			continue;
		sample->nodes |= node_bit(s);
		sample_add(sample, s);
	}
	if (!sample->nodes)
		return DIPC_EXIT_FAIL;
	sample_name(sample);
	for (i = 0; i < sample->nr_rows; i++)
		qsort(sample->rows[i].pages, sample->rows[i].nr_pages,
		      sizeof(sample->rows[i].pages[0]), page_compare);
	return 0;
}

int dipc_sample_open(const char *dir, unsigned node,
		     struct dipc_sample **sample_out)
{
	struct dipc_target targets[DIPC_CLI_NODES];
	struct dipc_sample *sample;
	unsigned i, nr = dipc_targets_find(dir, targets);

	if (!nr)
		return DIPC_EXIT_FAIL;
	sample = calloc(1, sizeof(*sample));
	if (!sample)
		return dipc_cli_fail("out of memory");
	for (i = 0; i < nr; i++)
		/* 0: one socket, whose node is not known yet */
		if (!node || !targets[i].node || targets[i].node == node)
			sample->sources[sample->nr_sources++].target =
				targets[i];
	if (!sample->nr_sources) {
		dipc_sample_close(sample);
		return dipc_cli_fail("node %u is not of this machine", node);
	}
	if (dipc_sample_take(sample)) {
		dipc_cli_fail("no dipcd answers (%s)",
			      sample->sources[0].target.socket);
		dipc_sample_close(sample);
		return DIPC_EXIT_FAIL;
	}
	*sample_out = sample;
	return 0;
}

void dipc_sample_close(struct dipc_sample *sample)
{
	unsigned i;

	if (!sample)
		return;
	for (i = 0; i < sample->nr_sources; i++) {
		dipc_session_close(sample->sources[i].session);
		free(sample->sources[i].now);
		free(sample->sources[i].before);
	}
	free(sample->rows);
	free(sample->objects);
	free(sample);
}

double dipc_sample_seconds(const struct dipc_sample *sample)
{
	return sample->seconds;
}

struct dipc_sample_row *dipc_sample_rows(struct dipc_sample *sample,
					 unsigned *nr_out)
{
	*nr_out = sample->nr_rows;
	return sample->rows;
}

uint64_t dipc_sample_nodes(const struct dipc_sample *sample)
{
	return sample->nodes;
}

const char *dipc_sample_nodes_text(uint64_t nodes, char *text, size_t size)
{
	size_t used = 0;
	int n;

	text[0] = '\0';
	for (; nodes && used < size; nodes &= nodes - 1) {
		n = snprintf(text + used, size - used, "%s%d", used ? ", " : "",
			     __builtin_ctzll(nodes) + 1);
		used += n > 0 ? (size_t)n : 0;
	}
	return text;
}
