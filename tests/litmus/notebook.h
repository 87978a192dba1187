/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the processes of a litmus run tell each other past the memory under
 * test: a plain file, mapped by all. They stand on one machine, whatever nodes
 * they belong to, so that neither the barrier nor the results depend on what
 * is to be judged.
 */
#ifndef DIPC_TESTS_LITMUS_NOTEBOOK_H
#define DIPC_TESTS_LITMUS_NOTEBOOK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ROLES_MAX 4u
#define BATCH     32u /* rounds between two barriers */
#define REGS_MAX  2u  /* loads of one role in one round */
#define CELLS     2u  /* locations of a round: x and y */

struct notebook {
	_Atomic uint32_t nr_in; /* at the barrier */
	_Atomic uint32_t turn;
	_Atomic uint32_t nr_violations;
	uint8_t reg[BATCH][ROLES_MAX][REGS_MAX];
	uint8_t final[BATCH][CELLS];
};

/* Make FILE if it is not there. Ends the process when it cannot. */
struct notebook *notebook_open(const char *file);
/*
 * Everybody waits for everybody. Ends the process, exit status 1, when one of
 * NR does not come within LIMIT seconds.
 */
void notebook_barrier(struct notebook *nb, unsigned nr, unsigned limit);

/* ---- time, by the clock that the processes share ------------------------ */

uint64_t clock_ns(void);
/* Begin together: at the next full 64 us. */
void clock_align(void);
/* Up to about 16 us, short ones more often. */
void clock_dither(uint64_t *random);

#endif
