/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the pager's tests run beside their clients: small engines, one process
 * a node, with the real fabric, page protocol and pager, and one segment whose
 * home is node 1.
 */
#ifndef DIPC_TESTS_PAGER_ENGINE_H
#define DIPC_TESTS_PAGER_ENGINE_H

#include <stdatomic.h>

#include "runtime/node/pager_uffd.h"

#define NR_NODES    2u
#define MAX_CLIENTS 8u
#define NR_PAGES    600u /* more than one block */
#define SEG_LEN     (NR_PAGES * (size_t)DIPC_PAGE_SIZE)

/* Shared by everyone in a case. */
struct pager_shared {
	struct dipc_arena_shm shm;
	_Atomic unsigned ready;     /* bit a node */
	_Atomic unsigned must_end;  /* engines: drain, then exit */
	_Atomic unsigned must_stop; /* engines: dipc_pages_stop() first */
	_Atomic uint64_t stopped;
	_Atomic uint64_t sum;   /* what clients did */
	_Atomic unsigned phase; /* cases' own use */
	_Atomic int nattch[NR_NODES + 1];
	_Atomic unsigned nr_strays;
};

/* Between a client and its engine, over a SEQPACKET socket. */
struct pager_message {
	uint32_t op; /* 'A'ttach (with a userfaultfd or none), 'M'apped */
	int32_t status;
	uint64_t addr;
	uint32_t is_readonly;
	uint32_t pid;
};

int pager_message_send(int sock, const struct pager_message *msg, int fd);
/* False: the peer is gone. *FD_OUT is -1 if none came. */
bool pager_message_recv(int sock, struct pager_message *msg, int *fd_out);

/*
 * Be the engine of NODE, until SHARED says to end; then exit: 0 if nothing was
 * left behind. DIR holds the sockets of the transport. SOCKS: our ends of the
 * clients' sockets; only those with nodes[i] == NODE are ours.
 */
void pager_engine_run(unsigned node, struct pager_shared *shared,
		      const char *dir, const int *socks, const unsigned *nodes,
		      uint64_t hold_ns) __attribute__((noreturn));

#endif
