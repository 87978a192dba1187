/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Streams: faults of a process at one page after the other. What comes next is
 * fetched while it works on what it has: "Streams" of docs/design/pages.md.
 */
#include <stdlib.h>

#include "runtime/protocol/pages_run.h"

#define WINDOW_MIN 4u
/* Neighbours met before the first guess; more after guesses that were wrong. */
#define NEEDED_MIN 2u
#define NEEDED_MAX 16u
/* Runs of guesses in flight, of all segments: 128 KiB each. */
#define RUNS_MAX 16u

/* A run on a fiber of its own; owned by it. */
struct guess {
	struct dipc_segment *seg; /* borrowed */
	uint64_t end;
	bool is_unit; /* not a guess: the rest of a transfer unit */
	struct run_want want;
};

static struct stream *stream_find(struct dipc_segment *seg, uint64_t page,
				  uint64_t who)
{
	unsigned i;

	for (i = 0; i < STREAMS; i++) {
		struct stream *s = &seg->streams[i];

		if (s->who == who && page >= s->tail && page < s->ahead)
			return s;
	}
	return NULL;
}

static bool guess_may_go_on(const struct guess *g)
{
	return g->want.first < g->end && !g->seg->is_dead &&
	       !g->seg->is_stopping && !g->seg->is_closing;
}

static void guess_fiber(void *arg)
{
	struct guess g = *(struct guess *)arg;
	struct stream *s;

	free(arg);
	while (guess_may_go_on(&g)) {
		dipc_pages_await_room(g.seg->pages);
		g.want.nr = dipc_run_length(g.want.first, g.end - g.want.first);
		g.want.first += dipc_run_fetch(g.seg, &g.want);
	}
	if (g.is_unit)
		g.seg->unit_busy = UINT64_MAX;
	s = g.is_unit ? NULL : stream_find(g.seg, g.end - 1, g.want.who);
	if (s)
		s->is_held = g.want.is_held;
	g.seg->pages->nr_guesses--;
	dipc_segment_fiber_end(g.seg);
}

/* False: no room for more of them. */
static bool guess_start(struct dipc_segment *seg, uint64_t end, bool is_unit,
			const struct run_want *want)
{
	struct dipc_pages *pages = seg->pages;
	struct guess *g;

	if (pages->nr_guesses == RUNS_MAX || dipc_pages_is_full(pages))
		return false;
	g = malloc(sizeof(*g));
	if (!g)
		return false;
	*g = (struct guess){
		.seg = seg, .end = end, .is_unit = is_unit, .want = *want};
	if (dipc_fiber_spawn(dipc_fabric_sched(pages->fabric), guess_fiber,
			     g)) {
		free(g);
		return false;
	}
	pages->nr_guesses++;
	dipc_segment_fiber_begin(seg);
	return true;
}

void dipc_unit_fault(struct dipc_segment *seg, uint64_t page, bool is_write,
		     uint64_t who)
{
	uint64_t unit = seg->shm.unit_pages;
	struct run_want want = {
		.first = page - page % unit, .is_write = is_write, .who = who};
	uint64_t end = want.first + unit;

	if (unit == 1 || seg->unit_busy == want.first)
		return;
	if (end > seg->nr_pages)
		end = seg->nr_pages;
	if (guess_start(seg, end, true, &want))
		seg->unit_busy = want.first;
}

/* The stream passed the pages from FIRST up to END. */
static void count_useful(struct dipc_segment *seg, uint64_t first, uint64_t end)
{
	struct page *pg;

	for (; first < end; first++) {
		pg = dipc_page_find(seg, first);
		if (!pg || !pg->is_ahead)
			continue;
		pg->is_ahead = false;
		seg->counters.nr_prefetch_useful++;
	}
}

/*
 * The chunk after the one that a stream in full swing gets to: to ask where it
 * is takes a message, in which the home could have sent many pages.
 */
