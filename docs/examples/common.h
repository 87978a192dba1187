/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * common.h - what both examples need around System V IPC: options, starting
 * workers, noticing that one died, a progress bar, and leaving no object
 * behind. Nothing here knows about clusters.
 *
 * A job is a parent and N workers. The parent creates every IPC object,
 * starts the workers, waits, and removes the objects, whatever happens.
 * A worker is the same program, started with --worker=NUMBER --key KEY.
 */
#ifndef DIPC_EXAMPLES_COMMON_H
#define DIPC_EXAMPLES_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <getopt.h>
#include <sys/types.h>

#define EX_PAGE        4096 /* what two workers write lies in two pages */
#define EX_MAX_WORKERS 256

struct ex_job {
	bool local; /* --local: leave IPC_DIPC out */
	bool wait;  /* --wait: the workers are started by hand */
	bool is_worker;
	unsigned number; /* of this worker, 1..workers; 0 if unknown */
	unsigned workers;
	unsigned timeout;  /* seconds of silence that mean failure; 0: never */
	key_t key;         /* the objects use key and key + 1 */
	const char *spawn; /* shell command, see ex_help */
};

/* clang-format off */
#define EX_JOB_DEFAULT \
	(struct ex_job) { .workers = 2, .timeout = 60, .spawn = "exec %w" }

/* The options of every job: put them into the program's own table. */
#define EX_LONG_OPTIONS \
	{ "workers", required_argument, NULL, 'n' }, \
	{ "spawn", required_argument, NULL, 's' }, \
	{ "wait", no_argument, NULL, 'w' }, \
	{ "timeout", required_argument, NULL, 't' }, \
	{ "key", required_argument, NULL, 'k' }, \
	{ "local", no_argument, NULL, 'l' }, \
	{ "worker", optional_argument, NULL, 'W' }, \
	{ "help", no_argument, NULL, 'h' }
/* clang-format on */

/* What they do, to print after the program's own. */
extern const char ex_help[];

/* One of EX_LONG_OPTIONS? Takes it over into JOB. false: not ours. */
bool ex_option(struct ex_job *job, int opt, const char *arg);

/* ARG as a number from MIN to MAX. Ends the program if it is not one. */
uint64_t ex_number(const char *option, const char *arg, uint64_t min,
		   uint64_t max);

/* Call once after all options: checks them and chooses a key. */
void ex_job_check(struct ex_job *job);

/*
 * One line on stderr, everything cleaned up, exit status 1. The format may
 * use %m.
 */
_Noreturn void ex_die(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));

/*
 * Remove the object ID when this process ends. Call ex_guard() before the
 * first object is created.
 */
enum ex_kind { EX_SHM, EX_SEM, EX_MSG };
void ex_own(enum ex_kind kind, int id);

/*
 * From here on a signal, a failing worker and a lost page end the parent in
 * good order. A timer interrupts its waits (EINTR) five times a second; call
 * ex_watch() then. Objects must be complete before ex_spawn().
 */
void ex_guard(void);
void ex_spawn(const struct ex_job *job);

/* Ends the program if interrupted, if a worker failed, or on silence. */
void ex_watch(const struct ex_job *job);

/* A worker was heard of: the silence starts anew. */
void ex_heard(void);

/* The good end: wait for the workers, remove the objects, drop the guard. */
void ex_finish(const struct ex_job *job);

/*
 * semop() that ends the program on errors. Goes on after a signal (SIGCONT
 * interrupts semop even where no handler is installed).
 */
struct sembuf;
void ex_semop(int semid, struct sembuf *ops, size_t nr);

/*
 * A worker's System V call failed: ends the program with WHAT and errno, or
 * silently if the parent removed the objects to end the job.
 */
_Noreturn void ex_lost(const char *what);

/* A bar on a terminal; otherwise a line at each quarter. Both on stderr. */
struct ex_bar {
	const char *label;
	uint64_t total;
	unsigned shown; /* per cent */
};
void ex_bar_show(struct ex_bar *bar, uint64_t done);

/* Seconds since some moment in the past. */
double ex_now(void);

/* FNV-1a, 64 bits, continued from HASH; start with EX_FNV. */
#define EX_FNV 0xcbf29ce484222325u
static inline uint64_t ex_fnv(uint64_t hash, unsigned char byte)
{
	return (hash ^ byte) * 0x100000001b3u;
}

#endif
