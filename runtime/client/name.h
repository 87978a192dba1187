/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages by which the child of a fork names itself to dipcd: see name.c. */
#ifndef DIPC_CLIENT_NAME_H
#define DIPC_CLIENT_NAME_H

/* A page for a new userfaultfd, or NULL. With the connection's lock, as all. */
void *dipc_name_create(void);
/* dipcd has taken it: children will write it. */
void dipc_name_keep(void *name);
/* It has not. */
void dipc_name_destroy(void *name);
/* In the child of a fork: name it. Blocks until dipcd knows. */
void dipc_name_after_fork(void);

#endif
