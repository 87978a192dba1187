/* SPDX-License-Identifier: BSD-2-Clause */
/* What a peer process does; each role ends when its connection closes. */
#include "harness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define DEPTH 16

struct role {
	const char *name;
	void (*run)(struct ct_link *link, unsigned arg);
	/* set before connecting: the parent may be quick */
	void (*on_imm)(struct ct_link *link, uint32_t imm);
};

static void wait_for_end(struct ct_link *link)
{
	while (!link->nr_closed)
		if (!ct_poll())
			ct_sleep(100);
}

/* ARG times each: word 0 + 1 by FAA, DEPTH at a time; word 8 + 1 by CAS. */
static void adder_run(struct ct_link *link, unsigned arg)
{
	struct dipc_wr wr[DEPTH];
	uint64_t old = 0;
	unsigned i, nr;

	for (i = 0; i < arg; i += nr) {
		nr = arg - i < DEPTH ? arg - i : DEPTH;
		for (unsigned k = 0; k < nr; k++)
			wr[k] = ct_faa(link, 8 * k, 0, 1);
		assert_int_equal(ct_do(link, wr, nr), 0);
	}
	for (i = 0; i < arg;) {
		wr[0] = ct_cas(link, 0, 8, old, old + 1);
		assert_int_equal(ct_do(link, wr, 1), 0);
		i += *ct_word(link->owner, 0) == old;
		old = *ct_word(link->owner, 0) +
		      (*ct_word(link->owner, 0) == old);
	}
	wr[0] = ct_imm(arg);
	assert_int_equal(ct_do(link, wr, 1), 0);
	wait_for_end(link);
}

static uint32_t echo_pending;

static void echo_imm(struct ct_link *link, uint32_t imm)
{
	(void)link;
	echo_pending = imm;
}

/* Sends each imm back; asleep in between. */
static void echo_run(struct ct_link *link, unsigned arg)
{
	struct dipc_wr wr;

	(void)arg;
	while (!link->nr_closed) {
		if (!echo_pending) {
			if (!ct_poll())
				ct_sleep(1000);
			continue;
		}
		wr = ct_imm(echo_pending);
		echo_pending = 0;
		if (ct_do(link, &wr, 1))
			break;
	}
	wait_for_end(link);
}

static unsigned sink_count;
static bool sink_is_over;

static void sink_imm(struct ct_link *link, uint32_t imm)
{
	(void)link;
	if (imm == UINT32_MAX)
		sink_is_over = true;
	else if (imm == sink_count)
		sink_count++;
	else
		exit(9); /* out of order */
}

/* Takes imms 0, 1, 2... slowly (ARG us a batch); after ~0 answers how many. */
static void sink_run(struct ct_link *link, unsigned arg)
{
	struct dipc_wr wr;

	while (!sink_is_over && !link->nr_closed) {
		dipc_transport_poll(link->owner->t, 256);
		if (arg)
			ct_pause(arg);
	}
	wr = ct_imm(sink_count);
	if (!link->nr_closed)
		ct_do(link, &wr, 1);
	wait_for_end(link);
}

/*
 * Fills ARG bytes of the parent's memory with 0, 1, 2... in every byte, an imm
 * with each, as fast as it can.
 */
static void stream_run(struct ct_link *link, unsigned arg)
{
	struct ct_op op[DEPTH];
	struct dipc_wr wr;
	uint32_t n;
	int ret;

	memset(op, 0, sizeof(op));
	for (n = 0; !link->nr_closed; n++) {
		struct ct_op *slot = &op[n % DEPTH];

		while (n >= DEPTH && !slot->nr_done && !link->nr_closed)
			ct_poll();
		if (link->nr_closed)
			break;
		memset(link->owner->mem->base + n % DEPTH * 65536, (int)n, arg);
		wr = ct_write_imm(link, n % DEPTH * 65536, 0, arg, n);
		do {
			ret = ct_post(link, &wr, 1, slot);
			ct_poll();
		} while (ret == -EAGAIN && !link->nr_closed);
		if (ret && ret != -EINPROGRESS)
			break;
	}
	wait_for_end(link);
}

/* Never polls again. */
static void deaf_run(struct ct_link *link, unsigned arg)
{
	(void)link;
	(void)arg;
	for (;;)
		ct_pause(1000000);
}

/* Writes ARG bytes at 64 KiB, every word either all ones or all twos. */
static void scribble_run(struct ct_link *link, unsigned arg)
{
	struct dipc_wr wr;
	unsigned n;

	memset(link->owner->mem->base, 1, arg);
	memset(link->owner->mem->base + 65536, 2, arg);
	for (n = 0; !link->nr_closed; n++) {
		wr = ct_write(link, n % 2 * 65536, 65536, arg);
		if (ct_do(link, &wr, 1))
			break;
		ct_poll();
	}
	wait_for_end(link);
}

static const struct role roles[] = {
	{"adder", adder_run, NULL},   {"echo", echo_run, echo_imm},
	{"sink", sink_run, sink_imm}, {"stream", stream_run, NULL},
	{"deaf", deaf_run, NULL},     {"scribble", scribble_run, NULL},
};

static const struct role *role_find(const char *name)
{
	unsigned i;

	for (i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (!strcmp(roles[i].name, name))
			return &roles[i];
	return NULL;
}

int ct_peer_main(const char *name, unsigned arg, const char *address)
{
	const struct role *role = role_find(name);
	struct ct_node *node;
	struct ct_link *link;

	if (!role) {
		fprintf(stderr, "no role %s\n", name);
		return 2;
	}
	if (!ct_backend.is_sim)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	echo_pending = sink_count = 0;
	sink_is_over = false;
	node = ct_node_create();
	node->on_imm = role->on_imm;
	link = ct_connect(node, address, dipc_transport_address(node->t));
	CT_WAIT(link->nr_established || link->nr_closed);
	if (link->nr_closed)
		return 1;
	role->run(link, arg);
	ct_node_destroy(node);
	return 0;
}
