/* SPDX-License-Identifier: BSD-2-Clause */
/* Time as protocols see it, so that a simulation can supply its own. */
#ifndef DIPC_BASE_CLOCK_H
#define DIPC_BASE_CLOCK_H

#include <stdint.h>

#define DIPC_NEVER UINT64_MAX
#define DIPC_USEC  1000ull
#define DIPC_MSEC  1000000ull
#define DIPC_SEC   1000000000ull

struct dipc_clock {
	uint64_t (*mono_ns)(struct dipc_clock *clock);
	int64_t (*wall_s)(struct dipc_clock *clock); /* seconds since 1970 */
};

/* CLOCK_MONOTONIC and CLOCK_REALTIME; static, never freed. */
struct dipc_clock *dipc_clock_system(void);

static inline uint64_t dipc_now(struct dipc_clock *clock)
{
	return clock->mono_ns(clock);
}

#endif
