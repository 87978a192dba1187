/* SPDX-License-Identifier: BSD-2-Clause */
/* What the harness's own files share; cases use case.h. */
#ifndef DIPC_TESTS_CONFORMANCE_INTERNAL_H
#define DIPC_TESTS_CONFORMANCE_INTERNAL_H

#include "tests/conformance/case.h"

/* The actor's end of its socket, inherited over `dipc run`. */
#define ACTOR_FD 40

/* Functions travel as their distance from this one: both ends are one file. */
struct actor_request {
	int64_t fn;
	uint64_t len;
};

struct actor_reply {
	int64_t ret;
	int32_t err;
	uint32_t len;
};

/* Serves requests until the driver's end is closed. */
int actor_main(void);
long op_nothing(void *blob, size_t len);
long op_exit(void *blob, size_t len);
long op_exec(void *blob, size_t len);
long op_catch(void *blob, size_t len);
long op_caught(void *blob, size_t len);

#define NR_OBJECTS 1024

/* Driver and supervisor share this: it outlives a driver that died. */
struct run_state {
	key_t keys; /* KEY(0) */
	int nr_objects;
	struct {
		enum object_kind kind;
		int id;
	} objects[NR_OBJECTS];
};
extern struct run_state *run_state;

/* Prints to stdout, or holds it back for until(). */
void out_flush(void);
/* Names of cases begin anew. */
void names_begin(void);

#endif
