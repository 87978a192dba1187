/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How the page protocol grows from 2 to 1,024 nodes, by a cost model of a real
 * fabric: docs/scaling.md.
 *
 *	scale [--max NODES] [--costs 100g|old|shm] [--check]
 *
 * Prints two blocks of columns for gnuplot. --check: instead of being looked
 * at by a person, some of them must be what they should be.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define SAMPLES      100u
#define BURST        16u /* misses of each node when all are at it */
#define BEAT_NS      (200 * DIPC_MSEC) /* peer-timeout-ms 1000 / 5 */
#define MEASURE_BEAT DIPC_SEC

struct costs {
	const char *name;
	struct dipc_sim_cost cost;
};

/* Where they come from: docs/scaling.md. */
static const struct costs all_costs[] = {
	{"100g",
	 {.latency_ns = 800,
	  .bytes_per_s = 12500000000,
	  .message_ns = 5,
	  .atomic_ns = 20,
	  .engine_ns = 200}},
	{"old",
	 {.latency_ns = 800,
	  .bytes_per_s = 12500000000,
	  .message_ns = 5,
	  .atomic_ns = 400,
	  .engine_ns = 1000}},
	{"shm",
	 {.latency_ns = 10,
	  .bytes_per_s = 50000000000,
	  .message_ns = 1,
	  .atomic_ns = 10,
	  .engine_ns = 2200}},
};

/* ---- samples ------------------------------------------------------------ */

struct samples {
	uint64_t *ns; /* owned */
	unsigned nr, max;
};

