/* SPDX-License-Identifier: BSD-2-Clause */
/* Mutexes, for the files that lock one in passing. 0 or an errno value. */
#ifndef DIPC_CLIENT_PTHREAD_MUTEX_H
#define DIPC_CLIENT_PTHREAD_MUTEX_H

#include <pthread.h>

/* Whosever M is. */
int dipc_pthread_mutex_lock(pthread_mutex_t *m);
int dipc_pthread_mutex_unlock(pthread_mutex_t *m);

#endif
