/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory ordering: `found` is published with RELEASE and read with ACQUIRE;
 * two threads that find it at once store the same.
 */
#include "runtime/client/next.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

#include "runtime/base/sys.h"

#define NOWHERE 1u /* looked for in vain */

static uintptr_t next_look(const struct dipc_next *next)
{
	void *sym = dlsym(RTLD_NEXT, next->name);
	void *library;

	/* a plugin's library may be loaded, but not for everybody to see */
	if (!sym && next->library) {
		library = dlopen(next->library, RTLD_LAZY | RTLD_NOLOAD);
		if (library)
			sym = dlsym(library, next->name);
	}
	return sym ? (uintptr_t)sym : NOWHERE;
}

void *dipc_next_find(struct dipc_next *next)
{
	uintptr_t found =
		atomic_load_explicit(&next->found, memory_order_acquire);
	int saved, tid;

	if (!found) {
		tid = dipc_sys_gettid();
		if (atomic_exchange_explicit(&next->finder, tid,
					     memory_order_relaxed) == tid)
			return NULL; /* called by dlsym */
		saved = errno;
		found = next_look(next);
		errno = saved;
		/* a library of its own may be loaded later: look again */
		if (found != NOWHERE || !next->library)
			atomic_store_explicit(&next->found, found,
					      memory_order_release);
		atomic_store_explicit(&next->finder, 0, memory_order_relaxed);
	}
	return found == NOWHERE ? NULL : (void *)found;
}
