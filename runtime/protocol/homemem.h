/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory for pages that are at home on this node: pieces of registered slabs.
 * Small segments share a slab, and a slab is registered when the ones before
 * are full, larger the more there is: what is registered and not in use stays
 * below an eighth of all (or two chunks), and the number of registrations
 * grows with the logarithm of the memory beyond 32 GiB. Belongs to the loop's
 * thread; nothing here parks.
 */
#ifndef DIPC_PROTOCOL_HOMEMEM_H
#define DIPC_PROTOCOL_HOMEMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/transport.h"

struct dipc_homemem;
struct dipc_slab;

struct dipc_homemem_config {
	struct dipc_transport *transport; /* borrowed */
	size_t largest;                   /* bytes of the largest piece */
	/* Bytes this machine has to give; NULL: no end. */
	uint64_t (*available)(void *arg);
	void *arg;
};

/* 0 or -ENOMEM. */
int dipc_homemem_create(const struct dipc_homemem_config *config,
			struct dipc_homemem **mem_out);
/* Every piece must have been given back. Takes NULL. */
void dipc_homemem_destroy(struct dipc_homemem *mem);

/* Page aligned. Fields are read-only. */
struct dipc_piece {
	uint8_t *base;
	struct dipc_remote remote;
	struct dipc_slab *slab; /* private */
	uint32_t first, nr;     /* private: pages of the slab */
};

/* LEN bytes, zeroed. 0; -ENOMEM: this machine has no more to give. */
int dipc_homemem_take(struct dipc_homemem *mem, size_t len,
		      struct dipc_piece *piece_out);
/*
 * No operation may be using it, here or at a peer. True: that was the last of
 * its slab, which is no longer registered (some milliseconds of work).
 */
bool dipc_homemem_give(struct dipc_homemem *mem, struct dipc_piece *piece);

struct dipc_homemem_usage {
	uint64_t registered, used; /* bytes */
	unsigned nr_slabs;
};
void dipc_homemem_usage(const struct dipc_homemem *mem,
			struct dipc_homemem_usage *usage_out);

#endif
