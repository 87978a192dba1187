/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every contract test uses: nodes (a transport and some memory each) that
 * live in this process, links between them, and waiting with a deadline. A
 * peer that must run beside us, or die, is this program again in a peer's role
 * (peer.c).
 *
 * Failures end the test by cmocka's longjmp; ct_teardown() cleans up.
 */
#ifndef DIPC_TESTS_CONTRACT_HARNESS_H
#define DIPC_TESTS_CONTRACT_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above */
#include <cmocka.h>
#include <stdbool.h>
#include <sys/types.h>

#include "transport/transport.h"

#define CT_MEM (4u << 20) /* bytes of a node's memory */

/* Which back end, from argv or DIPC_TEST_TRANSPORT. */
struct ct_backend {
	const char *kind;
	const char *address; /* verbs: of the device */
	bool is_sim;         /* one process, virtual time: sim_peer.h */
	char dir[64];        /* for sockets and files; removed at exit */
};

extern struct ct_backend ct_backend;

/* What each side tells the other about its memory in the handshake. */
struct ct_hello {
	uint64_t addr;
	uint32_t rkey;
	char note[DIPC_HELLO_MAX - 12];
} __attribute__((packed));

struct ct_node;

/* One end of a connection; the conn's user pointer. */
struct ct_link {
	struct dipc_list node;
	struct ct_node *owner;
	struct dipc_conn *conn;
	struct dipc_remote remote;     /* the peer's memory */
	uint8_t hello[DIPC_HELLO_MAX]; /* what the peer sent in the handshake */
	size_t hello_len;
	bool is_acceptor;
	unsigned nr_established;
	unsigned nr_closed;
	int reason;
	unsigned nr_imm;
	uint32_t last_imm;
	unsigned nr_outstanding; /* ops of ct_post() not done */
};

struct ct_node {
	struct dipc_list node;
	struct dipc_transport *t;
	struct dipc_region *mem;
	struct dipc_list links;
	struct ct_link *newest; /* accepted */
	int refuse;             /* accept() answers this */
	const void *reply;      /* instead of a ct_hello when not NULL */
	size_t reply_len;
	void (*on_imm)(struct ct_link *link, uint32_t imm);
	void *user;
};

/* An operation that remembers its end. */
struct ct_op {
	struct dipc_op op;
	struct ct_link *link;
	unsigned nr_done;
	int status;
	unsigned serial; /* order of completion, from 1 */
};

/* Two connected nodes: every test's state. */
struct ct_state {
	struct ct_node *a, *b;
	struct ct_link *ab, *ba; /* a connected to b */
};

/* ---- time ---- */
unsigned ct_slow(void); /* DIPC_TEST_SLOW, at least 1 */
unsigned ct_scaled(unsigned count);
uint64_t ct_now_ms(void);
uint64_t ct_deadline(void); /* the patience of one wait, from now */
/* Poll every node of this process once. How many events. */
unsigned ct_poll(void);
/* Poll for MS milliseconds. */
void ct_poll_for(unsigned ms);
/* Arm every node and sleep until there is something, at most MS. */
void ct_sleep(unsigned ms);
/* poll(2) of NODE's fd alone. */
int ct_fd_wait(struct ct_node *node, unsigned ms);
/* A peer does not poll for US microseconds. */
void ct_pause(unsigned us);

#define CT_WAIT(cond)                                                          \
	do {                                                                   \
		uint64_t deadline_ = ct_deadline();                            \
		while (!(cond)) {                                              \
			ct_poll();                                             \
			if (ct_now_ms() > deadline_)                           \
				fail_msg("waited too long for %s", #cond);     \
		}                                                              \
	} while (0)

/* The same, asleep while there is nothing to do. */
#define CT_WAIT_ASLEEP(cond)                                                   \
	do {                                                                   \
		uint64_t deadline_ = ct_deadline();                            \
		while (!(cond)) {                                              \
			if (!ct_poll())                                        \
				ct_sleep(1000);                                \
			if (ct_now_ms() > deadline_)                           \
				fail_msg("slept too long for %s", #cond);      \
		}                                                              \
	} while (0)

/* ---- nodes and links ---- */
/* Where a new node may listen: a new one each time. BUF: 128 bytes. */
void ct_new_address(char *buf);
/* -errno when the transport cannot be made. ADDRESS NULL: a new one. */
int ct_node_try(const char *address, struct ct_node **node_out);
struct ct_node *ct_node_create(void);
void ct_node_destroy(struct ct_node *node);
/* Connect with a ct_hello of A's memory and NOTE; does not wait. */
struct ct_link *ct_connect(struct ct_node *a, const char *address,
			   const char *note);
/* ... and wait until it stands; *BA_OUT: the accepting end. */
struct ct_link *ct_connect_to(struct ct_node *a, struct ct_node *b,
			      struct ct_link **ba_out);
/* Drop the record of a link whose closed() has run. */
void ct_link_free(struct ct_link *link);

/* ---- operations ---- */
struct dipc_remote ct_at(const struct ct_link *link, uint64_t offset);
struct dipc_wr ct_write(struct ct_link *link, size_t local, size_t remote,
			uint32_t len);
struct dipc_wr ct_read(struct ct_link *link, size_t local, size_t remote,
		       uint32_t len);
struct dipc_wr ct_write_imm(struct ct_link *link, size_t local, size_t remote,
			    uint32_t len, uint32_t imm);
struct dipc_wr ct_imm(uint32_t imm); /* no data */
struct dipc_wr ct_cas(struct ct_link *link, size_t local, size_t remote,
		      uint64_t compare, uint64_t swap);
struct dipc_wr ct_faa(struct ct_link *link, size_t local, size_t remote,
		      uint64_t addend);
/* Post; what dipc_conn_post() said. When 0, OP counts as done too. */
int ct_post(struct ct_link *link, const struct dipc_wr *wr, unsigned nr,
	    struct ct_op *op);
/* Post, polling while there is no room, and wait. The status. */
int ct_do(struct ct_link *link, const struct dipc_wr *wr, unsigned nr);
/* A word, or the bytes, of NODE's memory. */
uint64_t *ct_word(struct ct_node *node, size_t offset);

/* ---- setup ---- */
int ct_setup(void **state);
int ct_teardown(void **state);
#define CT_TEST(f) cmocka_unit_test_setup_teardown(f, ct_setup, ct_teardown)
/* This test makes the transport log warnings; else one fails it. */
void ct_expect_log(void);

/* ---- peers that are processes ---- */
/* Run this program in ROLE, connecting to NODE; waits for its link. */
pid_t ct_spawn(struct ct_node *node, const char *role, unsigned arg,
	       struct ct_link **link_out);
/* SIGKILL, SIGSTOP or SIGCONT. */
void ct_signal(pid_t pid, int sig);
void ct_kill(pid_t pid);
/* Wait for its end by itself; fails unless it exits with 0. */
void ct_join(pid_t pid);
/* argv: KIND [ADDRESS] --peer ROLE ARG PEER-ADDRESS. Exit status. */
int ct_peer_main(const char *name, unsigned arg, const char *address);

/* ---- the tests ---- */
int ct_run_ops(void);
int ct_run_order(void);
int ct_run_flow(void);
int ct_run_conn(void);
int ct_run_death(void);
int ct_run_region(void);

#endif
