/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What docs/design/pages.md says of the world at every moment, looked at from
 * outside: the words and contents at the homes, and every node's pager.
 * Crashed nodes have no copies any more that anybody reads.
 */
#include <string.h>

#include "world.h"

const unsigned sim_word_at[SIM_WORDS] = {0, 1, 300, SIM_PAGE_WORDS - 1};

static bool has_bit(const struct home_entry *e, unsigned node)
{
	return e->sharers.bits[0] & 1ull << (node - 1);
}

static struct home_entry entry_of(const struct sim_segment *s, unsigned page)
{
	return home_entry(&s->home, s->index[page]);
}

static void broken(const struct sim_segment *s, unsigned page, const char *rule,
		   const char *what, unsigned node)
{
	struct home_entry e = entry_of(s, page);

	sim_fail("%s: segment 0x%x page %u, node %u: %s; holder %u, locker %u, "
		 "sharers 0x%llx",
		 rule, (unsigned)s->id, page, node, what, e.holder, e.locker,
		 (unsigned long long)e.sharers.bits[0]);
}

/* INV-3, and that every field is in range. */
static void check_entry(struct sim_segment *s, unsigned page,
			const struct home_entry *e)
{
	const uint64_t *data = home_data(&s->home, s->index[page]);
	unsigned i;

	if ((e->holder > world.nr_nodes && e->holder != NODE_LOST) ||
	    e->locker > world.nr_nodes || e->sharers.bits[0] >> world.nr_nodes)
		broken(s, page, "the word", "a field is out of range", 0);
	for (i = 1; i < NODESET_WORDS; i++)
		if (e->sharers.bits[i])
			broken(s, page, "the word", "an impossible sharer", 0);
	if (e->holder == NODE_LOST && !s->may_lose[page])
		broken(s, page, "lost", "nobody died who had it", 0);
	if (e->holder && e->holder != NODE_LOST && sim_is_dead(e->holder))
		s->may_lose[page] = true;
	if (e->holder || e->locker)
		return;
	for (i = 0; i < SIM_WORDS; i++)
		if (data[sim_word_at[i]] != s->truth[page][i])
			broken(s, page, "INV-3", "the home is not current", 0);
}

/* INV-1, INV-2, INV-4, INV-8 for the page of a node that is alive. */
static void check_copy(const struct sim_segment *s, unsigned page,
		       const struct home_entry *e, unsigned node)
{
	const struct sim_view *view = &s->view[node];
	const struct sim_pager *p = &view->pager;
	const unsigned at = s->index[page];
	const struct page *pg = dipc_page_find(view->seg, at);
	bool is_here = p->data[at], may_write = p->may_write[at];

	if (may_write && e->holder != node)
		broken(s, page, "INV-1", "it can be written here", node);
	if (is_here && !has_bit(e, node))
		broken(s, page, "INV-2", "a copy without a bit", node);
	if (is_here && e->holder && e->holder != node)
		broken(s, page, "INV-4", "a copy beside the holder's", node);
	if (view->seg->is_dead || (pg && pg->is_serving))
		return;
	if (is_here != (pg && (pg->state == PAGE_S || pg->state == PAGE_M)) ||
	    (may_write && pg->state != PAGE_M))
		broken(s, page, "INV-8", "the pager has another page", node);
}

/* What NODE holds now may be lost. */
static void note_view_gone(struct sim_segment *s, unsigned node)
{
	unsigned page;

	for (page = 0; page < s->nr_pages; page++)
		if (!sim_has_lost_home(s, page) &&
		    entry_of(s, page).holder == node)
			s->may_lose[page] = true;
}

void sim_check_invariants(void)
{
	unsigned i, page, node;

	for (i = 0; i < world.nr_segments; i++) {
		struct sim_segment *s = &world.segment[i];

		for (page = 0; page < s->nr_pages; page++) {
			struct home_entry e;

			if (sim_has_lost_home(s, page))
				continue; /* with it went word and contents */
			e = entry_of(s, page);
			check_entry(s, page, &e);
			for (node = 1; node <= world.nr_nodes; node++)
				if (s->view[node].seg && !sim_is_dead(node))
					check_copy(s, page, &e, node);
		}
		/* a view that died drops what it held */
		for (node = 1; node <= world.nr_nodes; node++)
			if (s->view[node].seg && s->view[node].pager.is_dead)
				note_view_gone(s, node);
	}
}

void sim_note_holder_gone(unsigned node)
{
	unsigned i;

	for (i = 0; i < world.nr_segments; i++)
		note_view_gone(&world.segment[i], node);
}

/*
 * Nothing of anybody is left but what is lost for ever; and a holder's name
 * who has it no more, if whoever had the page's lock then died as well before
 * he could say so: the next to come will.
 */
static void check_left(const struct sim_segment *s, unsigned page)
{
	struct home_entry e = entry_of(s, page);

	if (e.locker || !dipc_nodeset_is_empty(&e.sharers) ||
	    (e.holder && e.holder != NODE_LOST && !s->may_lose[page]))
		broken(s, page, "the end", "something is left behind", 0);
	if (!e.holder &&
	    home_data(&s->home, s->index[page])[sim_word_at[SIM_WORDS - 1]] !=
		    s->nr_incs[page])
		broken(s, page, "the end", "an increment is missing", 0);
}

void sim_check_homes(void)
{
	unsigned i, page;

	for (i = 0; i < world.nr_segments; i++) {
		const struct sim_segment *s = &world.segment[i];

		for (page = 0; page < s->nr_pages; page++)
			if (!sim_has_lost_home(s, page))
				check_left(s, page);
	}
}