static void samples_add(struct samples *s, uint64_t ns)
{
	if (s->nr == s->max) {
		s->max = s->max ? 2 * s->max : 1024;
		s->ns = realloc(s->ns, s->max * sizeof(*s->ns));
		if (!s->ns)
			scale_fail("no memory");
	}
	s->ns[s->nr++] = ns;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* In microseconds; ends the samples' life if IS_LAST. */
static double samples_us(struct samples *s, unsigned percent, bool is_last)
{
	double us;

	if (!s->nr)
		return 0;
	qsort(s->ns, s->nr, sizeof(*s->ns), by_value);
	us = (double)s->ns[(s->nr - 1) * percent / 100] / 1000;
	if (is_last) {
		free(s->ns);
		*s = (struct samples){0};
	}
	return us;
}

/* ---- accesses ----------------------------------------------------------- */

/* NR accesses of a node, one after the other. */
struct visit {
	struct scale_segment *seg;
	unsigned node, first, stride, nr;
	bool is_write;
	struct samples *samples; /* NULL: nobody wants to know */
};

static void visit_fiber(void *arg)
{
	const struct visit *v = arg;
	struct scale_view *view = scale_view_open(v->seg, v->node);
	unsigned i;

	for (i = 0; i < v->nr; i++) {
		uint64_t ns = scale_access(
			view, (v->first + i * v->stride) % SCALE_PAGES,
			v->is_write);

		if (v->samples && ns)
			samples_add(v->samples, ns);
	}
	scale_end();
}

static void visits_run(struct visit *visits, unsigned nr)
{
	unsigned i;

	for (i = 0; i < nr; i++)
		scale_spawn(visits[i].node, visit_fiber, &visits[i]);
	scale_run();
}

/* One access of NODE with nobody else at work; microseconds. */
static double one_us(struct scale_segment *s, unsigned node, unsigned page,
		     bool is_write)
{
	struct samples samples = {0};
	struct visit v = {.seg = s,
			  .node = node,
			  .first = page,
			  .nr = 1,
			  .is_write = is_write,
			  .samples = &samples};

	visits_run(&v, 1);
	return samples_us(&samples, 50, true);
}

/* Everybody has the segment open and the links that this takes. */
static void open_fiber(void *arg)
{
	const struct visit *v = arg;

	(void)scale_view_open(v->seg, v->node);
	scale_end();
}

static void open_all(struct scale_segment *s)
{
	static struct visit v[SCALE_NODES_MAX + 1];
	unsigned i;

	for (i = 1; i <= world.nr_nodes; i++) {
		v[i] = (struct visit){.seg = s, .node = i};
		scale_spawn(i, open_fiber, &v[i]);
	}
	scale_run();
}

/* ---- scenarios ---------------------------------------------------------- */

struct row {
	double read_p50, read_p99, hot_p50, hot_p99, spread_p50, spread_p99;
	double doorbells;  /* of a clean read miss */
	double hot_mpages; /* a second, in millions */
	double fresh, one_sharer, invalidate_1, invalidate_8, invalidate_all;
	double pingpong, contended;
	double beat_msgs, beat_bytes; /* at the referee, a second */
	double join_ms, attach_ms;
	double evict_s; /* of a GiB that the dead node had copies of */
};

/* Pages far apart, so that nothing looks like a stream. */
static unsigned far_page(unsigned i)
{
	return i * 37 % SCALE_PAGES;
}

static void read_quietly(struct row *row)
{
	struct scale_segment *s = scale_segment_create(1);
	struct dipc_page_counters c;
	struct samples samples = {0};
	uint64_t doorbells = 0, misses = 0;
	unsigned i;

	open_all(s);
	for (i = 0; i < SAMPLES; i++) {
		/* any node but the home, which is nearer to itself */
		unsigned node = 2 + i % (world.nr_nodes - 1);
		struct visit v = {.seg = s,
				  .node = node,
				  .first = far_page(i),
				  .nr = 1,
				  .samples = &samples};

		visits_run(&v, 1);
	}
	for (i = 2; i <= world.nr_nodes; i++) {
		c = dipc_segment_counters(s->view[i]->seg);
		doorbells += c.nr_doorbells;
		misses += c.nr_read_misses;
	}
	row->doorbells = (double)doorbells / (double)misses;
	row->read_p50 = samples_us(&samples, 50, false);
	row->read_p99 = samples_us(&samples, 99, true);
	scale_segment_close(s);
	scale_segment_destroy(s);
}

/* Everybody at once, on NR_HOMES homes. */
static void read_at_once(unsigned nr_homes, struct samples *samples,
			 double *mpages_out)
{
	static struct visit v[SCALE_NODES_MAX + 1];
	struct scale_segment *s[SCALE_HOMES_MAX];
	uint64_t since;
	unsigned i;

	for (i = 0; i < nr_homes; i++)
		s[i] = scale_segment_create(1 + i);
	for (i = 1; i <= world.nr_nodes; i++) {
		v[i] = (struct visit){
			.seg = s[i % nr_homes],
			.node = i,
			.first = i * 41,
			.stride = 37,
			.nr = BURST,
			.samples = samples,
		};
		scale_spawn(i, open_fiber, &v[i]);
	}
	scale_run();
	since = dipc_sim_now(world.sim);
	visits_run(v + 1, world.nr_nodes);
	*mpages_out = (double)(world.nr_nodes * BURST) * 1000 /
		      (double)(dipc_sim_now(world.sim) - since);
	for (i = 0; i < nr_homes; i++) {
		scale_segment_close(s[i]);
		scale_segment_destroy(s[i]);
	}
}

static void read_in_crowds(struct row *row)
{
	struct samples samples = {0};
	double mpages;

	read_at_once(1, &samples, &row->hot_mpages);
	row->hot_p50 = samples_us(&samples, 50, false);
	row->hot_p99 = samples_us(&samples, 99, true);
	read_at_once(world.nr_nodes < SCALE_HOMES_MAX ? world.nr_nodes
						      : SCALE_HOMES_MAX,
		     &samples, &mpages);
	row->spread_p50 = samples_us(&samples, 50, false);
	row->spread_p99 = samples_us(&samples, 99, true);
}

/* Nodes 2.. but WRITER read PAGE, K of them; WRITER, too, if IS_UPGRADE. */
static void share(struct scale_segment *s, unsigned page, unsigned writer,
		  unsigned k, bool is_upgrade)
{
	static struct visit v[SCALE_NODES_MAX + 1];
	unsigned i, nr = 0;

	for (i = 1; nr < k; i++)
		if (i != writer)
			v[nr++] = (struct visit){
				.seg = s, .node = i, .first = page, .nr = 1};
	if (is_upgrade)
		v[nr++] = (struct visit){
			.seg = s, .node = writer, .first = page, .nr = 1};
	visits_run(v, nr);
}

/* An upgrade with K others that have a copy; microseconds. */
static double invalidate(struct scale_segment *s, unsigned *page, unsigned k)
{
	unsigned writer = world.nr_nodes;
	double us;

	share(s, *page, writer, k, true);
	us = one_us(s, writer, *page, true);
	*page += 11;
	return us;
}

static void print_invalidations(const double *us, unsigned nr)
{
	unsigned i, k;

	for (i = 0; i < nr; i++) {
		k = 1u << i;
		if (k > world.nr_nodes - 1)
			k = world.nr_nodes - 1;
		printf("%u %u %.2f %.2f\n", world.nr_nodes, k, us[i],
		       us[i] / us[0]);
	}
	printf("\n");
}

static void writes(struct row *row, double invalidations[12],
		   unsigned *nr_invalidations)
{
	struct scale_segment *s = scale_segment_create(1);
	unsigned writer = world.nr_nodes, page = 1, k, i = 0;

	open_all(s);
	/* the writer's links to all others: made once */
	(void)invalidate(s, &page, world.nr_nodes - 1);
	row->fresh = one_us(s, writer, page++, true);
	share(s, page, writer, 1, false);
	row->one_sharer = one_us(s, writer, page++, true);
	for (k = 1;; k *= 2) {
		if (k > world.nr_nodes - 1)
			k = world.nr_nodes - 1;
		invalidations[i] = invalidate(s, &page, k);
		if (k == 1)
			row->invalidate_1 = invalidations[i];
		if (k == 8)
			row->invalidate_8 = invalidations[i];
		row->invalidate_all = invalidations[i++];
		if (k == world.nr_nodes - 1)
			break;
	}
	*nr_invalidations = i;
	scale_segment_close(s);
	scale_segment_destroy(s);
}

/* One word, written in turn by two nodes; then by all of them, in any order. */
static void fight(struct row *row)
{
	static struct visit v[SCALE_NODES_MAX + 1];
	struct scale_segment *s = scale_segment_create(1);
	unsigned a = 1, b = world.nr_nodes, i;
	uint64_t since;
	double us = 0;

	open_all(s);
	(void)one_us(s, a, 0, true);
	(void)one_us(s, b, 0, true); /* links */
	(void)one_us(s, a, 0, true);
	for (i = 0; i < 10; i++)
		us += one_us(s, i % 2 ? a : b, 0, true);
	row->pingpong = us / 10;
	/* once each: links between them are part of it the first time */
	for (i = 1; i <= world.nr_nodes; i++)
		v[i] = (struct visit){.seg = s,
				      .node = i,
				      .first = 5,
				      .nr = 1,
				      .is_write = true};
	since = dipc_sim_now(world.sim);
	visits_run(v + 1, world.nr_nodes);
	row->contended = (double)(dipc_sim_now(world.sim) - since) / 1000 /
			 world.nr_nodes;
	scale_segment_close(s);
	scale_segment_destroy(s);
}

/* ---- the referee -------------------------------------------------------- */

static uint64_t beats_end;

/* As runtime/node/node.c does it: a WRITE that we live, a READ of the epoch. */
static void beat_fiber(void *arg)
{
	struct scale_node *n = arg;
	struct dipc_link *link = dipc_fabric_arena(n->fabric);
	uint64_t off = 4096 + (uint64_t)n->id * sizeof(struct dipc_arena_node) +
		       offsetof(struct dipc_arena_node, heartbeat);
	struct dipc_tx tx;

	/* they did not all start in the same microsecond */
	dipc_fiber_sleep(n->id * (BEAT_NS / (world.nr_nodes + 1)));
	while (dipc_fabric_now(n->fabric) < beats_end) {
		n->arg++;
		if (dipc_tx_begin(&tx, link, 64))
			scale_fail("no link to the referee");
		dipc_tx_write(&tx, dipc_tx_at(link, off), &n->arg,
			      sizeof(n->arg));
		(void)dipc_tx_read(
			&tx,
			dipc_tx_at(link,
				   offsetof(struct dipc_arena_super, epoch)),
			8);
		if (dipc_tx_run(&tx))
			scale_fail("no link to the referee");
		dipc_tx_end(&tx);
		dipc_fiber_sleep(BEAT_NS);
	}
	scale_end();
}

/*
 * As dipc_segments_attach() does it: two counts and the object, then who and
 * when; a key's look-up is one TCP request before, which is not simulated.
 */
static void attach_fiber(void *arg)
{
	struct scale_node *n = arg;
	struct dipc_link *link = dipc_fabric_arena(n->fabric);
	struct dipc_tx tx;

	if (dipc_tx_begin(&tx, link, 512))
		scale_fail("no link to the referee");
	(void)dipc_tx_faa(&tx, dipc_tx_at(link, 2048), 1);
	(void)dipc_tx_faa(&tx, dipc_tx_at(link, 2056), 1);
	(void)dipc_tx_read(&tx, dipc_tx_at(link, 2048),
			   sizeof(struct dipc_arena_object));
	if (dipc_tx_run(&tx))
		scale_fail("no link to the referee");
	dipc_tx_again(&tx);
	dipc_tx_write(&tx, dipc_tx_at(link, 2064), &n->arg, sizeof(n->arg));
	dipc_tx_write(&tx, dipc_tx_at(link, 2072), &n->arg, sizeof(n->arg));
	if (dipc_tx_run(&tx))
		scale_fail("no link to the referee");
	dipc_tx_end(&tx);
	scale_end();
}

static void referee_load(struct row *row)
{
	const struct dipc_sim_counters *c =
		dipc_sim_counters(world.sim, DIPC_REFEREE);
	struct dipc_sim_counters before = *c;
	uint64_t since = dipc_sim_now(world.sim);
	const double s = (double)MEASURE_BEAT / 1e9;
	unsigned i;

	row->join_ms = (double)world.join_ns / 1e6;
	beats_end = since + MEASURE_BEAT;
	for (i = 1; i <= world.nr_nodes; i++)
		scale_spawn(i, beat_fiber, &world.node[i]);
	scale_run();
	/* the last of them sleep a while longer, and do nothing */
	row->beat_msgs = (double)(c->nr_in - before.nr_in) / s;
	row->beat_bytes = (double)(c->bytes_in + c->bytes_out -
				   before.bytes_in - before.bytes_out) /
			  s;
	since = dipc_sim_now(world.sim);
	for (i = 1; i <= world.nr_nodes; i++)
		scale_spawn(i, attach_fiber, &world.node[i]);
	scale_run();
	row->attach_ms = (double)(dipc_sim_now(world.sim) - since) / 1e6;
}

/* ---- recovery ----------------------------------------------------------- */

static void evict_fiber(void *arg)
{
	const struct scale_segment *s = arg;

	if (dipc_homes_evict(world.node[s->home].homes, world.nr_nodes))
		scale_fail("a dead node stays");
	scale_end();
}

/* The last node dies; it is in the entry of every page, and so is another. */
static void evict(struct row *row)
{
	struct scale_segment *s = scale_segment_create(1);
	unsigned i, node = world.nr_nodes;
	uint64_t since;

	(void)one_us(s, 1, 0, false);
	scale_segment_close(s);
	/* nobody has it open: this memory is ours to write */
	for (i = 0; i < SCALE_PAGES; i++) {
		uint64_t *entry = scale_segment_entry(s, i);

		if (s->shm.nr_sharer_words)
			entry += 1 + (node - 1) / 64;
		*entry |= 1 | 1ull << (node - 1) % 64;
	}
	since = dipc_sim_now(world.sim);
	scale_spawn(1, evict_fiber, s);
	scale_run();
	row->evict_s = (double)(dipc_sim_now(world.sim) - since) / 1e9 *
		       262144 / SCALE_PAGES;
	scale_segment_destroy(s);
}

/* ---- all of it ---------------------------------------------------------- */

static void measure(unsigned nr_nodes, const struct costs *costs,
		    struct row *row, double invalidations[12],
		    unsigned *nr_invalidations)
{
	scale_start(nr_nodes,
		    nr_nodes <= DIPC_NODES_MAX ? DIPC_NODES_MAX : nr_nodes,
		    &costs->cost);
	read_quietly(row);
	read_in_crowds(row);
	writes(row, invalidations, nr_invalidations);
	fight(row);
	referee_load(row);
	evict(row);
	scale_stop();
}

static void print_row(unsigned n, const struct row *r)
{
	unsigned max = n <= DIPC_NODES_MAX ? DIPC_NODES_MAX : n;

	printf("%u %zu %.2f %.2f %.2f %.2f %.2f %.2f %.2f %.2f %.2f %.2f %.2f "
	       "%.2f %.2f %.2f %.2f %.0f %.0f %.3f %.3f %.2f\n",
	       n, dipc_entry_size(dipc_entry_sharer_words(max)), r->doorbells,
	       r->read_p50, r->read_p99, r->hot_p50, r->hot_p99, r->hot_mpages,
	       r->spread_p50, r->spread_p99, r->fresh, r->one_sharer,
	       r->invalidate_1, r->invalidate_8, r->invalidate_all, r->pingpong,
	       r->contended, r->beat_msgs, r->beat_bytes, r->join_ms,
	       r->attach_ms, r->evict_s);
}

/* R of N nodes beside FIRST, of two. */
static void check(unsigned n, const struct row *r, const struct row *first)
{
	world.nr_nodes = n;
	if (r->doorbells != 1)
		scale_fail("%.3f doorbells a clean read miss", r->doorbells);
	if (r->read_p99 > 1.05 * first->read_p99)
		scale_fail("a read miss takes %.2f us, of two nodes %.2f us",
			   r->read_p99, first->read_p99);
	if (r->fresh > 1.05 * first->fresh)
		scale_fail("a claim takes %.2f us, of two nodes %.2f us",
			   r->fresh, first->fresh);
	if (n > 8 && r->invalidate_8 > 2 * r->invalidate_1)
		scale_fail("8 sharers take %.2f us, one %.2f us",
			   r->invalidate_8, r->invalidate_1);
	/* a WRITE and a READ, five times a second */
	if (r->beat_msgs > 10.5 * n)
		scale_fail("%.0f messages a second at the referee",
			   r->beat_msgs);
}

/* What it is called on the command line; NULL: there is none. */
static const struct costs *costs_find(const char *name)
{
	unsigned i;

	for (i = 0; i < sizeof(all_costs) / sizeof(all_costs[0]); i++)
		if (!strcmp(all_costs[i].name, name))
			return &all_costs[i];
	return NULL;
}

int main(int argc, char **argv)
{
	static struct row rows[11];
	static double invalidations[11][12];
	unsigned nr_invalidations[11] = {0};
	const struct costs *costs = &all_costs[0];
	unsigned max = 64, n, i = 0, k;
	bool must_check = false;
	int a;

	for (a = 1; a < argc; a++) {
		if (!strcmp(argv[a], "--check")) {
			must_check = true;
		} else if (!strcmp(argv[a], "--max") && a + 1 < argc) {
			max = (unsigned)strtoul(argv[++a], NULL, 10);
		} else if (!strcmp(argv[a], "--costs") && a + 1 < argc) {
			costs = costs_find(argv[++a]);
		} else {
			costs = NULL;
		}
		if (!costs) {
			fprintf(stderr, "usage: scale [--max NODES] [--costs "
					"100g|old|shm] [--check]\n");
			return 2;
		}
	}
	printf("# %s: nodes entry doorbells read_p50 read_p99 hot_p50 hot_p99 "
	       "hot_mpages spread_p50 spread_p99 fresh one_sharer inval_1 "
	       "inval_8 inval_all pingpong contended beat_msgs beat_bytes "
	       "join_ms attach_ms evict_s; us but where it says so\n",
	       costs->name);
	for (n = 2; n <= max && n <= SCALE_NODES_MAX; n *= 2, i++) {
		measure(n, costs, &rows[i], invalidations[i],
			&nr_invalidations[i]);
		print_row(n, &rows[i]);
		fflush(stdout);
		if (must_check)
			check(n, &rows[i], &rows[0]);
	}
	printf("\n\n# nodes sharers us ratio\n");
	for (n = 2, k = 0; k < i; n *= 2, k++) {
		world.nr_nodes = n;
		print_invalidations(invalidations[k], nr_invalidations[k]);
	}
	return 0;
}
