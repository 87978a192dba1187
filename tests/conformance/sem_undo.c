// SPDX-License-Identifier: BSD-2-Clause
// SEM_UNDO.
#include "tests/conformance/sysv.h"

#include <sys/wait.h>
#include <pthread.h>

static void at_exit(void)
{
	int set = three_and_set(2);

	a_semop(B, set, OPS({0, 5, SEM_UNDO}, {1, 3, 0}));
	a_semop(B, set, OPS({0, -2, SEM_UNDO}, {1, -1, SEM_UNDO}));
	a_semop(B, set, OPS({0, 0, SEM_UNDO | IPC_NOWAIT}));
	a_getall(A, set, 2);
	actor_exit(B);
	until(0, a_getval(A, set, 0));
	until(3, a_getval(A, set, 1));
	a_getpid(A, set, 0);
	a_getpid(A, set, 1);
}

static void at_kill(void)
{
	int set = three_and_set(3);

	a_setall(A, set, VALUES(4, 4, 4));
	a_semop(C, set, OPS({0, -3, SEM_UNDO}, {1, 3, SEM_UNDO}));
	a_semop(C, set, OPS({2, -3, SEM_UNDO}, {2, 3, SEM_UNDO}));
	a_getall(B, set, 3);
	actor_kill(C);
	until(4, a_getval(B, set, 0));
	a_getall(A, set, 3);
	a_getpid(B, set, 0);
	a_getpid(B, set, 1);
}

/* exec keeps the adjustments, and what dies then gives them back. */
static void at_exec(void)
{
	int set = three_and_set(1);

	a_semop(B, set, OPS({0, 2, SEM_UNDO}));
	actor_exec(B);
	a_getval(A, set, 0);
	a_semop(B, set, OPS({0, 3, SEM_UNDO}));
	a_getval(A, set, 0);
	actor_exit(B);
	until(0, a_getval(A, set, 0));
}

static void exec_and_nothing_more(void)
{
	int set = three_and_set(1);

	a_semop(B, set, OPS({0, 2, SEM_UNDO}));
	actor_exec(B);
	a_getval(A, set, 0);
	actor_kill(B);
	until(0, a_getval(A, set, 0));
}

/* A failed call, and one that never came to its end, adjust nothing. */
static void not_done(void)
{
	int set = three_and_set(2);

	a_semop(B, set, OPS({0, 1, SEM_UNDO}, {1, -1, IPC_NOWAIT | SEM_UNDO}));
	a_semop(B, set, OPS({0, 1, SEM_UNDO}, {7, -1, SEM_UNDO}));
	a_semtimedop(B, set, OPS({0, 1, SEM_UNDO}, {1, -1, SEM_UNDO}), 10);
	a_semop(blocks(B), set, OPS({0, 1, SEM_UNDO}, {1, -1, SEM_UNDO}));
	actor_kill(B);
	until(0, a_getncnt(A, set, 1));
	a_getall(A, set, 2);
	a_semop(A, set, OPS({1, 1, 0}));
	a_getall(A, set, 2);
}

/* What another completed for a sleeper is the sleeper's to give back. */
static void done_while_asleep(void)
{
	int set = three_and_set(2);

	a_semop(blocks(B), set, OPS({0, -1, SEM_UNDO}, {1, 7, SEM_UNDO}));
	a_semop(C, set, OPS({0, 1, 0}));
	finish(B);
	a_getall(A, set, 2);
	actor_kill(B);
	until(1, a_getval(A, set, 0));
	a_getall(A, set, 2);
}

static void wakes(void)
{
	int set = three_and_set(2);
	struct actor *D = actor_start(1);

	a_setval(A, set, 0, 1);
	a_semop(D, set, OPS({0, -1, SEM_UNDO}, {1, 1, SEM_UNDO}));
	a_semop(blocks(B), set, OPS({0, -1, 0}));
	a_semop(blocks(C), set, OPS({1, 0, 0}));
	actor_kill(D);
	finish(B);
	finish(C);
	a_getall(A, set, 2);
	a_getpid(A, set, 0);
	a_getpid(A, set, 1);
}

