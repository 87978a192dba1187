// SPDX-License-Identifier: BSD-2-Clause
// Processes that are killed at any moment: SEM_UNDO gives back exactly what
// they had.
#include "tests/conformance/sysv.h"

#include <pthread.h>
#include <sys/wait.h>

struct crash {
	int id;
	int rounds;
	int bad;
};

/* Has the token, and has it not, for ever. */
static void take_and_give(int id)
{
	struct sembuf take[] = {{0, -1, SEM_UNDO}, {1, 1, SEM_UNDO}};
	struct sembuf give[] = {{1, -1, SEM_UNDO}, {0, 1, SEM_UNDO}};

	while (semop(id, take, 2) == 0 && semop(id, give, 2) == 0)
		;
	_exit(1);
}

/* Each child dies somewhere; is the token there when waitpid() returns? */
static long op_kill_children(void *blob, size_t len)
{
	struct crash *arg = blob;

	(void)len;
	for (int i = 0; i < arg->rounds; i++) {
		pid_t pid = fork();

		if (pid == 0)
			take_and_give(arg->id);
		usleep((useconds_t)(1000 + i * 77 % 900));
		if (pid < 0 || kill(pid, SIGKILL) < 0 ||
		    waitpid(pid, NULL, 0) != pid)
			return -1;
		arg->bad += semctl(arg->id, 0, GETVAL) != 1;
		arg->bad += semctl(arg->id, 1, GETVAL) != 0;
	}
	return 0;
}

static void show_crash(long ret, const void *blob, size_t len)
{
	const struct crash *arg = blob;

	(void)len;
	out("%ld, %d wrong values", ret, arg->bad);
}

static void one_parent(void)
{
	int set = three_and_set(2);
	struct crash arg = {set, 40, 0};

	a_semop(A, set, OPS({0, 1, 0}));
	act(B, op_kill_children, &arg, sizeof(arg), show_crash,
	    "40 children are killed");
	until(1, a_getval(A, set, 0));
	a_getall(A, set, 2);
}

static long op_work(void *blob, size_t len)
{
	(void)len;
	take_and_give(*(int *)blob);
	return 0;
}

/* Two at a time on the same token, one of which dies. */
static void two_workers(void)
{
	int set = three_and_set(2);
	struct actor *old = B;

	a_semop(A, set, OPS({0, 1, 0}));
	act(starts(B), op_work, &set, sizeof(set), NULL, "work");
	for (int i = 0; i < 8; i++) {
		struct actor *next = actor_start(1 + i % 3);

		act(starts(next), op_work, &set, sizeof(set), NULL, "work");
		sleep_ms(10 + i);
		actor_kill(old);
		old = next;
	}
	actor_kill(old);
	until(1, a_getval(A, set, 0));
	a_getall(C, set, 2);
}

/* Adjustments of a thousand semaphores, and of forty sets. */
static void many_adjustments(void)
{
	static struct sembuf ops[500];
	int sets[40];
	int set = three_and_set(1000);

	for (int half = 0; half < 2; half++) {
		for (int i = 0; i < 500; i++)
			ops[i] = (struct sembuf){
				(unsigned short)(i + 500 * half),
				(short)(1 + i % 3), SEM_UNDO};
		a_semop(B, set, ops, 500);
	}
	for (int i = 0; i < 40; i++) {
		sets[i] = a_semget(A, IPC_PRIVATE, 3, 0600, "one of forty");
		a_semop(B, sets[i], OPS({1, 5, SEM_UNDO}, {2, 1, 0}));
	}
	a_getall(A, set, 1000);
	actor_kill(B);
	until(0, a_getval(A, sets[39], 1));
	until(0, a_getval(A, set, 999));
	for (int i = 0; i < 40; i++) {
		until(0, a_getval(A, sets[i], 1));
		a_getall(C, sets[i], 3);
	}
	until(0, a_getval(A, set, 0));
	a_getall(A, set, 1000);
}

/* All three hold the same semaphore and die at once. */
static void all_die(void)
{
	int set = three_and_set(2);
	struct actor *D = actor_start(1);

	a_semop(A, set, OPS({0, 1, SEM_UNDO}));
	a_semop(B, set, OPS({0, 2, SEM_UNDO}, {1, 1, SEM_UNDO}));
	a_semop(C, set, OPS({0, 4, SEM_UNDO}, {1, -1, SEM_UNDO}));
	a_getall(D, set, 2);
	actor_kill(A);
	actor_kill(B);
	actor_kill(C);
	until(0, a_getval(D, set, 0));
	a_getval(D, set, 0);
}

/* ---- threads that sleep while another one ends them all --------------------*/

static void *sleep_in_semop(void *arg)
{
	struct sembuf take = {0, -1, SEM_UNDO};

	semop(*(int *)arg, &take, 1);
	return NULL;
}

static long op_start_sleepers(void *blob, size_t len)
{
	static int id;
	pthread_t thread;

	(void)len;
	id = *(int *)blob;
	for (int i = 0; i < 8; i++)
		if (pthread_create(&thread, NULL, sleep_in_semop, &id))
			return -1;
	return 0;
}

static void exec_ends_threads(void)
{
	int set = three_and_set(1);

	act(B, op_start_sleepers, &set, sizeof(set), NULL, "8 threads sleep");
	until(8, a_getncnt(A, set, 0));
	actor_exec(B);
	until(0, a_getncnt(A, set, 0));
	a_semop(A, set, OPS({0, 3, 0}));
	a_getval(A, set, 0);
	a_semop(B, set, OPS({0, -1, 0}));
	a_getval(A, set, 0);
}

static void exit_ends_threads(void)
{
	int set = three_and_set(1);

	act(B, op_start_sleepers, &set, sizeof(set), NULL, "8 threads sleep");
	until(8, a_getncnt(A, set, 0));
	a_semop(A, set, OPS({0, 3, 0}));
	until(5, a_getncnt(A, set, 0));
	actor_exit(B);
	until(0, a_getncnt(A, set, 0));
	until(3, a_getval(A, set, 0));
}

const struct conformance_case sem_crash_cases[] = {
	{"sem_crash.one_parent", one_parent},
	{"sem_crash.two_workers", two_workers},
	{"sem_crash.many_adjustments", many_adjustments},
	{"sem_crash.all_die", all_die},
	{"sem_crash.exec_ends_threads", exec_ends_threads},
	{"sem_crash.exit_ends_threads", exit_ends_threads},
	{0},
};
