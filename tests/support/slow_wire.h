/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shm completes a chain inside the post, so that nothing ever comes between.
 * This puts a wire in front of it: chains are queued, and their requests carried
 * out one at a time, connections taking turns at random (in order within
 * each), as they would from many machines. A transport can be cut after so many
 * requests: what its node looks like to others when it dies there.
 *
 * Link with -Wl,--wrap=dipc_conn_post. Without a started wire posts go through.
 */
#ifndef DIPC_TESTS_SLOW_WIRE_H
#define DIPC_TESTS_SLOW_WIRE_H

#include "runtime/base/loop.h"
#include "transport/transport.h"

void slow_wire_start(struct dipc_loop *loop, unsigned seed);
/* Carries out what is left. */
void slow_wire_stop(void);
/* Forget it, as it is: a test before has failed half-way. */
void slow_wire_drop(void);
/* T's next NR requests are the last ever; UINT64_MAX: mended. */
void slow_wire_cut(struct dipc_transport *t, uint64_t nr);
/* From now on T's chains are carried out, but it is not told; NULL: it is. */
void slow_wire_stall(struct dipc_transport *t);
/* How many requests were asked for after the cut: 0 means none was missed. */
uint64_t slow_wire_missed(void);

#endif
