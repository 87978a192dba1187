/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/base/tls.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TLS_IDENTITY "dipc"
/* More than that unread by the peer, and it is given up. */
#define TLS_OUT_MAX (256u * 1024u)
#define TLS_IN_MAX  (sizeof(struct dipc_lookup_head) + DIPC_TLS_BODY_MAX)
/* Suites whose hash is SHA-256: that of an external key's binder. */
#define TLS_PRIORITY                                                           \
	"NONE:+VERS-TLS1.3:+DHE-PSK:+AES-128-GCM:+CHACHA20-POLY1305:"          \
	"+AEAD:+GROUP-X25519:+GROUP-SECP256R1:+SIGN-ALL:+COMP-NULL:"           \
	"+CTYPE-SRV-X509:+CTYPE-CLI-X509"

enum tls_state {
	TLS_CONNECTING, /* client: TCP's handshake */
	TLS_SHAKING,
	TLS_OPEN,
	TLS_FAILED, /* closed() is due, or has run */
};

struct dipc_tls {
	struct dipc_loop *loop; /* borrowed */
	const struct dipc_tls_events *events;
	void *arg;
	struct dipc_watch watch; /* watch.fd is owned */
	uint32_t watched;        /* events the loop watches for */
	bool is_watched;
	struct dipc_timer timer; /* handshake deadline, then closed() */
	gnutls_session_t session;
	gnutls_psk_server_credentials_t server_cred;
	gnutls_psk_client_credentials_t client_cred;
	uint8_t key[DIPC_KEY_LEN];
	bool is_server;
	enum tls_state state;
	int reason; /* of TLS_FAILED */
	int gnutls_error;
	bool is_dispatching; /* inside our own callback from the loop */
	bool is_destroyed;   /* then: free when that returns */
	struct dipc_tls_counters counters;
	/* not yet taken by GnuTLS, and how much of it is being sent */
	uint8_t *out; /* owned */
	size_t out_len, out_cap, out_pending;
	size_t in_len;
	_Alignas(8) uint8_t in[TLS_IN_MAX];
};

static_assert(sizeof(struct dipc_lookup_head) % 8 == 0, "bodies are aligned");

/* ---- what GnuTLS calls -------------------------------------------------- */

static ssize_t tls_push(gnutls_transport_ptr_t ptr, const void *data,
			size_t len)
{
	struct dipc_tls *tls = ptr;
	ssize_t n = send(tls->watch.fd, data, len, MSG_NOSIGNAL);

	if (n > 0)
		tls->counters.tx_bytes += (uint64_t)n;
	else if (n < 0)
		gnutls_transport_set_errno(tls->session, errno);
	return n;
}

static ssize_t tls_pull(gnutls_transport_ptr_t ptr, void *data, size_t len)
{
	struct dipc_tls *tls = ptr;
	ssize_t n = recv(tls->watch.fd, data, len, 0);

	if (n > 0)
		tls->counters.rx_bytes += (uint64_t)n;
	else if (n < 0)
		gnutls_transport_set_errno(tls->session, errno);
	return n;
}

static int tls_find_key(gnutls_session_t session, const char *name,
			gnutls_datum_t *key_out)
{
	struct dipc_tls *tls = gnutls_session_get_ptr(session);

	/* an unknown name gets a random key, so that both fail alike */
	key_out->data = gnutls_malloc(DIPC_KEY_LEN);
	if (!key_out->data)
		return -1;
	key_out->size = DIPC_KEY_LEN;
	if (!strcmp(name, TLS_IDENTITY)) {
		memcpy(key_out->data, tls->key, DIPC_KEY_LEN);
		return 0;
	}
	return gnutls_rnd(GNUTLS_RND_KEY, key_out->data, DIPC_KEY_LEN) ? -1 : 0;
}

/* ---- failing ------------------------------------------------------------ */

/* closed() runs from a timer: never inside the call that found the failure. */
static void tls_fail(struct dipc_tls *tls, int reason)
{
	struct dipc_sched *sched = dipc_loop_sched(tls->loop);

	if (tls->state == TLS_FAILED)
		return;
	tls->state = TLS_FAILED;
	tls->reason = reason;
	if (tls->is_watched) {
		dipc_loop_unwatch(tls->loop, &tls->watch);
		tls->is_watched = false;
	}
	dipc_timer_set(sched, &tls->timer, dipc_sched_now(sched));
}