/* Never below zero, never above the largest value. */
static void clamped(void)
{
	int set = three_and_set(2);

	a_semop(B, set, OPS({0, 5, SEM_UNDO}));
	a_semop(A, set, OPS({0, -3, 0}));
	a_semop(A, set, OPS({1, 10, 0}));
	a_semop(B, set, OPS({1, -10, SEM_UNDO}));
	a_semop(A, set, OPS({1, 32760, 0}));
	a_getall(A, set, 2);
	actor_exit(B);
	until(0, a_getval(C, set, 0));
	a_getall(C, set, 2);
}

static void adjustment_erange(void)
{
	int set = three_and_set(2);

	a_semop(A, set, OPS({0, 32767, 0}));
	a_semop(B, set, OPS({0, -32767, SEM_UNDO}));
	a_semop(A, set, OPS({0, 2, 0}));
	a_semop(B, set, OPS({0, -1, SEM_UNDO}));
	a_semop(B, set, OPS({1, 1, SEM_UNDO}, {0, -1, SEM_UNDO}));
	a_semop(B, set, OPS({0, -1, 0}));
	a_getall(C, set, 2);
	/* the other way there is room for one more */
	a_semop(C, set, OPS({1, 32767, SEM_UNDO}));
	a_semop(A, set, OPS({1, -32767, 0}));
	a_semop(C, set, OPS({1, 1, SEM_UNDO}));
	a_semop(C, set, OPS({1, 1, SEM_UNDO}));
	a_semop(C, set, OPS({1, 1, SEM_UNDO}, {1, -1, SEM_UNDO}));
	a_getall(A, set, 2);
	actor_exit(B);
	until(32767, a_getval(A, set, 0));
	actor_exit(C);
	until(0, a_getval(A, set, 1));
}

static void setval_clears(void)
{
	int set = three_and_set(2);
	struct actor *D = actor_start(1);

	a_semop(B, set, OPS({0, 1, SEM_UNDO}, {1, 1, SEM_UNDO}));
	a_semop(C, set, OPS({0, 1, SEM_UNDO}, {1, 1, SEM_UNDO}));
	a_semop(D, set, OPS({0, 1, SEM_UNDO}, {1, 1, SEM_UNDO}));
	a_setval(A, set, 0, 20);
	a_getall(A, set, 2);
	/* from here on a new adjustment */
	a_semop(D, set, OPS({0, -4, SEM_UNDO}));
	actor_exit(B);
	until(2, a_getval(A, set, 1));
	a_getall(A, set, 2);
	actor_kill(C);
	until(1, a_getval(A, set, 1));
	a_getall(A, set, 2);
	actor_exit(D);
	until(0, a_getval(A, set, 1));
	a_getall(A, set, 2);
}

static void setall_clears(void)
{
	int set = three_and_set(2);

	a_semop(B, set, OPS({0, 1, SEM_UNDO}, {1, 1, SEM_UNDO}));
	a_semop(C, set, OPS({1, 1, SEM_UNDO}));
	a_setall(C, set, VALUES(10, 10));
	a_semop(B, set, OPS({1, 5, SEM_UNDO}));
	actor_exit(B);
	until(10, a_getval(A, set, 1));
	actor_exit(C);
	sleep_ms(30);
	a_getall(A, set, 2);
	a_getpid(A, set, 0);
}

/* Setting to the value it has clears too; a failed SETVAL does not. */
static void failed_setval(void)
{
	int set = three_and_set(2);

	a_semop(B, set, OPS({0, 2, SEM_UNDO}, {1, 2, SEM_UNDO}));
	a_setval(A, set, 0, 40000);
	a_setval(A, set, 9, 1);
	a_setall(A, set, VALUES(1, 40000));
	a_setval(A, set, 1, 2);
	actor_exit(B);
	until(0, a_getval(A, set, 0));
	a_getall(A, set, 2);
}

