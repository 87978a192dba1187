/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>

#include "runtime/base/sys.h"

/* The kernel's, shared: by the page of the mapped file. */
static int64_t kernel_futex(_Atomic uint32_t *word, int op, uint32_t val,
			    const struct timespec *deadline)
{
	return dipc_sys_futex(word, op, val, deadline, NULL,
			      FUTEX_BITSET_MATCH_ANY);
}

int dipc_futex_wait(_Atomic uint32_t *word, uint32_t expected, clockid_t clock,
		    const struct timespec *deadline)
{
	int op = FUTEX_WAIT_BITSET;

	if (deadline && clock == CLOCK_REALTIME)
		op |= FUTEX_CLOCK_REALTIME;
	else if (deadline && clock != CLOCK_MONOTONIC)
		return -EINVAL;
	return (int)kernel_futex(word, op, expected, deadline);
}

int dipc_futex_wake(_Atomic uint32_t *word, unsigned nr)
{
	if (nr > INT32_MAX)
		nr = INT32_MAX;
	return (int)kernel_futex(word, FUTEX_WAKE, nr, NULL);
}