static bool is_key_alert(gnutls_alert_description_t alert)
{
	return alert == GNUTLS_A_ILLEGAL_PARAMETER ||
	       alert == GNUTLS_A_DECRYPT_ERROR ||
	       alert == GNUTLS_A_UNKNOWN_PSK_IDENTITY;
}

/* An error of GnuTLS as ours. */
static int tls_reason(struct dipc_tls *tls, int error)
{
	bool is_shaking = tls->state == TLS_SHAKING;

	tls->gnutls_error = error;
	switch (error) {
	case GNUTLS_E_PREMATURE_TERMINATION:
		return is_shaking ? -EPROTO : -ECONNRESET;
	case GNUTLS_E_PULL_ERROR:
	case GNUTLS_E_PUSH_ERROR:
		return -ECONNRESET;
	case GNUTLS_E_FATAL_ALERT_RECEIVED:
		if (is_shaking && is_key_alert(gnutls_alert_get(tls->session)))
			return -EKEYREJECTED;
		return -EPROTO;
	case GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER:
	case GNUTLS_E_DECRYPTION_FAILED:
		/* what a server finds when the binder is of another key */
		return is_shaking && tls->is_server ? -EKEYREJECTED : -EPROTO;
	case GNUTLS_E_MEMORY_ERROR:
		return -ENOMEM;
	default:
		return -EPROTO;
	}
}

static bool is_passing(int error)
{
	return error == GNUTLS_E_AGAIN || error == GNUTLS_E_INTERRUPTED;
}

/* ---- moving bytes ------------------------------------------------------- */

static void tls_watch_for(struct dipc_tls *tls)
{
	uint32_t want = EPOLLIN;
	int ret;

	if (tls->state == TLS_FAILED)
		return;
	if (tls->state == TLS_CONNECTING || tls->out_len ||
	    (tls->state == TLS_SHAKING &&
	     gnutls_record_get_direction(tls->session)))
		want |= EPOLLOUT;
	if (tls->is_watched && want == tls->watched)
		return;
	ret = tls->is_watched ? dipc_loop_rewatch(tls->loop, &tls->watch, want)
			      : dipc_loop_watch(tls->loop, &tls->watch, want);
	if (ret) {
		tls_fail(tls, ret);
		return;
	}
	tls->is_watched = true;
	tls->watched = want;
}

static void tls_flush(struct dipc_tls *tls)
{
	while (tls->out_len && tls->state == TLS_OPEN) {
		ssize_t n;

		/* a record that GnuTLS has begun is continued with (NULL, 0) */
		if (tls->out_pending)
			n = gnutls_record_send(tls->session, NULL, 0);
		else
			n = gnutls_record_send(tls->session, tls->out,
					       tls->out_len);
		if (n < 0 && is_passing((int)n)) {
			if (!tls->out_pending)
				tls->out_pending = tls->out_len;
			return;
		}
		if (n < 0) {
			tls_fail(tls, tls_reason(tls, (int)n));
			return;
		}
		tls->out_pending = 0;
		tls->out_len -= (size_t)n;
		memmove(tls->out, tls->out + n, tls->out_len);
	}
}

/* 0: a frame is whole. -EAGAIN: more bytes wanted. -EPROTO. */
static int frame_check(const struct dipc_tls *tls, size_t *need_out)
{
	struct dipc_lookup_head head;

	*need_out = sizeof(head);
	if (tls->in_len < sizeof(head))
		return -EAGAIN;
	memcpy(&head, tls->in, sizeof(head));
	if (head.magic != DIPC_LOOKUP_MAGIC ||
	    head.version != DIPC_LOOKUP_VERSION ||
	    head.body_len > DIPC_TLS_BODY_MAX)
		return -EPROTO;
	*need_out += head.body_len;
	return tls->in_len < *need_out ? -EAGAIN : 0;
}

