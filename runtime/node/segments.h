/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shared memory as clients see it: attaching and detaching, what that does to
 * the object in the arena, and the segments at home here.
 */
#ifndef DIPC_NODE_SEGMENTS_H
#define DIPC_NODE_SEGMENTS_H

#include "runtime/node/client.h"
#include "runtime/node/space.h"
#include "runtime/protocol/homes.h"

/* node->fabric must be there. Sets node->segments. */
int dipc_segments_create(struct dipc_node *node);
/* Give every page back, or give up after a while. Fiber. */
void dipc_segments_drain(struct dipc_node *node);

struct dipc_pages *dipc_segments_pages(struct dipc_segments *segments);
struct dipc_spaces *dipc_segments_spaces(struct dipc_segments *segments);

/* Socket messages of CLIENT; they answer it. FD becomes ours. */
void dipc_segments_faults(struct dipc_client *client,
			  const struct dipc_sock_msg *msg, int fd);
void dipc_segments_faults_tag(struct dipc_client *client,
			      const struct dipc_sock_msg *msg);
void dipc_segments_attach(struct dipc_client *client,
			  const struct dipc_sock_msg *msg);
void dipc_segments_mapped(struct dipc_client *client,
			  const struct dipc_sock_msg *msg);
/* CLIENT is closed: what it was about to attach is not. */
void dipc_segments_forget(struct dipc_client *client);

struct dipc_homes *dipc_segments_homes(struct dipc_segments *segments);
/*
 * This node creates segment ID of SIZE bytes: the referee's word for it. Fiber.
 * 0, -ENOMEM, -ENOLINK.
 */
int dipc_segments_created(struct dipc_node *node, int32_t id, uint64_t size);
/* Bytes of segment ID that this node's cache holds. */
uint64_t dipc_segments_rss(struct dipc_node *node, int32_t id);

#endif
