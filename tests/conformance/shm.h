/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The calls on shared memory: one line of output each. An actor has eight
 * registers for addresses, called a0 to a7: where it attached something.
 */
#ifndef DIPC_TESTS_CONFORMANCE_SHM_H
#define DIPC_TESTS_CONFORMANCE_SHM_H

#include "tests/conformance/case.h"

#include <sys/mman.h>
#include <sys/shm.h>

#define NR_REGS 8
#define PAGE    4096

int a_shmget(struct actor *a, key_t key, size_t size, int flags,
	     const char *name);

/* Anywhere; the address goes to register R. */
long a_shmat(struct actor *a, int id, int r, int flags);
/*
 * At OFFSET from the actor's hole, 64 MiB where nothing is mapped.
 */
long a_shmat_hole(struct actor *a, int id, int r, long offset, int flags);
/* At OFFSET from what is in register FROM. */
long a_shmat_over(struct actor *a, int id, int r, int from, long offset,
		  int flags);
/* At a plain number. */
long a_shmat_number(struct actor *a, int id, int r, unsigned long addr,
		    int flags);
long a_shmdt(struct actor *a, int r, long offset);
long a_shmdt_number(struct actor *a, unsigned long addr);

/* A byte: its value, or SIGSEGV or SIGBUS. */
long a_peek(struct actor *a, int r, long offset);
long a_poke(struct actor *a, int r, long offset, int value);
/* NR bytes from OFFSET on: their sum. */
long a_sum(struct actor *a, int r, long offset, size_t nr);

long a_shm_stat(struct actor *a, int id);
/* nattch and who was last, without times and modes. */
long a_shm_use(struct actor *a, int id);
/* shm_nattch is the result: for until(). */
long a_nattch(struct actor *a, int id);
long a_shm_set(struct actor *a, int id, uid_t uid, gid_t gid, int mode);
long a_shm_rm(struct actor *a, int id);
long a_shmctl(struct actor *a, int id, int cmd, const char *cmd_name);

/* System calls on LEN bytes at OFFSET from register R. */
long a_munmap(struct actor *a, int r, long offset, size_t len);
long a_mprotect(struct actor *a, int r, long offset, size_t len, int prot);
long a_madvise(struct actor *a, int r, long offset, size_t len, int advice,
	       const char *name);
/* The new address goes to register TO. */
long a_mremap(struct actor *a, int r, long offset, size_t len, size_t new_len,
	      int to);
/* Anonymous memory over it, its first byte 'm'. */
long a_mmap_over(struct actor *a, int r, long offset, size_t len);
/* A system call with the memory as its buffer: pread of a file of 'f', pwrite. */
long a_pread(struct actor *a, int r, long offset, size_t len);
long a_pwrite(struct actor *a, int r, long offset, size_t len);
/* Any function on register R's address plus OFFSET. */
typedef long mem_fn(char *addr, size_t len);
long a_run(struct actor *a, mem_fn *fn, int r, long offset, size_t len,
	   const char *name);

#endif