static void tls_receive(struct dipc_tls *tls)
{
	struct dipc_lookup_head head;
	size_t need;
	ssize_t n;
	int ret;

	while (tls->state == TLS_OPEN && !tls->is_destroyed) {
		ret = frame_check(tls, &need);
		if (ret == -EPROTO) {
			tls_fail(tls, ret);
			return;
		}
		if (ret == 0) {
			memcpy(&head, tls->in, sizeof(head));
			tls->in_len = 0;
			tls->events->frame(tls->arg, &head,
					   tls->in + sizeof(head));
			continue;
		}
		/* never more than this frame: IN needs no moving */
		n = gnutls_record_recv(tls->session, tls->in + tls->in_len,
				       need - tls->in_len);
		if (n < 0 && is_passing((int)n))
			return;
		if (n <= 0) {
			tls_fail(tls, n ? tls_reason(tls, (int)n) : 0);
			return;
		}
		tls->in_len += (size_t)n;
	}
}

static void tls_shake(struct dipc_tls *tls)
{
	int ret = gnutls_handshake(tls->session);

	if (ret < 0 && !gnutls_error_is_fatal(ret))
		return;
	if (ret < 0) {
		int reason = tls_reason(tls, ret);

		/* so that the peer learns why; it may be lost */
		if (ret != GNUTLS_E_FATAL_ALERT_RECEIVED &&
		    reason != -ECONNRESET)
			(void)gnutls_alert_send_appropriate(tls->session, ret);
		tls_fail(tls, reason);
		return;
	}
	dipc_timer_cancel(&tls->timer);
	tls->state = TLS_OPEN;
	tls->events->ready(tls->arg);
}

