/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cancellation of threads in calls through slots. msgsnd and msgrcv are
 * cancellation points; in a thread of the asynchronous type every call acts as
 * one, instead of being left at any instruction. docs/design/signals.md.
 */
#ifndef DIPC_CLIENT_CANCEL_H
#define DIPC_CLIENT_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>

struct dipc_cancel_scope {
	bool was_async;
};

extern _Atomic bool dipc_cancel_any;

/* Has any thread of this process ever been cancelled? */
static inline bool dipc_cancel_is_used(void)
{
	return atomic_load_explicit(&dipc_cancel_any, memory_order_seq_cst);
}

/* A pthread_cancel() is about to be made. */
static inline void dipc_cancel_begins(void)
{
	atomic_store_explicit(&dipc_cancel_any, true, memory_order_seq_cst);
}

/*
 * Around a call: in it the thread is of the deferred type. False: it is to be
 * no cancellation point, whatever comes.
 */
bool dipc_cancel_enter(struct dipc_cancel_scope *scope, bool is_point);
/* May not return. */
void dipc_cancel_leave(const struct dipc_cancel_scope *scope);

#endif
