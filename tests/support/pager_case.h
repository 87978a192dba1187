/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A case of the pager's tests: engines (pager_engine.h) and clients, forked
 * processes that map the segment. Uses cmocka, and ends a case that cannot go
 * on. case_start, engines_start, client_start..., clients_await, case_end.
 */
#ifndef DIPC_TESTS_PAGER_CASE_H
#define DIPC_TESTS_PAGER_CASE_H

#include <stdio.h>
#include <unistd.h>

#include "tests/support/pager_engine.h"

/* ---- the test's own process --------------------------------------------- */

extern struct pager_shared *sh; /* of this case */
extern pid_t client_pid[MAX_CLIENTS];
extern pid_t engine_pid[NR_NODES + 1];

/* Can the pager work here at all? Says why not. */
bool pager_is_usable(void);
void case_start(void);
/* Clients 0..NR-1 on these nodes; engines of nodes up to the highest. */
void engines_start(const unsigned *nodes, unsigned nr, uint64_t hold_ns);
void client_start(void (*fn)(void));
/* A pid that is 0 is not waited for. */
void clients_await(void);
/* After the clients have ended. */
void engines_end(void);
/* The same, and SH goes. */
void case_end(void);

/* ---- in a client -------------------------------------------------------- */

extern unsigned me; /* this client's number */

/* A failure cannot be reported by cmocka here: end the process. */
#define CLIENT_MUST(cond)                                                      \
	do {                                                                   \
		if (!(cond)) {                                                 \
			fprintf(stderr, "client %u, line %d: %s: %m\n", me,    \
				__LINE__, #cond);                              \
			_exit(1);                                              \
		}                                                              \
	} while (0)

/* Map the segment as a client of dipcd would. */
uint8_t *attach(bool is_readonly);

/* In either. */
void await_phase(unsigned phase);

#endif
