/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/pthread_real.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

/*
 * Neither dlsym nor dlvsym allocates or locks through our symbols when it
 * finds the name, and all of these are in every libc that we load with.
 */
static void *find(const char *name, const char *version)
{
	return version ? dlvsym(RTLD_NEXT, name, version)
		       : dlsym(RTLD_NEXT, name);
}

#define DEFINE(name, version, params, args)                                    \
	static int first_##name params                                         \
	{                                                                      \
		int(*real) params;                                             \
		void *sym = find(#name, version);                              \
                                                                               \
		if (!sym)                                                      \
			return ENOSYS;                                         \
		__builtin_memcpy(&real, &sym, sizeof(sym));                    \
		atomic_store_explicit(&dipc_real_##name, real,                 \
				      memory_order_relaxed);                   \
		return real args;                                              \
	}                                                                      \
	int(*_Atomic dipc_real_##name) params = first_##name;
DIPC_PTHREAD_ALL(DEFINE)
