/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a segment's pages live and how many are moved at a time: what a
 * program asks for, a rule of dipc.conf says, or dipc.conf in general, in this
 * order. All zero: nothing is said.
 */
#ifndef DIPC_BASE_POLICY_H
#define DIPC_BASE_POLICY_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

enum dipc_policy_homes {
	DIPC_POLICY_CREATOR = 1, /* all at the creator's node */
	DIPC_POLICY_SPREAD,      /* blocks go round all nodes */
	DIPC_POLICY_HOMES_NR,
};

#define DIPC_POLICY_UNIT_MAX   10u /* 2 MiB */
#define DIPC_POLICY_UNIT_WHOLE 255u

struct dipc_policy {
	uint8_t homes; /* enum dipc_policy_homes */
	uint8_t unit;  /* n: 2^(n-1) pages; DIPC_POLICY_UNIT_WHOLE: segment */
	uint16_t reserved;
	uint32_t block_chunks; /* 2 MiB each, in a row at one home */
};

static_assert(sizeof(struct dipc_policy) == 8, "wire");

static inline bool dipc_policy_is_sane(const struct dipc_policy *p)
{
	return p->homes < DIPC_POLICY_HOMES_NR &&
	       (p->unit <= DIPC_POLICY_UNIT_MAX ||
		p->unit == DIPC_POLICY_UNIT_WHOLE);
}

/* What P does not say, FALLBACK does. */
static inline void dipc_policy_fill(struct dipc_policy *p,
				    const struct dipc_policy *fallback)
{
	if (!p->homes)
		p->homes = fallback->homes;
	if (!p->unit)
		p->unit = fallback->unit;
	if (!p->block_chunks)
		p->block_chunks = fallback->block_chunks;
}

/* 4K to 2M, a power of two; 0: it is something else. */
static inline uint8_t dipc_policy_unit_of(uint64_t bytes)
{
	uint8_t n;

	for (n = 1; n <= DIPC_POLICY_UNIT_MAX; n++)
		if (bytes == 4096ull << (n - 1))
			return n;
	return 0;
}

/* In chunks; 0: BYTES is not a multiple of 2 MiB, or too much. */
static inline uint32_t dipc_policy_block_of(uint64_t bytes)
{
	return bytes % (2ull << 20) || bytes >> 53 ? 0
						   : (uint32_t)(bytes >> 21);
}

#endif
