/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls through request slots; the protocol is in runtime/base/local.h.
 *
 * Memory ordering: LOCAL_POST, LOCAL_SLEEP and LOCAL_DONE there.
 *
 * Signal handlers: the kernel withdraws an interrupted call before the handler
 * runs, and so do we. A handler that was installed through libc is entered by
 * way of dipc_slot_signalled() (signal.c), which finds the thread's call in
 * `current`, cancels it, waits until it is done, and takes the result out of
 * the slot. What the handler then does, be it calls of its own or a longjmp,
 * finds the thread in no call; when it returns, the interrupted function finds
 * its call ended. So no instant is left in which a handler runs and the call
 * sleeps on.
 * CANCEL: a thread in a cancellation point names itself in `cancellable`, then
 * looks whether it was cancelled; pthread_cancel() marks it first, then looks
 * for its name and has dipcd cancel that call. All seq_cst: one of them sees
 * the other. A call that is cancelled, and no handler ran, begins again, and so
 * looks again: an unwanted cancel does no harm, and a call that was completed
 * first returns what it has.
 * USE_ORDER: `stage` says which of the two works on the slot next. They are
 * one thread, so relaxed order and signal fences are enough.
 */
#include "runtime/client/client.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <time.h>

#include "runtime/base/sys.h"
#include "runtime/client/cancel.h"
#include "runtime/client/conn.h"
#include "runtime/client/copy.h"
#include "runtime/client/signal.h"
#include "runtime/client/slot_pool.h"

/* A call that dipcd cancelled with its connection is answered soon. */
#define CLOSED_PATIENCE_S 10u

/* Inside this file only, no errno: nothing was done, ask again. */
#define SLOT_LOST INT64_MIN

#define SECOND_NS 1000000000u

/* USE_ORDER */
enum use_stage {
	USE_TAKING,  /* no slot yet */
	USE_FILLING, /* the request is being written */
	USE_LOST,    /* a handler ran meanwhile; a slot that we had is parked */
	USE_POSTED,  /* complete; whoever comes next may post it */
	USE_ENDED,   /* a handler ran: `result` is there, the slot parked */
};

#define USE_MAGIC 0x6c6c61632d637069u

/* One try of a call, on the stack of the function that makes it. */
struct slot_use {
	/* A vfork child that was killed in a call leaves us looking at nothing
	   of ours: compared before use. */
	uint64_t magic;
	struct dipc_slot_call *call;
	struct slot_use *outer; /* in a handler: the interrupted one */
	struct dipc_client_conn *conn;
	unsigned slot;
	_Atomic int stage; /* enum use_stage */
	_Atomic bool is_interrupted;
	bool is_cancel_point;
	int64_t result;
};

/* The call that the thread is in and no handler has ended. */
static _Thread_local DIPC_TLS_EARLY struct slot_use *_Atomic current;
/* No handler has run in the thread; the count does not come back to it. */
#define HANDLERS_NONE 1u
_Thread_local DIPC_TLS_EARLY uint32_t dipc_handlers = HANDLERS_NONE;

static struct slot_use *use_current(void)
{
	return atomic_load_explicit(&current, memory_order_relaxed);
}

static void use_enter(struct slot_use *use)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&current, use, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

static int use_stage(const struct slot_use *use)
{
	return atomic_load_explicit(&use->stage, memory_order_relaxed);
}

/* USE_ORDER: false, and nothing is changed, if it is not FROM any more. */
static bool use_step(struct slot_use *use, int from, int to)
{
	return atomic_compare_exchange_strong_explicit(&use->stage, &from, to,
						       memory_order_relaxed,
						       memory_order_relaxed);
}

/* No handler touches USE any more; false: one has ended it. */
static bool use_leave(struct slot_use *use)
{
	use_enter(use->outer);
	return use_stage(use) != USE_ENDED;
}

static bool use_is_interrupted(const struct slot_use *use)
{
	uint32_t handlers = use->call->handlers;

	return atomic_load_explicit(&use->is_interrupted,
				    memory_order_relaxed) ||
	       (handlers && handlers != dipc_handlers);
}

static struct dipc_slot *use_slot(const struct slot_use *use)
{
	return &use->conn->area->slot[use->slot];
}

/* ---- posting ------------------------------------------------------------ */

static void slot_post(const struct dipc_client_conn *conn, unsigned slot)
{
	/* LOCAL_POST, then LOCAL_SLEEP's fence in dipc_conn_ring() */
	dipc_area_post(conn->area, slot);
	dipc_conn_ring(conn);
}

/* By the call, or by a handler that came in between: only once. */
static void use_post(const struct slot_use *use)
{
	uint32_t claimed = DIPC_SLOT_CLAIMED;

	if (atomic_compare_exchange_strong_explicit(
		    &use_slot(use)->state, &claimed, DIPC_SLOT_POSTED,
		    memory_order_release, memory_order_relaxed))
		slot_post(use->conn, use->slot);
}

