/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DIPC_FAULTS=signal: faults in attached segments raise SIGBUS in the thread,
 * and our handler asks dipcd itself. docs/design/faults.md.
 */
#ifndef DIPC_CLIENT_FAULT_H
#define DIPC_CLIENT_FAULT_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Does the environment ask for it? A handler may ask. */
bool dipc_fault_is_wanted(void);

/* Our handler is in front of the program's: from the first attachment on. */
extern _Atomic bool dipc_fault_is_on;
static inline bool dipc_fault_is_installed(void)
{
	return atomic_load_explicit(&dipc_fault_is_on, memory_order_acquire);
}
/* With the connection's lock; again and again does no harm. 0 or -errno. */
int dipc_fault_install(void);

/*
 * Have dipcd bring the page of ADDR, to be read or written, as if a thread had
 * touched it. 0: it was there a moment ago; -EFAULT: it is lost; -ESRCH: none
 * of ours. Any thread, any handler.
 */
int dipc_fault_ask(const void *addr, bool is_write);
/*
 * After a system call said EFAULT of ADDR: is it worth to do it again? The page
 * is fetched. False: it is not one of ours, or lost, or the mode is another.
 */
bool dipc_fault_retry(const void *addr, bool is_write);

/* sigaction(SIGBUS), once we are installed: of the program's own. */
void dipc_fault_sigaction(const struct sigaction *act, struct sigaction *old);

/* ---- tag.c: who the child of a fork is ------------------------------------ */

/* A page for a new userfaultfd, or NULL. With the lock, as all here. */
void *dipc_tag_create(void);
void dipc_tag_keep(void *tag);
void dipc_tag_destroy(void *tag);
/* The child of a fork: its tags are to be shown. */
void dipc_tag_after_fork(void);
/* Are there any that have not been? */
bool dipc_tag_is_due(void);
/* Show them: 0, or -ESRCH: none is good. */
int dipc_tag_show(void);

#endif
