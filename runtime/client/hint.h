/* SPDX-License-Identifier: BSD-2-Clause */
/* What a program says of memory that it will use, or has no use for. */
#ifndef DIPC_CLIENT_HINT_H
#define DIPC_CLIENT_HINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/local.h"

struct dipc_hint {
	enum dipc_local_call call; /* DIPC_CALL_PREFETCH or _RELEASE */
	uint32_t flags;            /* DIPC_LOCAL_PREFETCH_* */
	bool is_cancel_point;
};

/*
 * Ask dipcd for what HINT says, of all that lies in attachments between START
 * and END, whole pages. Takes no lock; any thread, any handler. 0, or the
 * first -errno; the rest is asked for all the same.
 */
int dipc_hint_ask(const struct dipc_hint *hint, char *start, char *end);

#endif