static void slot_cancel(const struct dipc_client_conn *conn, unsigned slot)
{
	atomic_store_explicit(&conn->area->slot[slot].must_cancel, 1,
			      memory_order_relaxed);
	slot_post(conn, slot);
}

/* ---- waiting ------------------------------------------------------------ */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND_NS + (uint64_t)ts.tv_nsec;
}

static bool use_is_done(const struct slot_use *use)
{
	return use_stage(use) == USE_ENDED ||
	       atomic_load_explicit(&use_slot(use)->state,
				    memory_order_acquire) == DIPC_SLOT_DONE;
}

/* A short wait without a system call; false when it has to be a long one. */
static bool use_spin(const struct slot_use *use)
{
	uint32_t spin = atomic_load_explicit(&use->conn->engine->spin_ns,
					     memory_order_relaxed);
	uint64_t end;
	unsigned i, rounds;

	if (spin == 0)
		return use_is_done(use);
	/* each round is longer than its 32 ns; a clock may be made to stand */
	rounds = spin / 32 + 1;
	end = now_ns() + spin;
	do {
		for (i = 0; i < 32; i++) {
			if (use_is_done(use))
				return true;
			__builtin_ia32_pause();
		}
	} while (--rounds && now_ns() < end);
	return false;
}

/*
 * Until STATE is another, a second at most. 0 or -errno. With a timeout the
 * futex call is never restarted after a handler, SA_RESTART or not: as
 * semop(2) and msgrcv(2) behave. A handler that runs before it ends the call,
 * and so changes the word.
 */
static int slot_futex(struct dipc_slot *s, uint32_t state)
{
	const struct timespec second = {.tv_sec = 1};

	return (int)dipc_sys4(SYS_futex, (uintptr_t)&s->state, FUTEX_WAIT,
			      state, (uintptr_t)&second);
}

static int64_t use_sleep(struct slot_use *use)
{
	struct dipc_slot *s = use_slot(use);
	unsigned patience = CLOSED_PATIENCE_S;
	uint32_t state;
	int ret;

	/* stays set: costs one more wake-up, and a handler that ends the call
	   need not know whether we had got here */
	atomic_store_explicit(&s->is_waiting, 1, memory_order_seq_cst);
	while (!use_is_done(use)) {
		state = atomic_load_explicit(&s->state, memory_order_seq_cst);
		if (state == DIPC_SLOT_DONE)
			break;
		ret = slot_futex(s, state);
		if (use_is_done(use))
			break;
		if (ret == -EINTR && use->call->is_interruptible) {
			/* a handler that we did not see */
			atomic_store_explicit(&use->is_interrupted, true,
					      memory_order_relaxed);
			slot_cancel(use->conn, use->slot);
		} else if (ret == -ETIMEDOUT && state == DIPC_SLOT_POSTED &&
			   dipc_area_is_closed(use->conn->area)) {
			return SLOT_LOST; /* posted too late to be seen */
		} else if (ret == -ETIMEDOUT &&
			   (dipc_area_is_closed(use->conn->area)
				    ? --patience == 0
				    : !dipc_conn_is_alive(use->conn))) {
			return -ENOLINK;
		}
	}
	return 0;
}

/* ---- filling and collecting --------------------------------------------- */

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
 * What the answer says, and the slot is free. SLOT_LOST: cancelled, but no
 * handler ran: by the end of the connection, or see CANCEL.
 */
static int64_t use_collect(struct slot_use *use)
{
	struct dipc_slot *s = use_slot(use);
	int64_t ret =
		slot_collect(use->call, s, use->conn->area->payload[use->slot]);

	if (ret == -EINTR && !use_is_interrupted(use))
		ret = SLOT_LOST;
	if (use->is_cancel_point)
		atomic_store_explicit(&use->conn->cancellable[use->slot], 0,
				      memory_order_relaxed);
	atomic_store_explicit(&s->state, DIPC_SLOT_FREE, memory_order_relaxed);
	return ret;
}

/* ---- handlers ----------------------------------------------------------- */

/*
 * Before a handler runs: the posted call is ended, as the kernel would. Waits
 * for dipcd, but not for ever: a handler may be what ends a program whose
 * cluster hangs.
 */
