/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What goes over TCP between a node and the referee: membership and key
 * look-up, nothing else. TLS 1.3 with the cluster's key; each message is a
 * 16-byte head and a fixed body, little endian. A node sends requests, each
 * with a tag; answers carry it back, in any order.
 */
#ifndef DIPC_BASE_LOOKUP_H
#define DIPC_BASE_LOOKUP_H

#include <assert.h>
#include <stdint.h>

#include "runtime/base/policy.h"

#define DIPC_LOOKUP_MAGIC   0x64707266u
#define DIPC_LOOKUP_VERSION 2u

enum dipc_lookup_type {
	DIPC_LOOKUP_JOIN = 1,
	DIPC_LOOKUP_LEAVE,
	DIPC_LOOKUP_GET,
	/*
	 * The creator's word on a new segment whose home memory is ready (or
	 * could not be had: status): only now others that asked for the key
	 * are answered.
	 */
	DIPC_LOOKUP_CREATED,
	DIPC_LOOKUP_REMOVE,
};

struct dipc_lookup_head {
	uint32_t magic;
	uint16_t version;
	uint16_t type;
	uint32_t tag;
	uint32_t body_len;
};

static_assert(sizeof(struct dipc_lookup_head) == 16, "wire");

struct dipc_lookup_join {
	uint32_t node; /* wanted id, 0: any */
	uint32_t reserved;
	char transport[16];
	char address[128];
	char name[64];
};

struct dipc_lookup_joined {
	int32_t status;
	uint32_t node;
	uint32_t incarnation;
	uint32_t reserved;
	uint8_t ticket[16];
	/*
	 * What everyone checks tickets with; new with each start of the
	 * referee. A ticket is the first 16 bytes of HMAC-SHA256(secret, node
	 * as u32 | incarnation as u32).
	 */
	uint8_t secret[32];
	char arena_address[128]; /* of the referee's transport */
	uint32_t heartbeat_ms;
	uint32_t dead_ms;
};

struct dipc_lookup_get {
	uint32_t kind; /* enum dipc_kind */
	int32_t key;
	uint32_t flags; /* IPC_CREAT, IPC_EXCL and the 9 mode bits */
	uint32_t uid, gid, pid;
	uint64_t size;             /* bytes, or semaphores */
	struct dipc_policy policy; /* segments; nothing is left open */
};

/*
 * 0 and the id; must_create: the asker is the creator of a segment, allocates
 * its memory and sends CREATED. -ENOENT, -EEXIST, -ENOSPC, -EINVAL (beyond
 * limits), -ENOMEM. Size and permission of an existing object are for the
 * asking node to check in the object's slot.
 */
struct dipc_lookup_got {
	int32_t status;
	int32_t id;
	uint32_t must_create;
	uint32_t is_new; /* this request made it */
};

struct dipc_lookup_created {
	int32_t id;
	int32_t status;
	uint32_t nr_pages;
	uint32_t reserved;
};

struct dipc_lookup_remove {
	int32_t id;
	uint32_t reserved;
};

/* The answer to LEAVE, CREATED and REMOVE. */
struct dipc_lookup_status {
	int32_t status;
	uint32_t reserved;
};

#endif
