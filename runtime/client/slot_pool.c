/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory ordering: CONN_RETIRE in conn.c, and as part of it: a slot is taken
 * with ACQUIRE and given with RELEASE, so that what its last user did is before
 * what the next one does.
 */
#include "runtime/client/slot_pool.h"

#include <errno.h>
#include <stdbool.h>

#include "runtime/base/sys.h"
#include "runtime/client/client.h"

/*
 * A parked slot is one word, connection and slot, 0: none. It is exchanged,
 * because a handler may want it at the same time.
 */
#define PARKED_BITS 10u
static_assert(1u << PARKED_BITS == DIPC_SLOTS, "parked");

static _Thread_local DIPC_TLS_EARLY uint32_t self;
static _Thread_local DIPC_TLS_EARLY unsigned last; /* its lines are warm */
static _Thread_local DIPC_TLS_EARLY _Atomic uint64_t parked;

static uint64_t bit_of(unsigned slot)
{
	return 1ull << slot % 64;
}

static bool try_take(struct dipc_client_conn *conn, unsigned slot)
{
	_Atomic uint64_t *taken = &conn->taken[slot / 64];

	if (atomic_load_explicit(taken, memory_order_relaxed) & bit_of(slot))
		return false;
	/* CONN_RETIRE */
	return !(atomic_fetch_or_explicit(taken, bit_of(slot),
					  memory_order_seq_cst) &
		 bit_of(slot));
}

static struct dipc_client_conn *take_parked(unsigned *slot_out)
{
	uint64_t word = atomic_load_explicit(&parked, memory_order_relaxed);

	if (word)
		word = atomic_exchange_explicit(&parked, 0,
						memory_order_relaxed);
	*slot_out = word & (DIPC_SLOTS - 1);
	return (struct dipc_client_conn *)(uintptr_t)(word >> PARKED_BITS);
}

int dipc_slot_take(struct dipc_client_conn *conn)
{
	struct dipc_client_conn *own;
	unsigned i;

	own = take_parked(&i);
	if (own == conn)
		return (int)i;
	if (own)
		dipc_slot_give(own, i);
	if (!self)
		self = (uint32_t)dipc_sys3(SYS_gettid, 0, 0, 0);
	for (i = 0; i < DIPC_SLOTS; i++) {
		unsigned n = (last + i) % DIPC_SLOTS;

		if (!try_take(conn, n))
			continue;
		atomic_store_explicit(&conn->owner[n], self,
				      memory_order_relaxed);
		last = n;
		return (int)n;
	}
	return -EAGAIN;
}

void dipc_slot_give(struct dipc_client_conn *conn, unsigned slot)
{
	atomic_store_explicit(&conn->owner[slot], 0, memory_order_relaxed);
	/* CONN_RETIRE */
	atomic_fetch_and_explicit(&conn->taken[slot / 64], ~bit_of(slot),
				  memory_order_seq_cst);
	if (atomic_load_explicit(&conn->is_retired, memory_order_seq_cst))
		dipc_conn_reap(conn);
}

void dipc_slot_park(struct dipc_client_conn *conn, unsigned slot)
{
	uint64_t none = 0;
	uint64_t word = (uint64_t)(uintptr_t)conn << PARKED_BITS | slot;

	if (!atomic_compare_exchange_strong_explicit(&parked, &none, word,
						     memory_order_relaxed,
						     memory_order_relaxed))
		dipc_slot_give(conn, slot);
}

void dipc_slot_unpark(void)
{
	struct dipc_client_conn *conn;
	unsigned slot;

	conn = take_parked(&slot);
	if (conn)
		dipc_slot_give(conn, slot);
}

static bool thread_is_gone(uint32_t tid)
{
	uintptr_t pid = (uintptr_t)dipc_sys_getpid();

	return dipc_sys3(SYS_tgkill, pid, tid, 0) == -ESRCH;
}

void dipc_slot_reclaim(struct dipc_client_conn *conn, dipc_slot_bury_fn bury)
{
	unsigned i;

	for (i = 0; i < DIPC_SLOTS; i++) {
		_Atomic uint32_t *owner = &conn->owner[i];
		uint32_t tid =
			atomic_load_explicit(owner, memory_order_relaxed);

		/* by exchange: only one may give it back */
		if (!tid || !thread_is_gone(tid) ||
		    !atomic_compare_exchange_strong_explicit(
			    owner, &tid, 0, memory_order_relaxed,
			    memory_order_relaxed))
			continue;
		bury(conn, i);
		dipc_slot_give(conn, i);
	}
}

void dipc_slot_pool_after_fork(void)
{
	atomic_store_explicit(&parked, 0, memory_order_relaxed);
	self = 0;
}
