/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The transport itself. Its fd is an epoll set of three: CM events, completion
 * notifications, and a timer for connections that make no progress.
 */
#include "transport/verbs/verbs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "runtime/base/clock.h"

#define ACK_UNIT_NS      4096ull /* times 2^code */
#define PEER_TIMEOUT_MS  1000u
#define CM_BUDGET        16u
#define CQ_EVENTS_TO_ACK 64u

enum wake_source { WAKE_CM, WAKE_CQ, WAKE_TIMER, WAKE_NR };

/*
 * A peer is given up after VERBS_RETRIES more attempts. The exponent gives
 * powers of two only: the first that lasts three quarters of what was asked.
 */
static uint8_t ack_timeout_code(unsigned peer_timeout_ms)
{
	uint64_t want = peer_timeout_ms * DIPC_MSEC / 4 * 3;
	uint8_t code = 1;

	while (code < 31 && (ACK_UNIT_NS << code) * (VERBS_RETRIES + 1) < want)
		code++;
	return code;
}

static int verbs_add_fd(struct dipc_verbs *v, int fd, enum wake_source source)
{
	struct epoll_event event = {.events = EPOLLIN, .data = {.u32 = source}};

	return epoll_ctl(v->base.fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int verbs_make_fd(struct dipc_verbs *v)
{
	int ret;

	v->base.fd = epoll_create1(EPOLL_CLOEXEC);
	if (v->base.fd < 0)
		return -errno;
	v->timer_fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (v->timer_fd < 0)
		return -errno;
	ret = verbs_add_fd(v, v->cm->fd, WAKE_CM);
	if (!ret)
		ret = verbs_add_fd(v, v->comp->fd, WAKE_CQ);
	if (!ret)
		ret = verbs_add_fd(v, v->timer_fd, WAKE_TIMER);
	return ret;
}

static void verbs_destroy(struct dipc_transport *t)
{
	struct dipc_verbs *v;
	struct dipc_list *node;

	if (!t)
		return;
	v = dipc_verbs_of(t);
	while (!dipc_list_is_empty(&v->dying)) {
		node = v->dying.next;
		dipc_vconn_destroy(
			dipc_container_of(node, struct dipc_vconn, node));
	}
	while (!dipc_list_is_empty(&v->conns)) {
		node = v->conns.next;
		dipc_vconn_destroy(
			dipc_container_of(node, struct dipc_vconn, node));
	}
	if (v->timer_fd >= 0)
		close(v->timer_fd);
	if (v->base.fd >= 0)
		close(v->base.fd);
	dipc_vdevice_close(v);
	free(v);
}

static int verbs_create(const struct dipc_transport_config *config,
			struct dipc_transport **t_out)
{
	struct dipc_verbs *v;
	unsigned i;
	int ret;

	if (!config->listen || !config->events)
		return -EINVAL;
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->base.ops = &dipc_verbs_ops;
	v->base.events = config->events;
	v->base.arg = config->arg;
	v->base.fd = -1;
	v->timer_fd = -1;
	v->peer_timeout_ms = config->peer_timeout_ms ? config->peer_timeout_ms
						     : PEER_TIMEOUT_MS;
	v->ack_timeout = ack_timeout_code(v->peer_timeout_ms);
	dipc_list_init(&v->conns);
	dipc_list_init(&v->dying);
	for (i = 0; i < VERBS_QPN_BUCKETS; i++)
		dipc_list_init(&v->by_qpn[i]);

	ret = dipc_vdevice_open(v, config->listen);
	if (ret)
		goto err_verbs;
	ret = verbs_make_fd(v);
	if (ret) {
		dipc_error("cannot make an epoll set: %s", strerror(-ret));
		goto err_verbs;
	}
	ret = vb_listen(v->listener, VERBS_BACKLOG);
	if (ret) {
		dipc_error("cannot listen on %s: %s", config->listen,
			   strerror(-ret));
		goto err_verbs;
	}
	*t_out = &v->base;
	return 0;

err_verbs:
	verbs_destroy(&v->base);
	return ret;
}

void dipc_verbs_set_timer(struct dipc_verbs *v)
{
	struct itimerspec when = {0};
	uint64_t first = DIPC_NEVER;
	struct dipc_list *node;

	dipc_list_for_each (node, &v->conns) {
		struct dipc_vconn *conn =
			dipc_container_of(node, struct dipc_vconn, node);

		if (conn->deadline < first)
			first = conn->deadline;
	}
	if (first != DIPC_NEVER) {
		when.it_value.tv_sec = (time_t)(first / DIPC_SEC);
		when.it_value.tv_nsec = (long)(first % DIPC_SEC);
	}
	if (timerfd_settime(v->timer_fd, TFD_TIMER_ABSTIME, &when, NULL))
		dipc_error("cannot set a timer: %s", strerror(errno));
}

void dipc_verbs_lost(struct dipc_verbs *v, const char *why)
{
	struct dipc_list *node, *next;

	if (v->is_dead)
		return;
	v->is_dead = true;
	dipc_error("RDMA device of %s is lost: %s; restart when it is back",
		   v->base.address, why);
	dipc_list_for_each_safe (node, next, &v->conns) {
		dipc_vconn_break(
			dipc_container_of(node, struct dipc_vconn, node),
			-ENOLINK);
	}
}

/* Take the notification of cq off its channel, if it is there. */
static void verbs_take_notify(struct dipc_verbs *v)
{
	if (vb_get_cq_event(v->comp))
		return;
	v->is_notify_asked = false;
	if (++v->nr_cq_events == CQ_EVENTS_TO_ACK) {
		vb_ack_cq_events(v->cq, v->nr_cq_events);
		v->nr_cq_events = 0;
	}
}

static void verbs_take_timer(struct dipc_verbs *v)
{
	uint64_t nr;

	if (read(v->timer_fd, &nr, sizeof(nr)) < 0)
		return;
	dipc_vconn_expire(v);
	dipc_verbs_set_timer(v);
}

/* Whatever is not in the completion queue; costs a system call. */
static unsigned verbs_poll_fds(struct dipc_verbs *v)
{
	struct epoll_event events[WAKE_NR];
	unsigned nr = 0;
	int i, nr_events;

	nr_events = epoll_wait(v->base.fd, events, WAKE_NR, 0);
	for (i = 0; i < nr_events; i++) {
		switch ((enum wake_source)events[i].data.u32) {
		case WAKE_CM:
			nr += dipc_vcm_poll(v, CM_BUDGET);
			break;
		case WAKE_CQ:
			verbs_take_notify(v);
			break;
		case WAKE_TIMER:
			verbs_take_timer(v);
			break;
		case WAKE_NR:
			break;
		}
	}
	return nr;
}

static unsigned verbs_poll(struct dipc_transport *t, unsigned budget)
{
	struct dipc_verbs *v = dipc_verbs_of(t);
	uint64_t now = dipc_now(dipc_clock_system());
	unsigned nr;

	if (v->is_polling)
		return 0; /* from a callback of ours */
	v->is_polling = true;
	nr = dipc_vop_poll(v, budget);
	if (v->is_armed || now >= v->next_cm) {
		v->is_armed = false;
		v->next_cm = now + VERBS_CM_PERIOD_NS;
		nr += verbs_poll_fds(v);
	}
	nr += dipc_vconn_reap(v);
	v->is_polling = false;
	return nr;
}

static int verbs_arm(struct dipc_transport *t)
{
	struct dipc_verbs *v = dipc_verbs_of(t);

	v->is_armed = true;
	if (v->is_notify_asked)
		verbs_take_notify(v);
	if (!v->is_notify_asked && !v->is_dead) {
		if (vb_req_notify(v->cq))
			dipc_verbs_lost(v, "it does not notify");
		v->is_notify_asked = true;
	}
	/* What came before the request makes no notification. */
	return dipc_vop_is_ready(v) || !dipc_list_is_empty(&v->dying);
}

const struct dipc_transport_ops dipc_verbs_ops = {
	.kind = "verbs",
	.create = verbs_create,
	.destroy = verbs_destroy,
	.poll = verbs_poll,
	.arm = verbs_arm,
	.region_create = dipc_vregion_create,
	.region_destroy = dipc_vregion_destroy,
	.connect = dipc_vcm_connect,
	.close = dipc_vconn_close,
	.post = dipc_vop_post,
};
