/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/protocol/homemem.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GRAIN 4096u
/* A slab has room for this many of the largest pieces. */
#define SLAB_MIN 2u
#define SLAB_MAX 16u
/* An eighth of what there is; never so little that regions run out. */
#define SLAB_SHARE 8u
#define SLAB_FEW   1024u

/* Bits of `taken` and `dirty` are pages; both follow the struct. */
struct dipc_slab {
	struct dipc_list node;
	struct dipc_region *region; /* owned */
	uint32_t nr, nr_taken;      /* pages */
	uint64_t *taken;
	uint64_t *dirty; /* free, and not zero */
};

struct dipc_homemem {
	struct dipc_homemem_config config;
	struct dipc_list slabs; /* with room; oldest first: filled first */
	struct dipc_list full;
	uint64_t nr, nr_taken; /* pages of all */
	unsigned nr_slabs;
	unsigned nr_empty; /* slabs */
	uint32_t largest;  /* pages */
};

int dipc_homemem_create(const struct dipc_homemem_config *config,
			struct dipc_homemem **mem_out)
{
	struct dipc_homemem *mem = calloc(1, sizeof(*mem));

	if (!mem)
		return -ENOMEM;
	mem->config = *config;
	mem->largest = (uint32_t)((config->largest + GRAIN - 1) / GRAIN);
	dipc_list_init(&mem->slabs);
	dipc_list_init(&mem->full);
	*mem_out = mem;
	return 0;
}

static void slab_destroy(struct dipc_homemem *mem, struct dipc_slab *slab)
{
	dipc_list_del(&slab->node);
	mem->nr -= slab->nr;
	mem->nr_slabs--;
	mem->nr_empty--;
	dipc_region_destroy(slab->region);
	free(slab);
}

void dipc_homemem_destroy(struct dipc_homemem *mem)
{
	if (!mem)
		return;
	assert(mem->nr_taken == 0);
	while (!dipc_list_is_empty(&mem->slabs))
		slab_destroy(mem, dipc_container_of(mem->slabs.next,
						    struct dipc_slab, node));
	free(mem);
}

/* ---- bits --------------------------------------------------------------- */

static bool bit_test(const uint64_t *bits, uint32_t i)
{
	return bits[i / 64] >> i % 64 & 1;
}

static void bits_set(uint64_t *bits, uint32_t first, uint32_t nr)
{
	for (; nr; first++, nr--)
		bits[first / 64] |= 1ull << first % 64;
}

static void bits_clear(uint64_t *bits, uint32_t first, uint32_t nr)
{
	for (; nr; first++, nr--)
		bits[first / 64] &= ~(1ull << first % 64);
}

/* The first of NR free pages in a row; SLAB's size: there are none. */
static uint32_t slab_find(const struct dipc_slab *slab, uint32_t nr)
{
	uint32_t i = 0, run = 0;

	while (i < slab->nr && run < nr) {
		uint64_t word = slab->taken[i / 64];

		if (i % 64 == 0 && word == UINT64_MAX) {
			run = 0;
			i += 64;
			continue;
		}
		run = word >> i % 64 & 1 ? 0 : run + 1;
		i++;
	}
	return run == nr ? i - nr : slab->nr;
}

/* ---- slabs -------------------------------------------------------------- */

static struct dipc_slab *slab_create(struct dipc_homemem *mem, uint32_t nr)
{
	size_t words = (nr + 63) / 64;
	struct dipc_slab *slab;

	if (mem->config.available &&
	    (uint64_t)nr * GRAIN > mem->config.available(mem->config.arg))
		return NULL;
	slab = calloc(1, sizeof(*slab) + 2 * words * sizeof(uint64_t));
	if (!slab)
		return NULL;
	if (dipc_region_create(mem->config.transport, NULL, (size_t)nr * GRAIN,
			       &slab->region)) {
		free(slab);
		return NULL;
	}
	slab->nr = nr;
	slab->taken = (uint64_t *)(slab + 1);
	slab->dirty = slab->taken + words;
	dipc_list_add_tail(&mem->slabs, &slab->node);
	mem->nr += nr;
	mem->nr_slabs++;
	mem->nr_empty++;
	return slab;
}

