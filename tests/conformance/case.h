/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a conformance case is written with.
 *
 * A case is straight-line C in the *driver*, which makes no IPC call. It starts
 * *actors*, processes at places 1 to 3, and has them call functions of this
 * program. Each call prints one line; the lines of all calls are what must be
 * the same everywhere. So nothing is printed that differs from run to run:
 * objects, processes and times have names (names.c).
 *
 * Objects need not be removed, processes need not be stopped: main.c does.
 */
#ifndef DIPC_TESTS_CONFORMANCE_CASE_H
#define DIPC_TESTS_CONFORMANCE_CASE_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct conformance_case {
	const char *name; /* "theme.case"; the theme is the file's name */
	void (*run)(void);
};

/* ---- actors ---------------------------------------------------------------*/

struct actor;

struct actor_options {
	uid_t uid;          /* and gid; 0: root */
	const char *env[8]; /* "NAME=VALUE", up to a NULL */
};

/* Actors are called A, B, C ... in the order of their start. */
struct actor *actor_start(int place);
struct actor *actor_start_as(int place, const struct actor_options *options);
#define UID_1 1001
#define UID_2 1002
struct actor *actor_start_uid(int place, uid_t uid);

/* SIGKILL, exit(0), exec of the same program: back when it has happened. */
void actor_kill(struct actor *a);
void actor_exit(struct actor *a);
void actor_exec(struct actor *a);
void actor_signal(struct actor *a, int sig);
/* A handler for SIG that counts, with FLAGS for sigaction. */
void actor_catch(struct actor *a, int sig, int flags);
/* Prints how many signals it caught since the last time. */
void actor_caught(struct actor *a);
pid_t actor_pid(const struct actor *a);
const char *actor_name(const struct actor *a);

/* ---- calls ----------------------------------------------------------------*/

#define ACTOR_BLOB_MAX 131072

/*
 * Runs in the actor. BLOB is the caller's, and goes back as the function
 * leaves it. The result is what a system call would return, errno with it.
 */
typedef long actor_fn(void *blob, size_t len);

/* What is printed after "= " when RET is not -1. */
typedef void show_fn(long ret, const void *blob, size_t len);

/*
 * Has A run FN and prints "A: TEXT = result". SHOW NULL: the plain number.
 * Returns the result, or -errno; 0 for what was only begun (see below). If BLOB
 * is given and the call has ended, it holds what FN left.
 */
long act(struct actor *a, actor_fn *fn, void *blob, size_t len, show_fn *show,
	 const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/*
 * For the next call of A: begin it and go on; begin it and wait until A
 * sleeps in it. Each returns A: a_semop(blocks(b), set, OPS({0, -1, 0})).
 */
struct actor *starts(struct actor *a);
struct actor *blocks(struct actor *a);

/* Waits for the end of what was begun and prints its line; "does not end" after 2 s. */
long finish(struct actor *a);
/* The same for what takes long: 12 s. */
long finish_work(struct actor *a);
/* Has what was begun ended (within MS)? It is not printed: finish(a) does. */
bool has_ended(struct actor *a, int ms);
/* Has A no call under way? */
bool has_answered(const struct actor *a);
/* Says whether A still sleeps in what was begun; if it does not, finish(a). */
void still_blocked(struct actor *a);

/*
 * Where A's next call has its pointers. EDGE: the first LEN bytes lie before a
 * page that is not mapped.
 */
enum where { AT_HOME, AT_NULL, AT_UNMAPPED, AT_READONLY, AT_EDGE };
struct actor *at(struct actor *a, enum where where);
struct actor *at_edge(struct actor *a, int len);
struct actor *timeout_at(struct actor *a, enum where where);
struct actor *timeout_at_edge(struct actor *a, int len);

/* For typed wrappers: take what at() said. */
struct pointer {
	int where;
	int len;
};
struct pointer take_pointer(struct actor *a);
struct pointer take_timeout_pointer(struct actor *a);
/* NULL if the pointer is a plain one, else what to print for it. */
const char *pointer_text(struct pointer p);
/* In the actor: LEN bytes of DATA where P says. */
void *pointer_place(struct pointer p, const void *data, size_t len);
/* In the actor: what can be read of it goes back to DATA. */
void pointer_fetch(struct pointer p, const void *placed, void *data,
		   size_t len);

/*
 * Repeats CALL, a wrapper's, until it returns EXPECTED (or 2 s are over), and
 * prints its last line only: for effects of a death, which arrive a moment
 * later on other nodes.
 */
#define until(expected, call)                                                  \
	do {                                                                   \
		until_begin();                                                 \
		while (!until_done((call), (expected)))                        \
			;                                                      \
	} while (0)
void until_begin(void);
bool until_done(long got, long expected);

/*
 * The next line's result differs on purpose: it is not printed. WORDS are from
 * the row of docs/deviations.md that gives the reason.
 */
void deviates(const char *words);

/* ---- output ---------------------------------------------------------------*/

/* A line of one's own; end it with \n. */
void out(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void complain(const char *fmt, ...)
	__attribute__((noreturn, format(printf, 1, 2)));
/* Milliseconds, more on a slow machine. */
int scaled_ms(int ms);
void sleep_ms(int ms);
int64_t now_ms(void);

/* ---- names ----------------------------------------------------------------*/

enum object_kind { OBJECT_SEM, OBJECT_MSG, OBJECT_SHM };

/* Keys of this run; N from 0 to 255. */
key_t KEY(int n);
const char *key_name(key_t key);
/* From now on ID is printed as NAME, and removed at the end. */
void name_object(enum object_kind kind, int id, const char *name);
const char *object_name(enum object_kind kind, int id);
void name_pid(pid_t pid, const char *name);
/* The actor's name, "0", or "unknown". */
const char *pid_name(pid_t pid);

/*
 * "0"; "t0", since the case began; "t1" after the first tick(), and so on. tick()
 * waits for the next second.
 */
void tick(void);
const char *time_name(time_t t);
const char *errno_name(int err);
/* "IPC_CREAT|0600" */
const char *get_flags(int flags);
const char *sem_flags(int flags);
const char *msg_flags(int flags);
/* "hello", or 100 x 'a' */
const char *text_name(const char *text, size_t len);

#endif
