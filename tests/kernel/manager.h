/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The two sides of the pager in small: a manager (the case's own process,
 * as dipcd) that owns the memfd and resolves faults, and clients (forked
 * processes, as applications) that map it and do what they are told.
 *
 * A client runs client_op functions: since it was forked from this program, a
 * function pointer means the same on both sides. While a client works, the
 * manager serves the events of all address spaces and notes them in a trace:
 *
 *	"A:miss/r B:wp/w"	A read a missing page, B wrote a protected one
 *	"A:unmap(4,8)"		pages 4..7 of A went
 *	"A:fork(B)"		B is A's child
 *
 * Failures of the plumbing itself end the case with case_fail().
 */
#ifndef DIPC_TESTS_KERNEL_MANAGER_H
#define DIPC_TESTS_KERNEL_MANAGER_H

#include "uffd_util.h"

#include <stdatomic.h>
#include <stdbool.h>

#define FILL        7 /* what each byte of a page that we install holds */
#define MAX_SPACES  4
#define SIGBUS_BASE (-1000) /* a client_op met SIGBUS with code BASE - x */

enum { A, B, C, D }; /* address spaces, in order of appearance */

struct client {
	char *base;
	size_t len;
	int memfd;
	int rofd; /* the same memfd, opened O_RDONLY */
	int uffd; /* -1 when only the manager has it */
	int sock;
	int spare; /* the socket of a child that it forks */
	atomic_int *stop;
};

typedef long client_op(struct client *c, long a, long b);

struct space {
	int uffd;
	int sock;
	int spare;
	pid_t pid; /* 0 for a forked child: its parent knows */
	uint64_t base;
};

struct manager {
	int memfd;
	int rofd;
	unsigned nr_pages;
	size_t len;
	unsigned nr; /* spaces in use */
	struct space space[MAX_SPACES];
	atomic_int *stop; /* shared with the clients */
	bool two_step;    /* a write to a missing page is granted in two */
	bool fill_memfd;  /* missing pages: pwrite and wake, not UFFDIO_COPY */
	char trace[256];  /* since the last manager_post() */
	unsigned char *fill; /* one page */
};

/* Skips the case where the kernel or the privilege to run it is missing. */
void manager_init(struct manager *m, unsigned nr_pages);

/* A client with nothing mapped yet. Returns its space. */
unsigned manager_spawn(struct manager *m);
/* The client makes a userfaultfd and hands it over, as yet without API. */
void manager_take_uffd(struct manager *m, unsigned who);
/*
 * All the steps of DESIGN: map PROT_NONE, hand over, UFFDIO_API by the
 * manager, register by the client (which then closes its descriptor),
 * write-protect by the manager, mprotect by the client.
 */
unsigned manager_attach(struct manager *m, uint64_t features);

/* Tell WHO to run OP; then wait for its result, serving faults meanwhile. */
void manager_post(struct manager *m, unsigned who, client_op *op, long a,
		  long b);
long manager_reply(struct manager *m, unsigned who);
long manager_call(struct manager *m, unsigned who, client_op *op, long a,
		  long b);
/* Is WHO still busy after MS milliseconds, nobody serving its events? */
bool manager_is_stuck(struct manager *m, unsigned who, int ms);
/* True once WHO has closed its socket: it has exited or called exec. */
bool manager_is_gone(struct manager *m, unsigned who);

/* Take one event of WHO, without resolving it. */
void manager_event(struct manager *m, unsigned who, struct uffd_msg *msg);
/* Take what waits on WHO and resolve it; false when nothing did. */
bool manager_serve(struct manager *m, unsigned who);

uint64_t manager_addr(const struct manager *m, unsigned who, unsigned page);
/* UFFDIO_COPY of one filled page; -errno. */
int manager_install(struct manager *m, unsigned who, unsigned page,
		    uint64_t mode);
/* Write-protect PAGE in every space. */
void manager_protect_all(struct manager *m, unsigned page);

/* Operations of a client. They return -errno, or a byte read. */
long op_map(struct client *c, long prot, long flags);    /* of the memfd */
long op_map_ro(struct client *c, long prot, long flags); /* of the rofd */
long op_mprotect(struct client *c, long prot, long unused);
long op_send_uffd(struct client *c, long unused, long unused2);
long op_register(struct client *c, long mode, long unused);
long op_close_uffd(struct client *c, long unused, long unused2);
long op_become_nobody(struct client *c, long unused, long unused2);
long op_read(struct client *c, long page, long unused);
long op_write(struct client *c, long page, long value);
long op_exit(struct client *c, long unused, long unused2);
/* Run what the socket says until it closes. */
void client_loop(struct client *c) __attribute__((noreturn));

/* WHO accesses PAGE, and exactly these events are seen. */
#define EXPECT_READ(m, who, page, want, events)                                \
	do {                                                                   \
		EXPECT_EQ(manager_call(m, who, op_read, page, 0), want);       \
		EXPECT_STR((m)->trace, events);                                \
	} while (0)

#define EXPECT_WRITE(m, who, page, value, events)                              \
	do {                                                                   \
		EXPECT_EQ(manager_call(m, who, op_write, page, value), 0);     \
		EXPECT_STR((m)->trace, events);                                \
	} while (0)

#endif
