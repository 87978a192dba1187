/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared pages: what the files page*.c and fault.c share. */
#ifndef DIPC_BENCH_PAGE_H
#define DIPC_BENCH_PAGE_H

#include "bench.h"

#define BENCH_PAGE 4096u
#define BENCH_MIB  (1ul << 20)

/*
 * The numbers 0 to NR - 1 in an order that no read-ahead can follow, the same
 * in every process. The caller's to free(); NULL: no room, said.
 */
unsigned *bench_page_order(unsigned nr);
/* Touch what page I in ORDER of MAP says. One sample. */
void bench_page_touch(struct bench_run *run, void *map, unsigned page,
		      bool is_write);
/* Reads every word. */
void bench_page_read_bytes(const char *from, size_t len);

/* JOB's segment, made by role 0, and attached. Its id, or -1, said. */
int bench_segment_open(const struct bench_job *job, size_t size,
		       void **map_out);
/* 0, or -1, said. */
int bench_segment_remove(int id);
/*
 * Role 0 detaches MAP, which sends home what it wrote, and waits until that is
 * done. 0, or -1, said.
 */
int bench_segment_send_home(int id, const void *map);

/* ---- page.c ------------------------------------------------------------- */

/*
 * Role 0 makes the segment, so its node is the home, writes every page and
 * detaches: the home has them, nobody else. Role 1 reads, or writes, each
 * once: samples.
 */
int bench_page_read(const struct bench_job *job, struct bench_run *run);
int bench_page_write(const struct bench_job *job, struct bench_run *run);
/* Role 0 only makes the segment; role 1 has written, role 2 measures. */
int bench_page_read_modified(const struct bench_job *job,
			     struct bench_run *run);
int bench_page_write_modified(const struct bench_job *job,
			      struct bench_run *run);
/* All others have read what the last role then writes, as it has itself. */
int bench_page_invalidate(const struct bench_job *job, struct bench_run *run);
/* Nobody but role 1 has a copy. */
int bench_page_upgrade(const struct bench_job *job, struct bench_run *run);
int bench_page_pingpong(const struct bench_job *job, struct bench_run *run);

/* ---- page_bulk.c -------------------------------------------------------- */

/* Role 0 writes MiB after MiB and detaches; role 1 then reads them: samples. */
int bench_page_seq_read(const struct bench_job *job, struct bench_run *run);
int bench_page_seq_write(const struct bench_job *job, struct bench_run *run);
/* A page, all of it, somewhere in SIZE bytes. */
int bench_page_random_read(const struct bench_job *job, struct bench_run *run);
/* A segment of SIZE bytes: create, attach, touch a word, detach, remove. */
int bench_page_attach(const struct bench_job *job, struct bench_run *run);
/* fork() of a process that has SIZE bytes attached, and has touched them. */
int bench_page_fork(const struct bench_job *job, struct bench_run *run);
/* A sample: fork() of a child that exits at once. 0, or -1, said. */
int bench_page_fork_once(struct bench_run *run);

/* ---- fault.c ------------------------------------------------------------ */

/*
 * A fault with no protocol behind it: of a page of a memfd that is registered
 * with userfaultfd as a segment is, and a handler that has the page's bytes at
 * hand. The handler is another process that spins; one that sleeps in epoll;
 * or the thread's own SIGBUS handler.
 */
int bench_fault_read(const struct bench_job *job, struct bench_run *run);
int bench_fault_read_asleep(const struct bench_job *job, struct bench_run *run);
int bench_fault_read_signal(const struct bench_job *job, struct bench_run *run);
int bench_fault_write(const struct bench_job *job, struct bench_run *run);
int bench_fault_write_asleep(const struct bench_job *job,
			     struct bench_run *run);
int bench_fault_write_signal(const struct bench_job *job,
			     struct bench_run *run);
/* A write to a page that is there, but protected. */
int bench_fault_protect(const struct bench_job *job, struct bench_run *run);
int bench_fault_protect_asleep(const struct bench_job *job,
			       struct bench_run *run);
int bench_fault_protect_signal(const struct bench_job *job,
			       struct bench_run *run);
/* MiB after MiB, SIZE bytes installed at each fault. */
int bench_fault_stream(const struct bench_job *job, struct bench_run *run);
/*
 * fork() of a process that has SIZE bytes there, protected, and a thread that
 * takes userfaultfd's event of it.
 */
int bench_fault_fork(const struct bench_job *job, struct bench_run *run);
/* What the kernel alone needs to put bytes into a hole of a memfd. */
int bench_fault_memfd(const struct bench_job *job, struct bench_run *run);

#endif
