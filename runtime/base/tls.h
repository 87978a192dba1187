/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A TLS 1.3 stream of look-up messages on the loop, either side of it: both
 * ends prove that they hold the cluster's key (PSK with an ephemeral
 * Diffie-Hellman, so a key stolen later opens no recorded session).
 *
 * Nothing is sent but what dipc_tls_send() is given: no keepalive, no session
 * ticket, no renegotiation.
 *
 * Loop thread only. Callbacks run from the loop, never inside a call; any of
 * them may call dipc_tls_destroy().
 */
#ifndef DIPC_BASE_TLS_H
#define DIPC_BASE_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/lookup.h"
#include "runtime/base/loop.h"
#include "runtime/base/ticket.h"

#define DIPC_TLS_BODY_MAX     512u
#define DIPC_TLS_HANDSHAKE_NS (5 * DIPC_SEC)

struct dipc_tls;

struct dipc_tls_events {
	/* The peer holds the key; frames may be sent. */
	void (*ready)(void *arg);
	/*
	 * One message; magic, version and length are checked. BODY is
	 * head->body_len bytes, aligned to 8, gone when this returns.
	 */
	void (*frame)(void *arg, const struct dipc_lookup_head *head,
		      const void *body);
	/*
	 * The last callback, once; only dipc_tls_destroy() may follow.
	 * Before ready: -ECONNREFUSED and other errors of connect(),
	 * -EKEYREJECTED (the keys differ), -ETIMEDOUT (DIPC_TLS_HANDSHAKE_NS).
	 * Any time: 0 (the peer closed), -EPROTO (it does not speak this
	 * protocol), -ENOBUFS (it does not read), -ECONNRESET and the like.
	 */
	void (*closed)(void *arg, int reason);
};

/* Bytes that went over TCP, TLS's own included. */
struct dipc_tls_counters {
	uint64_t tx_bytes, rx_bytes;
};

/*
 * FD is a non-blocking TCP socket, connected or connecting; it belongs to the
 * stream once this returned 0. EVENTS is borrowed. 0 or -errno.
 */
int dipc_tls_create(struct dipc_loop *loop, int fd, bool is_server,
		    const uint8_t key[DIPC_KEY_LEN],
		    const struct dipc_tls_events *events, void *arg,
		    struct dipc_tls **tls_out);
/* Says good-bye if it can without waiting, and closes. Takes NULL. */
void dipc_tls_destroy(struct dipc_tls *tls);
/*
 * Queue one message. Never waits; a failure shows as closed(). -ENOTCONN
 * before ready and after a failure, -EMSGSIZE, -ENOBUFS.
 */
int dipc_tls_send(struct dipc_tls *tls, uint16_t type, uint32_t tag,
		  const void *body, size_t len);
const struct dipc_tls_counters *dipc_tls_counters(const struct dipc_tls *tls);
/* What GnuTLS said about the failure, for the log; "" if nothing. */
const char *dipc_tls_error(const struct dipc_tls *tls);

#endif
