/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls through request slots; the protocol is in runtime/base/local.h.
 *
 * Memory ordering: LOCAL_POST, LOCAL_SLEEP and LOCAL_DONE there.
 */
#include "runtime/client/client.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "runtime/base/sys.h"
#include "runtime/client/copy.h"
#include "runtime/client/conn.h"

/* A call that dipcd cancelled with its connection is answered soon. */
#define CLOSED_PATIENCE_S 10u

/* Inside this file only: no errno. */
#define SLOT_LOST INT64_MIN

/* In the calling thread's connection; a bit in `taken` is a slot in use. */
static unsigned slot_take(struct dipc_client_conn *conn)
{
	static _Thread_local unsigned last /* its lines are warm */
		__attribute__((tls_model("initial-exec")));
	unsigned i;

	for (;;) {
		for (i = 0; i < DIPC_SLOTS; i++) {
			unsigned slot = (last + i) % DIPC_SLOTS;
			uint64_t bit = 1ull << slot % 64;

			if (atomic_load_explicit(&conn->taken[slot / 64],
						 memory_order_relaxed) &
			    bit)
				continue;
			/* CONN_RETIRE in conn.c */
			if (atomic_fetch_or_explicit(&conn->taken[slot / 64],
						     bit,
						     memory_order_seq_cst) &
			    bit)
				continue;
			last = slot;
			return slot;
		}
		sched_yield(); /* too many at once: wait for one to end */
	}
}

static void slot_give(struct dipc_client_conn *conn, unsigned slot)
{
	/* CONN_RETIRE */
	atomic_fetch_and_explicit(&conn->taken[slot / 64], ~(1ull << slot % 64),
				  memory_order_seq_cst);
	if (atomic_load_explicit(&conn->is_retired, memory_order_seq_cst))
		dipc_conn_reap(conn);
}