static void removal_clears(void)
{
	int set = three_and_set(1);
	int new_set;

	a_semop(B, set, OPS({0, 2, SEM_UNDO}));
	a_semop(C, set, OPS({0, 2, SEM_UNDO}));
	a_sem_rm(A, set);
	new_set = a_semget(A, KEY(1), 1, IPC_CREAT | 0600, "new set");
	a_semop(A, new_set, OPS({0, 9, 0}));
	a_semop(C, new_set, OPS({0, 1, SEM_UNDO}));
	actor_exit(B);
	actor_exit(C);
	until(9, a_getval(A, new_set, 0));
}

static void several_sets(void)
{
	int set = three_and_set(1);
	int second, third;

	second = a_semget(A, IPC_PRIVATE, 2, 0600, "second");
	third = a_semget(A, IPC_PRIVATE, 3, 0600, "third");
	a_semop(B, set, OPS({0, 1, SEM_UNDO}));
	a_semop(B, second, OPS({1, 2, SEM_UNDO}));
	a_semop(B, third, OPS({2, 3, SEM_UNDO}));
	a_sem_rm(C, second);
	actor_exit(B);
	until(0, a_getval(A, third, 2));
	until(0, a_getval(A, set, 0));
}

/* Who may not touch the set any more still gives back. */
static void without_permission(void)
{
	struct actor *u;
	int set = three_and_set(1);

	u = actor_start_uid(2, UID_1);
	a_sem_set(A, set, 0, 0, 0666);
	a_semop(u, set, OPS({0, 3, SEM_UNDO}));
	a_sem_set(A, set, 0, 0, 0600);
	a_semop(u, set, OPS({0, 0, IPC_NOWAIT}));
	actor_exit(u);
	until(0, a_getval(A, set, 0));
}

static void times(void)
{
	int set = three_and_set(1);

	a_semop(B, set, OPS({0, 1, SEM_UNDO}));
	tick();
	a_sem_stat(A, set);
	actor_exit(B);
	until(0, a_getval(A, set, 0));
	a_sem_stat(A, set);
}

/* ---- children: exact when their parent knows of their end -----------------*/

struct child {
	int id;
	int how; /* 0: exit, 1: SIGKILL, 2: SIGKILL while blocked */
	int bad; /* rounds in which not all was given back */
	int rounds;
};

static void in_child(const struct child *arg, int ready)
{
	struct sembuf op = {0, 1, SEM_UNDO};
	struct sembuf never[] = {{0, 1, SEM_UNDO}, {1, -1, SEM_UNDO}};

	if (arg->how != 2 && semop(arg->id, &op, 1) < 0)
		_exit(1);
	if (write(ready, "x", 1) != 1)
		_exit(1);
	if (arg->how == 2)
		semop(arg->id, never, 2);
	if (arg->how == 1)
		pause();
	_exit(0);
}

static int await_count(int id, int num)
{
	for (int i = 0; i < 2000; i++) {
		if (semctl(id, num, GETNCNT) == 1)
			return 0;
		sleep_ms(1);
	}
	return -1;
}

/* One child: what is left of it as soon as waitpid() has returned? */
static bool is_all_given_back(const struct child *arg)
{
	int fds[2];
	char c;
	pid_t pid;
	int left;

	if (pipe(fds) < 0)
		return false;
	pid = fork();
	if (pid == 0)
		in_child(arg, fds[1]);
	left = read(fds[0], &c, 1) != 1;
	if (arg->how == 2)
		left |= await_count(arg->id, 1);
	if (arg->how)
		kill(pid, SIGKILL);
	if (waitpid(pid, NULL, 0) != pid)
		left = 1;
	left |= semctl(arg->id, 0, GETVAL);
	left |= semctl(arg->id, 1, GETNCNT);
	if (arg->how != 2)
		left |= semctl(arg->id, 0, GETPID) != pid;
	close(fds[0]);
	close(fds[1]);
	return left == 0;
}