static void tls_connected(struct dipc_tls *tls, uint32_t events)
{
	socklen_t len = sizeof(int);
	int error = 0;

	if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		return;
	if (getsockopt(tls->watch.fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	if (error)
		tls_fail(tls, -error);
	else
		tls->state = TLS_SHAKING;
}

static void tls_free(struct dipc_tls *tls)
{
	gnutls_deinit(tls->session);
	if (tls->server_cred)
		gnutls_psk_free_server_credentials(tls->server_cred);
	if (tls->client_cred)
		gnutls_psk_free_client_credentials(tls->client_cred);
	close(tls->watch.fd);
	gnutls_memset(tls->key, 0, sizeof(tls->key));
	free(tls->out);
	free(tls);
}

static void tls_leave(struct dipc_tls *tls)
{
	tls->is_dispatching = false;
	if (tls->is_destroyed)
		tls_free(tls);
	else
		tls_watch_for(tls);
}

static void tls_event(struct dipc_watch *watch, uint32_t events)
{
	struct dipc_tls *tls = dipc_container_of(watch, struct dipc_tls, watch);

	tls->is_dispatching = true;
	if (tls->state == TLS_CONNECTING)
		tls_connected(tls, events);
	if (tls->state == TLS_SHAKING)
		tls_shake(tls);
	if (tls->state == TLS_OPEN && !tls->is_destroyed) {
		tls_flush(tls);
		tls_receive(tls);
	}
	tls_leave(tls);
}

static void tls_timer(struct dipc_timer *timer)
{
	struct dipc_tls *tls = dipc_container_of(timer, struct dipc_tls, timer);

	if (tls->state != TLS_FAILED) {
		tls_fail(tls, -ETIMEDOUT);
		return;
	}
	tls->is_dispatching = true;
	tls->events->closed(tls->arg, tls->reason);
	tls_leave(tls);
}

/* ---- life --------------------------------------------------------------- */

static int tls_set_key(struct dipc_tls *tls)
{
	gnutls_datum_t key = {tls->key, DIPC_KEY_LEN};
	int ret;

	if (tls->is_server) {
		ret = gnutls_psk_allocate_server_credentials(&tls->server_cred);
		if (ret)
			return ret;
		gnutls_psk_set_server_credentials_function(tls->server_cred,
							   tls_find_key);
		return gnutls_credentials_set(tls->session, GNUTLS_CRD_PSK,
					      tls->server_cred);
	}
	ret = gnutls_psk_allocate_client_credentials(&tls->client_cred);
	if (ret)
		return ret;
	ret = gnutls_psk_set_client_credentials(tls->client_cred, TLS_IDENTITY,
						&key, GNUTLS_PSK_KEY_RAW);
	if (ret)
		return ret;
	return gnutls_credentials_set(tls->session, GNUTLS_CRD_PSK,
				      tls->client_cred);
}

static int tls_set_session(struct dipc_tls *tls)
{
	unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL;

	flags |= tls->is_server ? GNUTLS_SERVER : GNUTLS_CLIENT;
	if (gnutls_init(&tls->session, flags))
		return -ENOMEM;
	gnutls_session_set_ptr(tls->session, tls);
	gnutls_transport_set_ptr(tls->session, tls);
	gnutls_transport_set_push_function(tls->session, tls_push);
	gnutls_transport_set_pull_function(tls->session, tls_pull);
	gnutls_handshake_set_timeout(tls->session, 0); /* the loop has one */
	if (gnutls_priority_set_direct(tls->session, TLS_PRIORITY, NULL) ||
	    tls_set_key(tls))
		return -EINVAL;
	return 0;
}

int dipc_tls_create(struct dipc_loop *loop, int fd, bool is_server,
		    const uint8_t key[DIPC_KEY_LEN],
		    const struct dipc_tls_events *events, void *arg,
		    struct dipc_tls **tls_out)
{
	struct dipc_sched *sched = dipc_loop_sched(loop);
	struct dipc_tls *tls = calloc(1, sizeof(*tls));
	int ret;

	if (!tls)
		return -ENOMEM;
	tls->loop = loop;
	tls->events = events;
	tls->arg = arg;
	tls->watch.fd = fd;
	tls->watch.fn = tls_event;
	tls->is_server = is_server;
	tls->state = is_server ? TLS_SHAKING : TLS_CONNECTING;
	memcpy(tls->key, key, sizeof(tls->key));
	dipc_timer_init(&tls->timer, tls_timer);
	ret = tls_set_session(tls);
	if (ret)
		goto err_tls;
	tls->watched = EPOLLIN | (is_server ? 0u : EPOLLOUT);
	ret = dipc_loop_watch(loop, &tls->watch, tls->watched);
	if (ret)
		goto err_tls;
	tls->is_watched = true;
	dipc_timer_set(sched, &tls->timer,
		       dipc_sched_now(sched) + DIPC_TLS_HANDSHAKE_NS);
	*tls_out = tls;
	return 0;

err_tls:
	tls->watch.fd = -1; /* still the caller's */
	tls_free(tls);
	return ret;
}

void dipc_tls_destroy(struct dipc_tls *tls)
{
	if (!tls || tls->is_destroyed)
		return;
	if (tls->state == TLS_OPEN)
		(void)gnutls_bye(tls->session, GNUTLS_SHUT_WR);
	if (tls->is_watched)
		dipc_loop_unwatch(tls->loop, &tls->watch);
	tls->is_watched = false;
	dipc_timer_cancel(&tls->timer);
	tls->is_destroyed = true;
	if (!tls->is_dispatching)
		tls_free(tls);
}

static int tls_reserve(struct dipc_tls *tls, size_t more)
{
	size_t cap = tls->out_cap ? tls->out_cap : 1024;
	uint8_t *out;

	if (tls->out_len + more > TLS_OUT_MAX)
		return -ENOBUFS;
	while (cap < tls->out_len + more)
		cap *= 2;
	if (cap == tls->out_cap)
		return 0;
	out = realloc(tls->out, cap);
	if (!out)
		return -ENOMEM;
	tls->out = out;
	tls->out_cap = cap;
	return 0;
}

int dipc_tls_send(struct dipc_tls *tls, uint16_t type, uint32_t tag,
		  const void *body, size_t len)
{
	struct dipc_lookup_head head = {.magic = DIPC_LOOKUP_MAGIC,
					.version = DIPC_LOOKUP_VERSION,
					.type = type,
					.tag = tag,
					.body_len = (uint32_t)len};
	int ret;

	if (tls->state != TLS_OPEN || tls->is_destroyed)
		return -ENOTCONN;
	if (len > DIPC_TLS_BODY_MAX)
		return -EMSGSIZE;
	ret = tls_reserve(tls, sizeof(head) + len);
	if (ret) {
		tls_fail(tls, ret);
		return ret;
	}
	memcpy(tls->out + tls->out_len, &head, sizeof(head));
	if (len)
		memcpy(tls->out + tls->out_len + sizeof(head), body, len);
	tls->out_len += sizeof(head) + len;
	tls_flush(tls);
	tls_watch_for(tls);
	return 0;
}

const struct dipc_tls_counters *dipc_tls_counters(const struct dipc_tls *tls)
{
	return &tls->counters;
}

const char *dipc_tls_error(const struct dipc_tls *tls)
{
	return tls->gnutls_error ? gnutls_strerror(tls->gnutls_error) : "";
}
