/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/protocol/futex.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "runtime/base/log.h"

#define TABLE_SIZE 256u
#define BATCH      16u /* WOKENs in flight for one WAKE */

/*
 * SLOTS: a WAKE holds its request slot until the home's WOKENs are answered,
 * which need slots the other way. So WAKEs never take all of a link's, and
 * WOKEN always finds one that is given back without waiting for anybody.
 */
#define WAKING_MAX (DIPC_CALL_SLOTS / 2)

/* At the home: somebody queued for a word. */
struct waiter {
	struct dipc_list entry; /* queue->waiters, or a batch */
	uint64_t ticket;
	uint64_t seq; /* fs->seq when it came: EARLIER-ONLY */
	uint32_t bitset;
	uint16_t node;
};

/* At the home: a word somebody waits for; freed with its last waiter. */
struct queue {
	struct dipc_list entry; /* in fs->queues */
	struct dipc_futex_key key;
	struct dipc_list waiters; /* first come first */
};

/* At the home: a WAKE being carried out. */
struct wake {
	struct dipc_futex_key key;
	uint32_t bitset, nr;
	uint64_t before; /* only who came before: EARLIER-ONLY */
};

struct dipc_futexes {
	struct dipc_fabric *fabric; /* borrowed */
	dipc_futex_may_take_fn may_take;
	unsigned node;
	uint64_t last_ticket;
	uint64_t seq;
	struct dipc_futexes_counters counters;
	unsigned nr_waking[DIPC_NODES_MAX + 1]; /* WAKEs in flight, by home */
	struct dipc_waitq waking;
	struct dipc_list queues[TABLE_SIZE]; /* of homes here, by key */
	struct dipc_list waits[TABLE_SIZE];  /* of this node, by ticket */
};

/* ---- life --------------------------------------------------------------- */

int dipc_futexes_create(struct dipc_fabric *f, dipc_futex_may_take_fn may_take,
			struct dipc_futexes **futexes_out)
{
	struct dipc_futexes *fs = calloc(1, sizeof(*fs));
	unsigned i;

	if (!fs)
		return -ENOMEM;
	fs->fabric = f;
	fs->may_take = may_take;
	fs->node = dipc_fabric_node(f);
	dipc_waitq_init(&fs->waking);
	fs->last_ticket = (uint64_t)dipc_fabric_incarnation(f) << 32;
	for (i = 0; i < TABLE_SIZE; i++) {
		dipc_list_init(&fs->queues[i]);
		dipc_list_init(&fs->waits[i]);
	}
	*futexes_out = fs;
	return 0;
}

const struct dipc_futexes_counters *
dipc_futexes_counters(const struct dipc_futexes *fs)
{
	return &fs->counters;
}

/* ---- queues, at the home ------------------------------------------------ */

static unsigned key_hash(const struct dipc_futex_key *key)
{
	uint64_t h = (key->off / 4 ^ (uint64_t)(uint32_t)key->id << 32) *
		     0x9e3779b97f4a7c15u;

	return (unsigned)(h >> 32) % TABLE_SIZE;
}

static struct queue *queue_find(const struct dipc_futexes *fs,
				const struct dipc_futex_key *key)
{
	const struct dipc_list *head = &fs->queues[key_hash(key)];
	struct dipc_list *pos;

	dipc_list_for_each (pos, head) {
		struct queue *q = dipc_container_of(pos, struct queue, entry);

		if (q->key.id == key->id && q->key.off == key->off)
			return q;
	}
	return NULL;
}

static void waiter_free(struct waiter *w)
{
	dipc_list_del(&w->entry);
	free(w);
}

static void queue_put_if_empty(struct queue *q)
{
	if (!dipc_list_is_empty(&q->waiters))
		return;
	dipc_list_del(&q->entry);
	free(q);
}

static int queue_append(struct dipc_futexes *fs,
			const struct dipc_futex_key *key, unsigned node,
			uint64_t ticket, uint32_t bitset)
{
	struct waiter *w = calloc(1, sizeof(*w));
	struct queue *q;

	if (!w)
		return -ENOMEM;
	w->node = (uint16_t)node;
	w->ticket = ticket;
	w->bitset = bitset;
	w->seq = ++fs->seq;
	q = queue_find(fs, key);
	if (!q) {
		q = calloc(1, sizeof(*q));
		if (!q) {
			free(w);
			return -ENOMEM;
		}
		q->key = *key;
		dipc_list_init(&q->waiters);
		dipc_list_add_tail(&fs->queues[key_hash(key)], &q->entry);
	}
	dipc_list_add_tail(&q->waiters, &w->entry);
	return 0;
}

