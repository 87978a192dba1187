/* SPDX-License-Identifier: BSD-2-Clause */
/* Putting right what a dead node left in the arena. */
#ifndef DIPC_REFEREE_RECOVER_H
#define DIPC_REFEREE_RECOVER_H

#include "referee/referee.h"

/*
 * NODE (that life) is fenced: finish what it held, take its locks away, and
 * take its sleepers out of every queue. Fiber.
 */
void dipc_recover_node(struct dipc_referee *ref, unsigned node,
		       uint32_t incarnation);

#endif
