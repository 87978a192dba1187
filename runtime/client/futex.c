/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Waiting takes two calls to dipcd: one queues us, one sleeps. In between we
 * look at the word (LOOK-AFTER in docs/design/futex.md), since here it is one
 * load, and dipcd has no business in the segment.
 */
#include "runtime/client/futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stddef.h>

#include "runtime/base/sys.h"
#include "runtime/client/client.h"
#include "runtime/client/range.h"

#define SECOND_NS 1000000000ull
/* dipcd sleeps by one clock; another may be set meanwhile. */
#define RELOOK_NS SECOND_NS
/*
 * Threads that sleep hold slots, and whoever is to wake them needs one. So that
 * there are always some, no more than CROWD threads sleep in dipcd; others
 * keep their places in its queue and ask now and then.
 */
#define CROWD        (DIPC_SLOTS / 4 * 3)
#define CROWD_NAP_NS (SECOND_NS / 5)
/* dipcd cannot help now: not at once again, and the caller looks. */
#define NAP_NS (SECOND_NS / 100)

/* The kernel's, shared: by the page of the mapped file. */
static int kernel_wait(_Atomic uint32_t *word, uint32_t expected,
		       clockid_t clock, const struct timespec *deadline,
		       uint32_t bitset)
{
	int op = FUTEX_WAIT_BITSET;

	if (clock == CLOCK_REALTIME)
		op |= FUTEX_CLOCK_REALTIME;
	return (int)dipc_sys_futex(word, op, expected, deadline, NULL, bitset);
}

/* ---- calls -------------------------------------------------------------- */

/* Is WORD in a segment of ours? Then which one, and where in it. */
static bool futex_place(_Atomic uint32_t *word, struct dipc_slot_call *call)
{
	struct dipc_range range;

	if (!dipc_range_any() || dipc_range_find(word, &range))
		return false;
	call->args.futex.id = range.id;
	call->args.futex.off = range.offset;
	return true;
}

static int64_t futex_call(struct dipc_slot_call *call)
{
	int use = dipc_conn_use();

	return use > 0 ? dipc_slot_run(call) : -ENOLINK;
}

static bool ticket_withdraw(uint64_t ticket)
{
	struct dipc_slot_call call = {.call = DIPC_CALL_FUTEX_WITHDRAW};

	call.args.futex_wait.ticket = ticket;
	return futex_call(&call) > 0;
}

/* 0, or -EINTR: a handler ran. */
static int nap(uint64_t ns)
{
	const struct timespec ts = {.tv_sec = (time_t)(ns / SECOND_NS),
				    .tv_nsec = (long)(ns % SECOND_NS)};

	return (int)dipc_sys4(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0,
			      (uintptr_t)&ts, 0);
}

/* ---- waiting ------------------------------------------------------------ */

/* Nanoseconds until DEADLINE; 0: it has passed. */
static uint64_t time_left(clockid_t clock, const struct timespec *deadline)
{
	struct timespec now = {0};
	int64_t s, ns;

	if (!deadline)
		return DIPC_TIMEOUT_NONE;
	dipc_sys3(SYS_clock_gettime, (uintptr_t)clock, (uintptr_t)&now, 0);
	s = deadline->tv_sec - now.tv_sec;
	ns = deadline->tv_nsec - now.tv_nsec;
	if (s < 0 || (s == 0 && ns <= 0))
		return 0;
	if ((uint64_t)s > INT64_MAX / SECOND_NS - 1)
		return DIPC_TIMEOUT_NONE;
	return (uint64_t)s * SECOND_NS + (uint64_t)ns;
}

static _Atomic unsigned nr_sleeping; /* about: a longjmp may leave one */

/* May the calling thread sleep in dipcd? Then crowd_leave() afterwards. */
static bool crowd_enter(void)
{
	if (atomic_fetch_add_explicit(&nr_sleeping, 1, memory_order_relaxed) <
	    CROWD)
		return true;
	atomic_fetch_sub_explicit(&nr_sleeping, 1, memory_order_relaxed);
	return false;
}

static void crowd_leave(void)
{
	atomic_fetch_sub_explicit(&nr_sleeping, 1, memory_order_relaxed);
}

