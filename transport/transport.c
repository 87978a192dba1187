/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Picks the back end, and checks what is the same for all of them: a back
 * end's post() sees only requests whose local side is sound.
 */
#include "transport/transport.h"

#include <errno.h>
#include <string.h>

#include "runtime/base/log.h"
#include "transport/ops.h"

#define PEER_TIMEOUT_MS 1000

static const struct dipc_transport_ops *kinds[3] = {
	&dipc_shm_ops,
	&dipc_verbs_ops,
};

int dipc_transport_add(const struct dipc_transport_ops *ops)
{
	unsigned i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!kinds[i])
			kinds[i] = ops;
		if (kinds[i] == ops)
			return 0;
	}
	return -ENOSPC;
}

int dipc_transport_create(const struct dipc_transport_config *config,
			  struct dipc_transport **t_out)
{
	const struct dipc_transport_events *ev = config->events;
	struct dipc_transport_config cfg = *config;
	unsigned i;

	if (!cfg.kind || !cfg.listen || !ev || !ev->accept ||
	    !ev->established || !ev->imm || !ev->closed)
		return -EINVAL;
	if (!cfg.peer_timeout_ms)
		cfg.peer_timeout_ms = PEER_TIMEOUT_MS;
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i] && !strcmp(kinds[i]->kind, cfg.kind))
			return kinds[i]->create(&cfg, t_out);
	dipc_error("no transport is called '%s'", cfg.kind);
	return -EINVAL;
}

void dipc_transport_destroy(struct dipc_transport *t)
{
	if (t)
		t->ops->destroy(t);
}

const char *dipc_transport_address(const struct dipc_transport *t)
{
	return t->address;
}

const struct dipc_limits *dipc_transport_limits(const struct dipc_transport *t)
{
	return &t->limits;
}

unsigned dipc_transport_poll(struct dipc_transport *t, unsigned budget)
{
	return t->ops->poll(t, budget);
}

int dipc_transport_fd(const struct dipc_transport *t)
{
	return t->fd;
}

int dipc_transport_arm(struct dipc_transport *t)
{
	return t->ops->arm(t);
}

int dipc_region_create(struct dipc_transport *t, const char *path, size_t len,
		       struct dipc_region **region_out)
{
	if (!len)
		return -EINVAL;
	return t->ops->region_create(t, path, len, region_out);
}

void dipc_region_destroy(struct dipc_region *region)
{
	if (region)
		region->transport->ops->region_destroy(region);
}

int dipc_conn_connect(struct dipc_transport *t, const char *address,
		      const void *hello, size_t hello_len,
		      struct dipc_conn **conn_out)
{
	if (!address || hello_len > DIPC_HELLO_MAX || (hello_len && !hello))
		return -EINVAL;
	return t->ops->connect(t, address, hello, hello_len, conn_out);
}

void dipc_conn_close(struct dipc_conn *conn)
{
	conn->transport->ops->close(conn);
}

void dipc_conn_set_user(struct dipc_conn *conn, void *user)
{
	conn->user = user;
}

void *dipc_conn_user(const struct dipc_conn *conn)
{
	return conn->user;
}

/* Everything about WR that can be known without the peer. */
static bool wr_is_sound(const struct dipc_conn *conn, const struct dipc_wr *wr)
{
	const struct dipc_region *region = wr->region;
	uintptr_t start;
	size_t len = 0;

	if (wr->flags & ~DIPC_WR_FENCE)
		return false;
	switch (wr->op) {
	case DIPC_WR_WRITE_IMM:
		if (!wr->len)
			return true; /* no data: no region either */
		len = wr->len;
		break;
	case DIPC_WR_READ:
	case DIPC_WR_WRITE:
		len = wr->len;
		break;
	case DIPC_WR_CAS:
	case DIPC_WR_FAA:
		if (((uintptr_t)wr->local | wr->remote.addr) % 8)
			return false;
		len = 8;
		break;
	}
	if (!len || len > conn->transport->limits.max_len || !region ||
	    region->transport != conn->transport)
		return false;
	start = (uintptr_t)wr->local - (uintptr_t)region->base;
	return start <= region->len && len <= region->len - start;
}

int dipc_conn_post(struct dipc_conn *conn, const struct dipc_wr *wr,
		   unsigned nr, struct dipc_op *op)
{
	unsigned i;

	if (!nr || nr > conn->transport->limits.max_chain)
		return -EINVAL;
	for (i = 0; i < nr; i++)
		if (!wr_is_sound(conn, &wr[i]))
			return -EINVAL;
	return conn->transport->ops->post(conn, wr, nr, op);
}