/* A new slab with room for NR pages; NULL: no memory. */
static struct dipc_slab *slab_add(struct dipc_homemem *mem, uint32_t nr)
{
	uint64_t want = mem->nr / SLAB_SHARE;
	struct dipc_slab *slab = NULL;

	if (want < SLAB_MIN * mem->largest)
		want = SLAB_MIN * mem->largest;
	if (want > SLAB_MAX * mem->largest)
		want = SLAB_MAX * mem->largest;
	if (want < mem->nr / SLAB_FEW)
		want = mem->nr / SLAB_FEW;
	/* no piece of the largest size is cut off at the end */
	want -= want % mem->largest;
	if (want > nr)
		slab = slab_create(mem, (uint32_t)want);
	return slab ? slab : slab_create(mem, nr);
}

/* Peers and devices do not look at free memory: the CPU may clean it. */
static void slab_clean(struct dipc_slab *slab, uint32_t first, uint32_t nr)
{
	uint32_t i;

	for (i = first; i < first + nr; i++)
		if (bit_test(slab->dirty, i))
			memset(slab->region->base + (size_t)i * GRAIN, 0,
			       GRAIN);
	bits_clear(slab->dirty, first, nr);
}

/* ---- pieces ------------------------------------------------------------- */

int dipc_homemem_take(struct dipc_homemem *mem, size_t len,
		      struct dipc_piece *piece_out)
{
	uint32_t nr = (uint32_t)((len + GRAIN - 1) / GRAIN);
	struct dipc_slab *slab = NULL;
	struct dipc_list *pos;
	uint32_t first = 0;

	assert(nr && nr <= mem->largest);
	dipc_list_for_each (pos, &mem->slabs) {
		struct dipc_slab *s =
			dipc_container_of(pos, struct dipc_slab, node);

		if (s->nr - s->nr_taken < nr)
			continue;
		first = slab_find(s, nr);
		if (first == s->nr)
			continue;
		slab = s;
		break;
	}
	if (!slab) {
		slab = slab_add(mem, nr);
		if (!slab)
			return -ENOMEM;
		first = 0;
	}
	slab_clean(slab, first, nr);
	bits_set(slab->taken, first, nr);
	if (slab->nr_taken == 0)
		mem->nr_empty--;
	slab->nr_taken += nr;
	mem->nr_taken += nr;
	if (slab->nr_taken == slab->nr) {
		dipc_list_del(&slab->node);
		dipc_list_add_tail(&mem->full, &slab->node);
	}
	*piece_out = (struct dipc_piece){
		.base = slab->region->base + (size_t)first * GRAIN,
		.remote = {.addr = slab->region->remote.addr +
				   (uint64_t)first * GRAIN,
			   .rkey = slab->region->remote.rkey},
		.slab = slab,
		.first = first,
		.nr = nr,
	};
	return 0;
}

bool dipc_homemem_give(struct dipc_homemem *mem, struct dipc_piece *piece)
{
	struct dipc_slab *slab = piece->slab;

	if (slab->nr_taken == slab->nr) {
		dipc_list_del(&slab->node);
		dipc_list_add_tail(&mem->slabs, &slab->node);
	}
	bits_clear(slab->taken, piece->first, piece->nr);
	bits_set(slab->dirty, piece->first, piece->nr);
	slab->nr_taken -= piece->nr;
	mem->nr_taken -= piece->nr;
	piece->slab = NULL;
	if (slab->nr_taken)
		return false;
	mem->nr_empty++;
	/*
	 * One small slab is kept, lest a segment that is made and removed over
	 * and over registers memory each time.
	 */
	if (mem->nr_empty == 1 && slab->nr <= SLAB_MIN * mem->largest)
		return false;
	slab_destroy(mem, slab);
	return true;
}

void dipc_homemem_usage(const struct dipc_homemem *mem,
			struct dipc_homemem_usage *usage_out)
{
	*usage_out = (struct dipc_homemem_usage){
		.registered = mem->nr * GRAIN,
		.used = mem->nr_taken * GRAIN,
		.nr_slabs = mem->nr_slabs,
	};
}