static void queue_remove(struct dipc_futexes *fs,
			 const struct dipc_futex_key *key, unsigned node,
			 uint64_t ticket)
{
	struct queue *q = queue_find(fs, key);
	struct dipc_list *pos;

	if (!q)
		return; /* popped by a WAKE, or never queued */
	dipc_list_for_each (pos, &q->waiters) {
		struct waiter *w = dipc_container_of(pos, struct waiter, entry);

		if (w->node != node || w->ticket != ticket)
			continue;
		waiter_free(w);
		queue_put_if_empty(q);
		return;
	}
}

/* Take up to MAX of those that WAKE is for off the queue, in order. */
static unsigned queue_pop(struct dipc_futexes *fs, const struct wake *wake,
			  struct waiter **popped, unsigned max)
{
	struct queue *q = queue_find(fs, &wake->key);
	struct dipc_list *pos, *next;
	unsigned nr = 0;

	if (!q)
		return 0;
	dipc_list_for_each_safe (pos, next, &q->waiters) {
		struct waiter *w = dipc_container_of(pos, struct waiter, entry);

		if (nr == max || w->seq > wake->before)
			break;
		if (!(w->bitset & wake->bitset))
			continue;
		dipc_list_del(&w->entry);
		popped[nr++] = w;
	}
	queue_put_if_empty(q);
	return nr;
}

unsigned dipc_futexes_queued(const struct dipc_futexes *fs,
			     const struct dipc_futex_key *key)
{
	const struct queue *q = queue_find(fs, key);
	struct dipc_list *pos;
	unsigned nr = 0;

	if (q)
		dipc_list_for_each (pos, &q->waiters)
			nr++;
	return nr;
}

/* ---- tickets, at the waiter's node -------------------------------------- */

static struct dipc_list *wait_bucket(struct dipc_futexes *fs, uint64_t ticket)
{
	return &fs->waits[ticket % TABLE_SIZE];
}

static void wait_set_woken(struct dipc_futex_wait *wait)
{
	wait->state = DIPC_FUTEX_WOKEN;
	if (wait->fiber)
		dipc_fiber_wake(wait->fiber);
}

/* WOKEN: 0 taken, -ENOENT. */
static int wait_take(struct dipc_futexes *fs, uint64_t ticket)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, wait_bucket(fs, ticket)) {
		struct dipc_futex_wait *wait =
			dipc_container_of(pos, struct dipc_futex_wait, entry);

		if (wait->ticket != ticket)
			continue;
		if (wait->state == DIPC_FUTEX_WOKEN ||
		    (fs->may_take && !fs->may_take(wait)))
			return -ENOENT;
		wait_set_woken(wait);
		return 0;
	}
	return -ENOENT;
}

/* ---- asking the home ---------------------------------------------------- */

static int home_start(struct dipc_futexes *fs, unsigned node,
		      const struct dipc_request *request,
		      struct dipc_call *call)
{
	struct dipc_link *link;
	int ret;

	ret = dipc_fabric_link(fs->fabric, node, &link);
	if (ret == 0)
		ret = dipc_call_start(link, request, call);
	if (ret == 0)
		fs->counters.nr_requests++;
	return ret ? -ENOLINK : 0;
}

/* Fiber. The answer's status, or -ENOLINK. */
static int home_ask(struct dipc_futexes *fs, const struct dipc_futex_key *key,
		    enum dipc_request_type type, uint64_t arg, uint32_t bitset)
{
	struct dipc_request request = {.type = (uint16_t)type,
				       .object = (uint32_t)key->id,
				       .page = key->off,
				       .arg = {arg, bitset}};
	struct dipc_call call;
	int ret;

	ret = home_start(fs, key->home, &request, &call);
	if (ret)
		return ret;
	ret = dipc_call_wait(&call);
	return ret ? ret : call.answer.status;
}

int dipc_futex_register(struct dipc_futexes *fs,
			const struct dipc_futex_key *key,
			struct dipc_futex_wait *wait)
{
	int ret;

	wait->key = *key;
	wait->ticket = ++fs->last_ticket;
	wait->state = DIPC_FUTEX_REGISTERING;
	wait->fiber = NULL;
	dipc_list_add_tail(wait_bucket(fs, wait->ticket), &wait->entry);
	fs->counters.nr_waits++;
	if (key->home == fs->node)
		ret = queue_append(fs, key, fs->node, wait->ticket,
				   wait->bitset);
	else
		ret = home_ask(fs, key, DIPC_REQ_FUTEX_WAIT, wait->ticket,
			       wait->bitset);
	/* what has woken it already counts, whatever became of the answer */
	if (ret && wait->state != DIPC_FUTEX_WOKEN) {
		/* if it is queued after all, it answers -ENOENT there */
		dipc_list_del(&wait->entry);
		return ret == -ENOMEM ? -ENOMEM : -ENOLINK;
	}
	if (wait->state == DIPC_FUTEX_REGISTERING)
		wait->state = DIPC_FUTEX_REGISTERED;
	return 0;
}

