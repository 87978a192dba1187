/* SPDX-License-Identifier: BSD-2-Clause */
/* What a back end implements. Each entry is as transport.h says of its namesake. */
#ifndef DIPC_TRANSPORT_OPS_H
#define DIPC_TRANSPORT_OPS_H

#include "transport/transport.h"

struct dipc_transport_ops {
	const char *kind;
	int (*create)(const struct dipc_transport_config *config,
		      struct dipc_transport **t_out);
	void (*destroy)(struct dipc_transport *t);
	unsigned (*poll)(struct dipc_transport *t, unsigned budget);
	int (*arm)(struct dipc_transport *t);
	int (*region_create)(struct dipc_transport *t, const char *path,
			     size_t len, struct dipc_region **region_out);
	void (*region_destroy)(struct dipc_region *region);
	int (*connect)(struct dipc_transport *t, const char *address,
		       const void *hello, size_t hello_len,
		       struct dipc_conn **conn_out);
	void (*close)(struct dipc_conn *conn);
	int (*post)(struct dipc_conn *conn, const struct dipc_wr *wr,
		    unsigned nr, struct dipc_op *op);
};

/* Heads each back end's own struct. */
struct dipc_transport {
	const struct dipc_transport_ops *ops;
	const struct dipc_transport_events *events; /* borrowed */
	void *arg;
	struct dipc_limits limits;
	char address[128];
	int fd;
};

struct dipc_conn {
	struct dipc_transport *transport; /* borrowed */
	void *user;
};

/*
 * Make a further kind known: transport/sim/, which only tests and tools link.
 * Again is no error. 0 or -ENOSPC.
 */
int dipc_transport_add(const struct dipc_transport_ops *ops);

extern const struct dipc_transport_ops dipc_shm_ops;
extern const struct dipc_transport_ops dipc_verbs_ops;

#endif