static void use_withdraw(struct slot_use *use)
{
	struct dipc_slot *s = use_slot(use);
	uint64_t end = now_ns() + SECOND_NS;

	if (use->call->is_interruptible)
		atomic_store_explicit(&s->must_cancel, 1, memory_order_relaxed);
	use_post(use);
	if (!use_is_done(use))
		slot_post(use->conn, use->slot);
	if (!use_spin(use)) {
		atomic_store_explicit(&s->is_waiting, 1, memory_order_seq_cst);
		while (!use_is_done(use) && now_ns() < end) {
			uint32_t state = atomic_load_explicit(
				&s->state, memory_order_seq_cst);

			if (state != DIPC_SLOT_DONE)
				(void)slot_futex(s, state);
		}
	}
	/* not in time: the function waits on; or, ended by another handler,
	   on top of this one */
	if (!use_leave(use) || !use_is_done(use))
		return;
	use->result = use_collect(use);
	/* USE_ORDER */
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&use->stage, USE_ENDED, memory_order_relaxed);
	dipc_slot_park(use->conn, use->slot);
}

void dipc_slot_signalled(void)
{
	struct slot_use *use = use_current();

	if (++dipc_handlers == 0)
		dipc_handlers = HANDLERS_NONE + 1;
	if (!use || use->magic != USE_MAGIC)
		return;
	atomic_store_explicit(&use->is_interrupted, true, memory_order_relaxed);
	if (use_stage(use) == USE_POSTED) {
		use_withdraw(use);
		return;
	}
	(void)use_leave(use);
	if (use_step(use, USE_FILLING, USE_LOST))
		dipc_slot_park(use->conn, use->slot);
	(void)use_step(use, USE_TAKING, USE_LOST);
}

bool dipc_slot_after_fork(void)
{
	use_enter(NULL);
	dipc_slot_pool_after_fork();
	return dipc_handlers != HANDLERS_NONE;
}

/* ---- cancellation ------------------------------------------------------- */

static void use_abandon(void *arg)
{
	struct slot_use *use = arg;

	(void)use_leave(use);
	use->magic = 0;
	if (use_step(use, USE_FILLING, USE_LOST))
		dipc_slot_give(use->conn, use->slot);
}

/* Before the request is written. May not return. */
static void use_testcancel(struct slot_use *use)
{
	/* CANCEL */
	atomic_store_explicit(&use->conn->cancellable[use->slot],
			      pthread_self(), memory_order_seq_cst);
	if (!dipc_cancel_is_used())
		return;
	pthread_cleanup_push(use_abandon, use);
	pthread_testcancel();
	pthread_cleanup_pop(0);
}

void dipc_slot_cancel_thread(const struct dipc_client_conn *conn,
			     pthread_t thread)
{
	unsigned i;

	for (i = 0; i < DIPC_SLOTS; i++) /* CANCEL */
		if (atomic_load_explicit(&conn->cancellable[i],
					 memory_order_seq_cst) == thread)
			slot_cancel(conn, i);
}

/* ---- calls -------------------------------------------------------------- */

/* The call of a thread that has ended in it. */
static void slot_bury(const struct dipc_client_conn *conn, unsigned slot)
{
	struct dipc_slot *s = &conn->area->slot[slot];
	uint32_t state = atomic_load_explicit(&s->state, memory_order_acquire);
	unsigned tries;

	for (tries = 0; tries < 3 && (state == DIPC_SLOT_POSTED ||
				      state == DIPC_SLOT_RUNNING);
	     tries++) {
		atomic_store_explicit(&s->is_waiting, 1, memory_order_seq_cst);
		slot_cancel(conn, slot);
		(void)slot_futex(s, state);
		state = atomic_load_explicit(&s->state, memory_order_acquire);
	}
}

/*
 * A slot of the thread's connection. 0, -EINTR: a handler ran while all were
 * taken, or SLOT_LOST: the connection was given up meanwhile.
 */
static int64_t use_take(struct slot_use *use)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	int slot;

	use->conn = dipc_conn_mine();
	while ((slot = dipc_slot_take(use->conn)) < 0) {
		if (use->call->is_interruptible && use_is_interrupted(use))
			return -EINTR;
		if (!dipc_conn_is_mine(use->conn))
			return SLOT_LOST;
		dipc_slot_reclaim(use->conn, slot_bury);
		(void)dipc_sys4(SYS_nanosleep, (uintptr_t)&moment, 0, 0, 0);
	}
	use->slot = (unsigned)slot;
	if (dipc_conn_is_mine(use->conn))
		return 0;
	dipc_slot_give(use->conn, use->slot);
	return SLOT_LOST;
}

static void use_fill(struct slot_use *use)
{
	const struct dipc_slot_call *call = use->call;
	struct dipc_slot *s = use_slot(use);

	/* first: who sees our name in `cancellable` may set it */
	atomic_store_explicit(&s->must_cancel, 0, memory_order_relaxed);
	if (use->is_cancel_point)
		use_testcancel(use);
	s->call = call->call;
	s->args = call->args;
	s->payload_len =
		call->in_len
			? slot_fill(call, use->conn->area->payload[use->slot])
			: 0;
	atomic_store_explicit(&s->is_waiting, 0, memory_order_relaxed);
	atomic_store_explicit(&s->state, DIPC_SLOT_CLAIMED,
			      memory_order_relaxed);
}