int dipc_futex_sleep(struct dipc_futexes *fs, struct dipc_futex_wait *wait,
		     uint64_t deadline, struct dipc_cancel *cancel)
{
	int ret = 0;

	assert(!wait->fiber);
	wait->fiber = dipc_fiber_self();
	if (cancel)
		cancel->fiber = wait->fiber;
	while (wait->state != DIPC_FUTEX_WOKEN) {
		if (cancel && cancel->is_set)
			ret = -EINTR;
		else if (dipc_fabric_now(fs->fabric) >= deadline)
			ret = -ETIMEDOUT;
		if (ret)
			break;
		(void)dipc_fiber_park(deadline);
	}
	wait->fiber = NULL;
	if (cancel)
		cancel->fiber = NULL;
	return ret;
}

struct withdrawal {
	struct dipc_futexes *fs;
	struct dipc_futex_key key;
	uint64_t ticket;
};

static void withdraw_fiber(void *arg)
{
	struct withdrawal *job = arg;

	/* lost with its link it leaves an entry that answers -ENOENT */
	(void)home_ask(job->fs, &job->key, DIPC_REQ_FUTEX_WITHDRAW, job->ticket,
		       0);
	free(job);
}

static void withdraw_start(struct dipc_futexes *fs,
			   const struct dipc_futex_wait *wait)
{
	struct withdrawal *job = malloc(sizeof(*job));

	if (!job)
		return; /* as a lost one */
	job->fs = fs;
	job->key = wait->key;
	job->ticket = wait->ticket;
	if (dipc_fiber_spawn(dipc_fabric_sched(fs->fabric), withdraw_fiber,
			     job))
		free(job);
}

bool dipc_futex_withdraw(struct dipc_futexes *fs, struct dipc_futex_wait *wait)
{
	dipc_list_del(&wait->entry); /* WITHDRAW-FIRST */
	if (wait->state == DIPC_FUTEX_WOKEN)
		return true;
	if (wait->key.home == fs->node)
		queue_remove(fs, &wait->key, fs->node, wait->ticket);
	else
		withdraw_start(fs, wait);
	return false;
}

/* ---- waking, at the home ------------------------------------------------ */

/*
 * Tell who was popped, all at once; frees them. How many took it. Fiber, if
 * one of them waits on another node.
 */
static unsigned waiters_tell(struct dipc_futexes *fs, struct waiter **popped,
			     unsigned nr)
{
	struct dipc_call calls[BATCH];
	bool is_asked[BATCH] = {false};
	unsigned i, taken = 0;

	for (i = 0; i < nr; i++) {
		struct dipc_request request = {
			.type = DIPC_REQ_FUTEX_WOKEN,
			.arg = {popped[i]->ticket},
		};

		if (popped[i]->node == fs->node)
			taken += wait_take(fs, popped[i]->ticket) == 0;
		else
			is_asked[i] = home_start(fs, popped[i]->node, &request,
						 &calls[i]) == 0;
	}
	for (i = 0; i < nr; i++) {
		if (is_asked[i] && dipc_call_wait(&calls[i]) == 0 &&
		    calls[i].answer.status == 0)
			taken++;
		free(popped[i]);
	}
	return taken;
}

/* How many were woken. Fiber, if somebody waits on another node. */
static unsigned home_wake(struct dipc_futexes *fs, const struct wake *wake)
{
	uint32_t woken = 0;

	while (woken < wake->nr) {
		struct waiter *popped[BATCH];
		uint32_t want = wake->nr - woken;
		unsigned got, taken;

		got = queue_pop(fs, wake, popped, want < BATCH ? want : BATCH);
		if (got == 0)
			break;
		taken = waiters_tell(fs, popped, got);
		woken += taken;
		fs->counters.nr_passed += got - taken;
	}
	return woken;
}

/* Fiber. As dipc_futex_wake(), at a home elsewhere. */
static int home_ask_wake(struct dipc_futexes *fs,
			 const struct dipc_futex_key *key, uint32_t bitset,
			 uint32_t nr)
{
	int ret;

	/* SLOTS */
	while (fs->nr_waking[key->home] == WAKING_MAX)
		(void)dipc_waitq_wait(&fs->waking, DIPC_NEVER);
	fs->nr_waking[key->home]++;
	while ((ret = home_ask(fs, key, DIPC_REQ_FUTEX_WAKE, nr, bitset)) ==
	       -ENOMEM)
		dipc_fiber_sleep(DIPC_MSEC);
	fs->nr_waking[key->home]--;
	dipc_waitq_wake_all(&fs->waking);
	return ret;
}