static long op_children(void *blob, size_t len)
{
	struct child *arg = blob;

	(void)len;
	for (int i = 0; i < arg->rounds; i++)
		arg->bad += !is_all_given_back(arg);
	return 0;
}

static void show_children(long ret, const void *blob, size_t len)
{
	const struct child *arg = blob;

	(void)len;
	out("%ld, in %d of %d something was left", ret, arg->bad, arg->rounds);
}

static void children(void)
{
	static const char *const how[] = {
		"children exit",
		"children are killed",
		"children are killed while they sleep",
	};
	int set = three_and_set(2);

	for (int i = 0; i < 3; i++) {
		struct child arg = {.id = set, .how = i, .rounds = 20};

		act(B, op_children, &arg, sizeof(arg), show_children, "%s",
		    how[i]);
		a_getall(A, set, 2);
	}
}

/* A child has none of its parent's adjustments; the parent keeps its own. */
static long op_fork_and_wait(void *blob, size_t len)
{
	int id = *(int *)blob;
	struct sembuf op = {0, 10, SEM_UNDO};
	pid_t pid;

	(void)len;
	pid = fork();
	if (pid == 0) {
		semop(id, &op, 1);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		return -1;
	return semctl(id, 0, GETVAL);
}

static void not_inherited(void)
{
	int set = three_and_set(1);

	a_semop(B, set, OPS({0, 2, SEM_UNDO}));
	act(B, op_fork_and_wait, &set, sizeof(set), NULL,
	    "a child adds 10 and exits");
	a_getval(A, set, 0);
	actor_exit(B);
	until(0, a_getval(A, set, 0));
}

/* Threads share the adjustments: the end of one is not the end. */
static void *add_in_thread(void *arg)
{
	struct sembuf op = {0, 1, SEM_UNDO};

	semop(*(int *)arg, &op, 1);
	return NULL;
}

static long op_threads(void *blob, size_t len)
{
	pthread_t threads[8];

	(void)len;
	for (int i = 0; i < 8; i++)
		if (pthread_create(&threads[i], NULL, add_in_thread, blob))
			return -1;
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	return semctl(*(int *)blob, 0, GETVAL);
}

static void threads_share(void)
{
	int set = three_and_set(1);

	act(B, op_threads, &set, sizeof(set), NULL, "8 threads add 1 and end");
	a_getval(A, set, 0);
	a_semop(B, set, OPS({0, -3, SEM_UNDO}));
	a_getval(A, set, 0);
	actor_exit(B);
	until(0, a_getval(A, set, 0));
}

const struct conformance_case sem_undo_cases[] = {
	{"sem_undo.at_exit", at_exit},
	{"sem_undo.at_kill", at_kill},
	{"sem_undo.at_exec", at_exec},
	{"sem_undo.exec_and_nothing_more", exec_and_nothing_more},
	{"sem_undo.not_done", not_done},
	{"sem_undo.done_while_asleep", done_while_asleep},
	{"sem_undo.wakes", wakes},
	{"sem_undo.clamped", clamped},
	{"sem_undo.adjustment_erange", adjustment_erange},
	{"sem_undo.setval_clears", setval_clears},
	{"sem_undo.setall_clears", setall_clears},
	{"sem_undo.failed_setval", failed_setval},
	{"sem_undo.removal_clears", removal_clears},
	{"sem_undo.several_sets", several_sets},
	{"sem_undo.without_permission", without_permission},
	{"sem_undo.times", times},
	{"sem_undo.children", children},
	{"sem_undo.not_inherited", not_inherited},
	{"sem_undo.threads_share", threads_share},
	{0},
};
