/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Is this the process that it was? libc's fork runs handlers in the child; a
 * fork by system call, _Fork() or clone() does not. A page that the kernel
 * wipes in every child that gets a copy of the memory tells all of them.
 *
 * Memory ordering, BORN: the word is 0 in a new child, 1 when somebody has made
 * it a process of its own (RELEASE, read ACQUIRE), 2 while somebody does.
 */
#ifndef DIPC_CLIENT_BORN_H
#define DIPC_CLIENT_BORN_H

#include <stdbool.h>

/* From now on this process is known. Without memory for it: nothing. */
void dipc_born_here(void);
/* False in a child that nobody has told that it is one. A load. */
bool dipc_born_is_here(void);
/*
 * In such a child: true for the one thread that is to set things right and then
 * calls dipc_born_here(); false when another has.
 */
bool dipc_born_claim(void);

#endif
