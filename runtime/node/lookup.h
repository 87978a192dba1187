/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A node's session with the referee: membership and key look-up over TLS.
 * Many fibers may have requests under way. Loop thread only.
 */
#ifndef DIPC_NODE_LOOKUP_H
#define DIPC_NODE_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/config.h"
#include "runtime/base/lookup.h"
#include "runtime/base/loop.h"

struct dipc_lookup;

/*
 * Connect to conf->referee and prove to hold the key in conf->key_file. Fiber
 * (resolving the host name blocks the thread). LOST runs once, from the loop,
 * when the session ends by itself later: all requests have failed by then, and
 * only destroy may follow. 0; or, logged in one line that names the setting:
 * -EHOSTUNREACH (no such host), -ECONNREFUSED (no referee there), -ETIMEDOUT,
 * -EKEYREJECTED (another key), -EPROTO (not a referee), or of the key file.
 */
int dipc_lookup_connect(struct dipc_loop *loop, const struct dipc_config *conf,
			void (*lost)(void *arg, int reason), void *arg,
			struct dipc_lookup **lookup_out);
/* No request may be under way; the referee then takes us for dead unless we
   have left. Takes NULL. */
void dipc_lookup_destroy(struct dipc_lookup *l);

/*
 * The requests, see runtime/base/lookup.h. Fiber. Joining and getting: 0, and
 * the referee's word is in the answer's status; -ENOLINK: the session is gone,
 * or no answer came for long: whether it was done is unknown.
 */
int dipc_lookup_join(struct dipc_lookup *l, const struct dipc_lookup_join *join,
		     struct dipc_lookup_joined *joined_out);
int dipc_lookup_get(struct dipc_lookup *l, const struct dipc_lookup_get *get,
		    struct dipc_lookup_got *got_out);
/* These return the status itself. */
int dipc_lookup_created(struct dipc_lookup *l,
			const struct dipc_lookup_created *created);
int dipc_lookup_remove(struct dipc_lookup *l, int32_t id);
int dipc_lookup_leave(struct dipc_lookup *l);

bool dipc_lookup_is_up(const struct dipc_lookup *l);
/* What went over TCP so far. */
void dipc_lookup_bytes(const struct dipc_lookup *l, uint64_t *tx_out,
		       uint64_t *rx_out);

#endif
