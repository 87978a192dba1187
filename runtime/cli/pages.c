/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/cli/pages.h"

#include <stdio.h>

typedef unsigned long long ull;

const char *dipc_size_text(uint64_t bytes, char *text, size_t size)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes / 1024;
	unsigned u = 0;

	if (bytes < 1024) {
		snprintf(text, size, "%u bytes", (unsigned)bytes);
		return text;
	}
	for (; value >= 1024 && u < 3; u++)
		value /= 1024;
	snprintf(text, size, "%.*f %s", value < 100 ? 1 : 0, value, units[u]);
	return text;
}

/* ---- words -------------------------------------------------------------- */

static void print_rank(const char *name, const struct dipc_page_rank *rank)
{
	unsigned i;

	if (!rank[0].nr)
		return;
	printf("       %s:", name);
	for (i = 0; i < DIPC_PAGES_RANKED && rank[i].nr; i++)
		printf("%s 0x%llx (%llu)", i ? "," : "",
		       (ull)rank[i].page * DIPC_PAGE_BYTES, (ull)rank[i].nr);
	putchar('\n');
}

void dipc_page_stat_print(unsigned node, const struct dipc_page_stat *st)
{
	const struct dipc_page_counters *c = &st->counters;
	char here[32], in[32], out[32];

	printf("     node %u: %s here; misses: %llu read, %llu write; "
	       "%llu upgrades; %s in, %s out\n",
	       node, dipc_size_text(st->resident, here, sizeof(here)),
	       (ull)c->nr_read_misses, (ull)c->nr_write_misses,
	       (ull)c->nr_upgrades, dipc_size_text(c->bytes_in, in, sizeof(in)),
	       dipc_size_text(c->bytes_out, out, sizeof(out)));
	printf("       taken away: %llu copies, %llu modified; asked of "
	       "others: %llu invalidations, %llu recalls\n",
	       (ull)c->nr_invalidated, (ull)c->nr_recalled,
	       (ull)c->nr_invalidations, (ull)c->nr_recalls);
	printf("       hold delays: %llu, %.3f ms; prefetched: %llu, %llu "
	       "useful, %llu wasted; evicted: %llu clean, %llu modified\n",
	       (ull)c->nr_hold_delays, (double)c->hold_ns / 1e6,
	       (ull)c->nr_prefetched, (ull)c->nr_prefetch_useful,
	       (ull)c->nr_prefetch_wasted, (ull)c->nr_evicted_clean,
	       (ull)c->nr_evicted_modified);
	if (c->nr_lost)
		printf("       lost: %llu pages\n", (ull)c->nr_lost);
	print_rank("hottest offsets (misses)", st->missed);
	print_rank("most fought-over offsets (times taken away)", st->taken);
}

/* ---- json --------------------------------------------------------------- */

void dipc_page_counters_json(json_t *o, const struct dipc_page_counters *c)
{
#define X(name, words)                                                         \
	json_object_set_new(o, #name, json_integer((json_int_t)c->name));
	DIPC_PAGE_COUNTERS(X)
#undef X
}

static json_t *rank_json(const struct dipc_page_rank *rank)
{
	json_t *list = json_array();
	unsigned i;

	for (i = 0; i < DIPC_PAGES_RANKED && rank[i].nr; i++)
		json_array_append_new(
			list,
			json_pack("{s:I, s:I}", "offset",
				  (json_int_t)(rank[i].page * DIPC_PAGE_BYTES),
				  "times", (json_int_t)rank[i].nr));
	return list;
}

json_t *dipc_page_stat_json(unsigned node, const struct dipc_page_stat *st)
{
	json_t *o = json_pack("{s:I, s:I}", "node", (json_int_t)node,
			      "resident", (json_int_t)st->resident);

	if (!o)
		return NULL;
	dipc_page_counters_json(o, &st->counters);
	json_object_set_new(o, "most_missed", rank_json(st->missed));
	json_object_set_new(o, "most_taken", rank_json(st->taken));
	return o;
}
