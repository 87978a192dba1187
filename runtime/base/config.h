/* SPDX-License-Identifier: BSD-2-Clause */
/* /etc/dipc.conf: one file for referee, dipcd, library and command. */
#ifndef DIPC_BASE_CONFIG_H
#define DIPC_BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/policy.h"

#define DIPC_CONF_DEFAULT "/etc/dipc.conf"

/* [segment LABEL], and [segments] (without label and keys). */
struct dipc_segment_rule {
	char *label; /* owned */
	uint32_t first, last;
	unsigned seen; /* settings met so far */
	struct dipc_policy policy;
};

/* Strings are owned by the struct. docs/man/dipc.conf.5.md lists every key. */
struct dipc_config {
	/* [cluster] */
	char *referee;   /* "HOST:PORT" of its TCP port */
	char *key_file;  /* the cluster's key: hex, made by `dipc up` or
			    `dipc key`; mode 0600 */
	char *transport; /* "verbs" or "shm" */
	unsigned peer_timeout_ms;
	/* [node] */
	unsigned node;           /* 1..40; 0: the referee picks */
	char *socket;            /* dipcd's Unix socket */
	char *address;           /* what the node's transport listens on */
	unsigned spin_us;        /* engine polls this long before it sleeps */
	unsigned hold_us;        /* a node keeps a page at least this long */
	unsigned prefetch_pages; /* ahead of a stream at most; 0: none */
	uint64_t cache_size;     /* bytes of shared pages here; 0: no limit */
	bool noreserve_is_dipc;
	/* [referee] */
	char *referee_address; /* what its transport listens on */
	char *arena_file;      /* NULL: anonymous */
	uint64_t arena_size;   /* bytes */
	unsigned nr_objects;   /* slots */
	/* [segments], [segment LABEL] in the order of the file */
	struct dipc_segment_rule segments;
	struct dipc_segment_rule *rules; /* owned */
	unsigned nr_rules;
	/* [limits] */
	uint64_t shmmax; /* bytes */
	uint64_t shmall; /* pages */
	unsigned shmmni;
	unsigned semmsl, semmns, semopm, semmni;
	unsigned msgmax, msgmnb, msgmni;
};

/*
 * Fill CONF with defaults, then from PATH. 0, or -errno with one line in ERR
 * (SIZE bytes) naming file, line, setting and cause. A missing file is
 * -ENOENT. Unknown sections, keys and values out of range are errors.
 */
int dipc_config_load(const char *path, struct dipc_config *conf, char *err,
		     unsigned size);
/*
 * Complete POLICY for a new segment with KEY: what it does not say the first
 * rule for the key does that has it, then [segments], then the default.
 */
void dipc_config_policy(const struct dipc_config *conf, int32_t key,
			struct dipc_policy *policy);
/* $DIPC_CONF, else DIPC_CONF_DEFAULT. */
const char *dipc_config_path(void);
void dipc_config_fini(struct dipc_config *conf);

#endif
