/* SPDX-License-Identifier: BSD-2-Clause */
/* Free room in a range of offsets; the book lies outside the range. */
#ifndef DIPC_REFEREE_EXTENT_H
#define DIPC_REFEREE_EXTENT_H

#include <stdint.h>

struct dipc_extents;

/* All of [START, END) is free. Pieces are multiples of ALIGN. 0 or -ENOMEM. */
int dipc_extents_create(uint64_t start, uint64_t end, uint64_t align,
			struct dipc_extents **extents_out);
/* Takes NULL. */
void dipc_extents_destroy(struct dipc_extents *extents);
/* Offset of LEN bytes (rounded up), or 0: no piece is large enough. */
uint64_t dipc_extents_take(struct dipc_extents *extents, uint64_t len);
/* What take(LEN) returned. Never fails. */
void dipc_extents_give(struct dipc_extents *extents, uint64_t off,
		       uint64_t len);
uint64_t dipc_extents_free_bytes(const struct dipc_extents *extents);

#endif
