/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/base/clock.h"

#include <time.h>

static uint64_t system_mono_ns(struct dipc_clock *clock)
{
	struct timespec ts;

	(void)clock;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * DIPC_SEC + (uint64_t)ts.tv_nsec;
}

static int64_t system_wall_s(struct dipc_clock *clock)
{
	struct timespec ts;

	(void)clock;
	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	return ts.tv_sec;
}

struct dipc_clock *dipc_clock_system(void)
{
	static struct dipc_clock clock = {system_mono_ns, system_wall_s};

	return &clock;
}