int dipc_futex_wake(struct dipc_futexes *fs, const struct dipc_futex_key *key,
		    uint32_t bitset, uint32_t nr)
{
	struct wake wake = {.key = *key,
			    .bitset = bitset,
			    .nr = nr > INT32_MAX ? INT32_MAX : nr,
			    .before = fs->seq};

	fs->counters.nr_wakes++;
	if (key->home == fs->node)
		return (int)home_wake(fs, &wake);
	if (key->home > DIPC_NODES_MAX)
		return -ENOLINK;
	return home_ask_wake(fs, key, bitset, wake.nr);
}

/* ---- requests of other nodes -------------------------------------------- */

struct wake_job {
	struct dipc_futexes *fs;
	struct dipc_incoming *in;
	struct wake wake;
};

static void answer_status(struct dipc_incoming *in, int status)
{
	struct dipc_answer answer = {.status = status};

	dipc_incoming_answer(in, &answer);
}

static struct dipc_futex_key request_key(const struct dipc_futexes *fs,
					 const struct dipc_request *request)
{
	struct dipc_futex_key key = {.id = (int32_t)request->object,
				     .home = fs->node,
				     .off = request->page};

	return key;
}

static void wake_fiber(void *arg)
{
	struct wake_job *job = arg;

	answer_status(job->in, (int)home_wake(job->fs, &job->wake));
	free(job);
}

static void request_wake(struct dipc_futexes *fs, struct dipc_incoming *in)
{
	struct wake wake = {.key = request_key(fs, &in->request),
			    .bitset = (uint32_t)in->request.arg[1],
			    .nr = INT32_MAX,
			    .before = fs->seq};
	struct wake_job *job;

	if (in->request.arg[0] < wake.nr)
		wake.nr = (uint32_t)in->request.arg[0];
	if (!queue_find(fs, &wake.key)) {
		answer_status(in, 0);
		return;
	}
	job = malloc(sizeof(*job));
	if (job) {
		job->fs = fs;
		job->in = in;
		job->wake = wake;
		if (dipc_fiber_spawn(dipc_fabric_sched(fs->fabric), wake_fiber,
				     job) == 0)
			return;
	}
	free(job);
	answer_status(in, -ENOMEM); /* the waker asks again */
}

void dipc_futexes_request(struct dipc_futexes *fs, struct dipc_incoming *in)
{
	const struct dipc_request *request = &in->request;
	struct dipc_futex_key key = request_key(fs, request);

	switch (request->type) {
	case DIPC_REQ_FUTEX_WAIT:
		answer_status(in,
			      queue_append(fs, &key, in->from, request->arg[0],
					   (uint32_t)request->arg[1]));
		break;
	case DIPC_REQ_FUTEX_WITHDRAW:
		queue_remove(fs, &key, in->from, request->arg[0]);
		answer_status(in, 0);
		break;
	case DIPC_REQ_FUTEX_WAKE:
		request_wake(fs, in);
		break;
	case DIPC_REQ_FUTEX_WOKEN:
		answer_status(in, wait_take(fs, request->arg[0]));
		break;
	default:
		answer_status(in, -EPROTO);
	}
}

/* ---- deaths ------------------------------------------------------------- */

void dipc_futexes_lost(struct dipc_futexes *fs, unsigned node)
{
	struct dipc_list *pos;
	unsigned i;

	for (i = 0; i < TABLE_SIZE; i++)
		dipc_list_for_each (pos, &fs->waits[i]) {
			struct dipc_futex_wait *wait = dipc_container_of(
				pos, struct dipc_futex_wait, entry);

			if (wait->key.home == node)
				wait_set_woken(wait);
		}
}

/* Drop the waiters that are of NODE (0: all) on the words of ID (0: all). */
static void waiters_drop(struct dipc_futexes *fs, unsigned node, int32_t id)
{
	struct dipc_list *qpos, *qnext, *pos, *next;
	unsigned i;

	for (i = 0; i < TABLE_SIZE; i++)
		dipc_list_for_each_safe (qpos, qnext, &fs->queues[i]) {
			struct queue *q =
				dipc_container_of(qpos, struct queue, entry);

			if (id && q->key.id != id)
				continue;
			dipc_list_for_each_safe (pos, next, &q->waiters) {
				struct waiter *w = dipc_container_of(
					pos, struct waiter, entry);

				if (!node || w->node == node)
					waiter_free(w);
			}
			queue_put_if_empty(q);
		}
}

void dipc_futexes_evict(struct dipc_futexes *fs, unsigned node)
{
	waiters_drop(fs, node, 0);
}

void dipc_futexes_forget(struct dipc_futexes *fs, int32_t id)
{
	waiters_drop(fs, 0, id);
}

void dipc_futexes_destroy(struct dipc_futexes *fs)
{
	if (!fs)
		return;
	waiters_drop(fs, 0, 0);
	free(fs);
}