static void stream_ask_ahead(struct dipc_segment *seg, const struct stream *s)
{
	uint64_t next = (s->ahead / CHUNK_PAGES + 1) * CHUNK_PAGES;

	if (s->window == seg->pages->prefetch_pages && next < seg->nr_pages)
		dipc_chunk_ask_ahead(seg, next);
}

/*
 * S has come to its marker. The pages behind it, up to the next marker, are
 * here or on their way; beyond that one begins the next window.
 */
static void stream_advance(struct dipc_segment *seg, struct stream *s)
{
	struct run_want want = {
		.is_write = s->is_write, .is_guess = true, .who = s->who};
	unsigned max = seg->pages->prefetch_pages, n;
	uint64_t at;

	count_useful(seg, s->tail, s->next);
	s->tail = s->next;
	s->next = s->ahead++;
	if (s->window)
		seg->guesses_needed = NEEDED_MIN; /* they are right here */
	s->window = s->window ? 2 * s->window : WINDOW_MIN;
	if (s->window > max)
		s->window = max;
	want.is_held = s->is_held;
	stream_ask_ahead(seg, s);
	for (at = 0; at < s->window && s->ahead < seg->nr_pages; at += n) {
		uint64_t left = seg->nr_pages - s->ahead;

		if (left > s->window - at)
			left = s->window - at;
		n = dipc_run_length(s->ahead, left);
		want.first = s->ahead;
		if (!guess_start(seg, s->ahead + n, false, &want))
			return;
		s->ahead += n;
	}
}

/* The least recently used one makes room for what may be the next. */
static void stream_begin(struct dipc_segment *seg, uint64_t page, uint64_t who,
			 bool is_write)
{
	struct stream *s = &seg->streams[0];
	unsigned i;

	for (i = 1; i < STREAMS; i++)
		if (seg->streams[i].used < s->used)
			s = &seg->streams[i];
	/* it was no stream after all: look longer at the next one */
	if (s->window && s->window <= 2 * WINDOW_MIN &&
	    seg->guesses_needed < NEEDED_MAX)
		seg->guesses_needed *= 2;
	*s = (struct stream){.who = who,
			     .used = ++seg->stream_clock,
			     .tail = page,
			     .next = page + 1,
			     .ahead = page + 2,
			     .is_write = is_write};
}

void dipc_stream_fault(struct dipc_segment *seg, uint64_t page, bool is_write,
		       uint64_t who)
{
	struct stream *s;

	if (!seg->pages->prefetch_pages)
		return;
	s = stream_find(seg, page, who);
	if (!s) {
		stream_begin(seg, page, who, is_write);
		return;
	}
	s->used = ++seg->stream_clock;
	if (page != s->next)
		return; /* on its way, or taken away since */
	s->is_write = is_write;
	if (!s->window && ++s->nr_met < seg->guesses_needed) {
		s->tail = page;
		s->next = page + 1;
		s->ahead = page + 2;
		return;
	}
	stream_advance(seg, s);
}

void dipc_stream_forget(struct page *pg)
{
	struct dipc_segment *seg = page_segment(pg);
	uint64_t page = page_index(pg);
	unsigned i;

	if (!pg->is_ahead)
		return;
	pg->is_ahead = false;
	if (seg->is_closing || seg->is_stopping)
		return; /* nobody will know */
	seg->counters.nr_prefetch_wasted++;
	for (i = 0; i < STREAMS; i++) {
		struct stream *s = &seg->streams[i];

		if (s->window > WINDOW_MIN && page >= s->tail &&
		    page < s->ahead)
			s->window /= 2;
	}
}

void dipc_stream_init(struct dipc_segment *seg)
{
	unsigned i;

	seg->unit_busy = UINT64_MAX;
	seg->guesses_needed = NEEDED_MIN;
	for (i = 0; i < STREAMS; i++)
		seg->streams[i].who = DIPC_PAGER_NOBODY;
}
