/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Functions behind ours that are called all the time and from everywhere, by
 * allocators before main too: found one by one at their first call. One that
 * is called while it is being looked for (dlsym may allocate), or that nobody
 * has, is NULL: then the system call itself is made.
 */
#ifndef DIPC_CLIENT_NEXT_H
#define DIPC_CLIENT_NEXT_H

#include <stdatomic.h>
#include <stdint.h>

struct dipc_next {
	const char *name;
	const char *library; /* where else to look, if it is loaded */
	_Atomic uintptr_t found;
	_Atomic int finder; /* tid */
};

/* The function, or NULL. errno untouched. */
void *dipc_next_find(struct dipc_next *next);

/* NULL or the function, as TYPE. */
#define DIPC_NEXT(next, type)                                                  \
	({                                                                     \
		void *sym_ = dipc_next_find(next);                             \
		type fn_;                                                      \
		__builtin_memcpy(&fn_, &sym_, sizeof(fn_));                    \
		fn_;                                                           \
	})

#endif
