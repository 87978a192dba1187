/* SPDX-License-Identifier: BSD-2-Clause */
/* Who the calling thread is, as far as permissions of objects depend on it. */
#ifndef DIPC_CLIENT_IDENTITY_H
#define DIPC_CLIENT_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

struct dipc_identity {
	uint32_t uid, gid; /* effective */
	uint64_t groups;   /* a hash of the supplementary ones */
	uint64_t caps; /* effective, those that the kernel's ipc/ asks for */
};

/* Async-signal-safe, errno untouched. */
void dipc_identity_read(struct dipc_identity *id_out);
bool dipc_identity_equal(const struct dipc_identity *a,
			 const struct dipc_identity *b);
/*
 * May the calling thread, which is NOW, become OLD again? If not, nothing that
 * OLD was allowed may be left to it.
 */
bool dipc_identity_may_regain(const struct dipc_identity *old,
			      const struct dipc_identity *now);

#endif