static void slot_post(const struct dipc_client_conn *conn, unsigned slot)
{
	/* LOCAL_POST, then LOCAL_SLEEP's fence in dipc_conn_ring() */
	atomic_fetch_or_explicit(&conn->area->posted[slot / 64],
				 1ull << slot % 64, memory_order_release);
	dipc_conn_ring(conn);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static bool slot_is_done(struct dipc_slot *s)
{
	return atomic_load_explicit(&s->state, memory_order_acquire) ==
	       DIPC_SLOT_DONE;
}

/* A short wait without a system call; false when it has to be a long one. */
static bool slot_spin(const struct dipc_client_conn *conn, struct dipc_slot *s)
{
	uint32_t spin = atomic_load_explicit(&conn->engine->spin_ns,
					     memory_order_relaxed);
	uint64_t end;
	unsigned i;

	if (spin == 0)
		return slot_is_done(s);
	end = now_ns() + spin;
	do {
		for (i = 0; i < 32; i++) {
			if (slot_is_done(s))
				return true;
			__builtin_ia32_pause();
		}
	} while (now_ns() < end);
	return false;
}

/*
 * Sleep until done. With a timeout the futex call is never restarted after a
 * signal handler, SA_RESTART or not: as semop(2) and msgrcv(2) behave.
 */
static int64_t slot_sleep(struct dipc_slot *s,
			  const struct dipc_client_conn *conn, unsigned slot,
			  bool is_interruptible)
{
	struct dipc_area *area = conn->area;
	const struct timespec second = {.tv_sec = 1};
	unsigned patience = CLOSED_PATIENCE_S;
	int64_t ret = 0;
	long woken;

	atomic_store_explicit(&s->is_waiting, 1, memory_order_seq_cst);
	for (;;) {
		uint32_t state =
			atomic_load_explicit(&s->state, memory_order_seq_cst);

		if (state == DIPC_SLOT_DONE)
			break;
		woken = dipc_sys_futex(&s->state, FUTEX_WAIT, state, &second,
				       NULL, 0);
		if (woken == 0)
			continue;
		if (woken == -EINTR && is_interruptible) {
			atomic_store_explicit(&s->must_cancel, 1,
					      memory_order_relaxed);
			slot_post(conn, slot);
		} else if (woken == -ETIMEDOUT && state == DIPC_SLOT_POSTED &&
			   dipc_area_is_closed(area)) {
			ret = SLOT_LOST; /* posted too late to be seen */
			break;
		} else if (woken == -ETIMEDOUT &&
			   (dipc_area_is_closed(area)
				    ? --patience == 0
				    : !dipc_conn_is_alive(conn))) {
			ret = -ENOLINK;
			break;
		}
	}
	atomic_store_explicit(&s->is_waiting, 0, memory_order_relaxed);
	return ret;
}

/* The request's payload; how many bytes, or that they could not be read. */
static uint32_t slot_fill(const struct dipc_slot_call *call, uint8_t *payload)
{
	if (!call->is_users)
		memcpy(payload, call->in, call->in_len);
	else if (dipc_copy_in(payload, call->in, call->in_len))
		return DIPC_PAYLOAD_FAULT;
	return (uint32_t)call->in_len;
}

/* To the program, as the kernel does: the type first, the text after it. */
static int collect_users(const struct dipc_slot_call *call,
			 const uint8_t *payload, size_t len)
{
	const long type = (long)call->type;
	char *to = call->out;
	int ret;

	if (call->has_type) {
		ret = dipc_copy_out(to, &type, sizeof(type));
		if (ret)
			return ret;
		to += sizeof(type);
	}
	return dipc_copy_out(to, payload, len);
}

static int64_t slot_collect(struct dipc_slot_call *call,
			    const struct dipc_slot *s, const uint8_t *payload)
{
	const int64_t result = s->result;
	size_t len = s->payload_len;

	call->type = s->type;
	call->out_len = 0;
	if (result < 0)
		return result;
	if (len > call->out_max)
		len = call->out_max;
	call->out_len = len;
	if (call->is_users)
		return collect_users(call, payload, len) ? -EFAULT : result;
	if (len)
		memcpy(call->out, payload, len);
	return result;
}

/*
 * One try, on the connection of now. SLOT_LOST: dipcd let go of it and
 * did nothing of the call.
 */
static int64_t slot_try(struct dipc_slot_call *call)
{
	struct dipc_client_conn *conn = dipc_conn_mine();
	unsigned slot = slot_take(conn);
	struct dipc_area *area = conn->area;
	struct dipc_slot *s = &area->slot[slot];
	int64_t ret = 0;

	if (!dipc_conn_is_mine(conn)) {
		slot_give(conn, slot);
		return SLOT_LOST;
	}
	s->call = call->call;
	s->args = call->args;
	s->payload_len =
		call->in_len ? slot_fill(call, area->payload[slot]) : 0;
	atomic_store_explicit(&s->must_cancel, 0, memory_order_relaxed);
	atomic_store_explicit(&s->state, DIPC_SLOT_POSTED,
			      memory_order_release);
	slot_post(conn, slot);
	if (!slot_spin(conn, s))
		ret = slot_sleep(s, conn, slot, call->is_interruptible);
	if (ret == 0)
		ret = slot_collect(call, s, area->payload[slot]);
	/* cancelled by the closing, not by a signal of ours */
	if (ret == -EINTR && dipc_area_is_closed(area) &&
	    !atomic_load_explicit(&s->must_cancel, memory_order_relaxed))
		ret = SLOT_LOST;
	atomic_store_explicit(&s->state, DIPC_SLOT_FREE, memory_order_relaxed);
	slot_give(conn, slot);
	return ret;
}

int64_t dipc_slot_run(struct dipc_slot_call *call)
{
	int64_t ret;
	int use;

	if (call->in_len > DIPC_SLOT_PAYLOAD)
		return -EINVAL;
	ret = slot_try(call);
	/* the program closed our descriptors: connect again, ask again */
	while (ret == SLOT_LOST) {
		use = dipc_conn_use();
		ret = use > 0 ? slot_try(call) : -ENOLINK;
	}
	return ret;
}
