/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * start NR TOGETHER: NR short processes, TOGETHER of them at a time, that make
 * no System V call, and as many that make one semop; says what each costs. With
 * an identifier it is one of those processes.
 */
#include <spawn.h>
#include <sys/ipc.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <time.h>

#include "job.h"

#define TOGETHER_MAX 512

extern char **environ;

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double children_cpu(void)
{
	struct rusage ru;

	getrusage(RUSAGE_CHILDREN, &ru);
	return (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
	       (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

static int child(const char *id)
{
	struct sembuf up = {0, 1, 0};

	if (!strcmp(id, "none"))
		return 0;
	if (semop((int)number(id), &up, 1))
		die("semop");
	return 0;
}

static void run(char *self, char *id, long nr, long together)
{
	char *argv[] = {self, id, NULL};
	double since = seconds(), cpu = children_cpu();
	pid_t pids[TOGETHER_MAX];
	long i, j;

	for (i = 0; i < nr; i += j) {
		for (j = 0; j < together && i + j < nr; j++)
			if (posix_spawn(&pids[j], self, NULL, NULL, argv,
					environ))
				die("posix_spawn");
		for (long k = 0; k < j; k++) {
			int status;

			if (waitpid(pids[k], &status, 0) < 0 || status)
				die("process %ld ended with %d", i + k, status);
		}
	}
	printf("%ld processes, %ld at once, %s: %.0f us each, %.0f us of CPU\n",
	       nr, together, strcmp(id, "none") ? "one semop" : "no call",
	       (seconds() - since) / (double)nr * 1e6,
	       (children_cpu() - cpu) / (double)nr * 1e6);
}

int main(int argc, char **argv)
{
	long nr, together;
	char name[20];
	int id;

	if (argc == 2)
		return child(argv[1]);
	if (argc != 3)
		die("usage: start NR TOGETHER");
	nr = number(argv[1]);
	together = number(argv[2]);
	if (together < 1 || together > TOGETHER_MAX)
		die("too many at once");
	id = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
	if (id < 0)
		die("semget");
	snprintf(name, sizeof(name), "%d", id);
	run(argv[0], (char *)"none", nr, together);
	run(argv[0], name, nr, together);
	if (semctl(id, 0, GETVAL) != nr)
		die("the semaphore is at %d", semctl(id, 0, GETVAL));
	if (semctl(id, 0, IPC_RMID))
		die("removing the set");
	return 0;
}