/*
 * A slot with the request in it, ready to be posted; from the start, if a
 * handler came in between and took the slot away. 0 or as use_take().
 */
static int64_t use_begin(struct slot_use *use)
{
	int64_t ret;

	do {
		atomic_store_explicit(&use->stage, USE_TAKING,
				      memory_order_relaxed);
		use_enter(use);
		ret = use_take(use);
		if (ret)
			goto err_take;
		if (!use_step(use, USE_TAKING, USE_FILLING))
			dipc_slot_give(use->conn, use->slot);
		else
			use_fill(use);
	} while (!use_step(use, USE_FILLING, USE_POSTED));
	if (use->call->is_interruptible && use_is_interrupted(use))
		atomic_store_explicit(&use_slot(use)->must_cancel, 1,
				      memory_order_relaxed);
	return 0;

err_take:
	(void)use_leave(use);
	use->magic = 0;
	return ret;
}

/* One try, on the connection of now. */
static int64_t slot_try(struct dipc_slot_call *call, bool is_cancel_point)
{
	struct slot_use use = {.magic = USE_MAGIC,
			       .call = call,
			       .outer = use_current(),
			       .is_cancel_point = is_cancel_point};
	int64_t ret = use_begin(&use);

	if (ret)
		return ret;
	use_post(&use);
	if (!use_spin(&use))
		ret = use_sleep(&use);
	if (!use_leave(&use)) {
		dipc_slot_unpark();
		return use.result;
	}
	use.magic = 0;
	if (ret == 0)
		ret = use_collect(&use);
	dipc_slot_give(use.conn, use.slot);
	return ret;
}

/* Where a call says how long it may take at most, or NULL. */
static uint64_t *call_timeout(struct dipc_slot_call *call)
{
	uint64_t *timeout = NULL;

	if (call->call == DIPC_CALL_SEMOP)
		timeout = &call->args.semop.timeout_ns;
	else if (call->call == DIPC_CALL_FUTEX_SLEEP)
		timeout = &call->args.futex_wait.timeout_ns;
	return timeout && *timeout < DIPC_TIMEOUT_BAD ? timeout : NULL;
}

/* SLOT_LOST: connect again, if need be, and ask again. */
static int64_t slot_retry(struct dipc_slot_call *call, bool is_cancel_point,
			  uint64_t start)
{
	uint64_t *timeout = call_timeout(call);
	uint64_t all = timeout ? *timeout : 0;
	int64_t ret;

	do {
		if (dipc_conn_use() <= 0)
			return -ENOLINK;
		if (timeout) {
			uint64_t used = now_ns() - start;

			*timeout = used < all ? all - used : 0;
		}
		ret = slot_try(call, is_cancel_point);
	} while (ret == SLOT_LOST);
	return ret;
}

/*
 * Not entered as the thread's call: what runs before it is done is no handler
 * of the program, and it may come in the middle of another call.
 */
int64_t dipc_slot_fault(struct dipc_slot_call *call)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	struct slot_use use = {
		.magic = USE_MAGIC, .call = call, .stage = USE_POSTED};
	int64_t ret;
	int slot;

	do {
		use.conn = dipc_conn_for_faults();
		if (!use.conn)
			return -ENOLINK;
		slot = dipc_slot_take(use.conn);
		if (slot < 0)
			(void)dipc_sys4(SYS_nanosleep, (uintptr_t)&moment, 0, 0,
					0);
		else if (atomic_load_explicit(&use.conn->is_retired,
					      memory_order_seq_cst)) {
			/* CONN_RETIRE */
			dipc_slot_give(use.conn, (unsigned)slot);
			slot = -1;
		}
	} while (slot < 0);
	use.slot = (unsigned)slot;
	use_fill(&use);
	use_post(&use);
	ret = use_spin(&use) ? 0 : use_sleep(&use);
	if (ret == 0)
		ret = use_collect(&use);
	dipc_slot_give(use.conn, use.slot);
	return ret == SLOT_LOST ? 0 : ret; /* it faults again */
}

int64_t dipc_slot_run(struct dipc_slot_call *call)
{
	uint64_t start = call_timeout(call) ? now_ns() : 0;
	struct dipc_cancel_scope scope;
	bool is_cancel_point;
	int64_t ret;

	if (call->in_len > DIPC_SLOT_PAYLOAD)
		return -EINVAL;
	is_cancel_point = dipc_cancel_enter(&scope, call->is_cancel_point);
	ret = slot_try(call, is_cancel_point);
	if (ret == SLOT_LOST)
		ret = slot_retry(call, is_cancel_point, start);
	dipc_cancel_leave(&scope);
	return ret;
}