/* Not longer than MAX_NS: the ticket is kept if there is more time LEFT. */
static int64_t ticket_sleep_part(uint64_t ticket, uint64_t left,
				 uint64_t max_ns, uint32_t handlers)
{
	struct dipc_slot_call call = {.call = DIPC_CALL_FUTEX_SLEEP,
				      .is_interruptible = true,
				      .handlers = handlers};

	call.args.futex_wait.ticket = ticket;
	call.args.futex_wait.timeout_ns = left < max_ns ? left : max_ns;
	call.args.futex_wait.keeps_ticket = left > max_ns;
	return futex_call(&call);
}

/* Until woken, whatever parts the time is slept in; the ticket is used up. */
static int64_t ticket_sleep(uint64_t ticket, clockid_t clock,
			    const struct timespec *deadline, uint32_t handlers)
{
	uint64_t left, max_ns;
	int64_t ret;

	do {
		bool is_in = crowd_enter();

		left = time_left(clock, deadline);
		max_ns = deadline && clock != CLOCK_MONOTONIC
				 ? RELOOK_NS
				 : DIPC_TIMEOUT_NONE;
		if (!is_in) {
			max_ns = 0;
			if (nap(left < CROWD_NAP_NS ? left : CROWD_NAP_NS))
				return ticket_withdraw(ticket) ? 0 : -EINTR;
		}
		ret = ticket_sleep_part(ticket, left, max_ns, handlers);
		if (is_in)
			crowd_leave();
	} while (ret == -ETIMEDOUT && left > max_ns);
	return ret;
}

int dipc_futex_wait_bitset(_Atomic uint32_t *word, uint32_t expected,
			   clockid_t clock, const struct timespec *deadline,
			   uint32_t bitset)
{
	struct dipc_slot_call call = {.call = DIPC_CALL_FUTEX_REGISTER,
				      .is_interruptible = true,
				      .handlers = dipc_handlers_run()};
	int64_t ticket, ret;

	if (deadline && (deadline->tv_sec < 0 || deadline->tv_nsec < 0 ||
			 (uint64_t)deadline->tv_nsec >= SECOND_NS ||
			 (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC)))
		return -EINVAL;
	if ((uintptr_t)word % sizeof(*word))
		return -EINVAL;
	if (!futex_place(word, &call))
		return kernel_wait(word, expected, clock, deadline, bitset);
	if (atomic_load_explicit(word, memory_order_seq_cst) != expected)
		return -EAGAIN;
	call.args.futex.bitset = bitset;
	ticket = futex_call(&call);
	if (ticket == -EINTR)
		return -EINTR;
	if (ticket < 0) {
		/*
		 * The segment's home or dipcd is gone, or short of memory: let
		 * the caller look at the word, and meet what there is.
		 */
		(void)nap(NAP_NS);
		return 0;
	}
	if (atomic_load_explicit(word, memory_order_seq_cst) != expected)
		return ticket_withdraw((uint64_t)ticket) ? 0 : -EAGAIN;
	ret = ticket_sleep((uint64_t)ticket, clock, deadline, call.handlers);
	/* otherwise woken, or the ticket went with its connection */
	return ret == -ETIMEDOUT || ret == -EINTR ? (int)ret : 0;
}

int dipc_futex_wait(_Atomic uint32_t *word, uint32_t expected, clockid_t clock,
		    const struct timespec *deadline)
{
	return dipc_futex_wait_bitset(word, expected, clock, deadline,
				      FUTEX_BITSET_MATCH_ANY);
}

int dipc_futex_wake_bitset(_Atomic uint32_t *word, unsigned nr, uint32_t bitset)
{
	struct dipc_slot_call call = {.call = DIPC_CALL_FUTEX_WAKE};
	int64_t ret;

	if (nr > INT32_MAX)
		nr = INT32_MAX;
	if ((uintptr_t)word % sizeof(*word))
		return -EINVAL;
	if (!futex_place(word, &call))
		return (int)dipc_sys_futex(word, FUTEX_WAKE_BITSET, nr, NULL,
					   NULL, bitset);
	call.args.futex.nr = nr;
	call.args.futex.bitset = bitset;
	ret = futex_call(&call);
	/* no home: its waiters were sent to look, all of them */
	return ret == -ENOLINK ? 0 : (int)ret;
}

int dipc_futex_wake(_Atomic uint32_t *word, unsigned nr)
{
	return dipc_futex_wake_bitset(word, nr, FUTEX_BITSET_MATCH_ANY);
}
