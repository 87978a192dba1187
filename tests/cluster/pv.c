/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pv KEY setup | work PAIRS | check TOTAL: processes increment a counter in
 * shared memory, not atomically, each time between a P and a V.
 */
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "job.h"

static void step(int sem, short op)
{
	struct sembuf sb = {.sem_num = 0, .sem_op = op, .sem_flg = SEM_UNDO};

	while (semop(sem, &sb, 1))
		if (errno != EINTR)
			die("semop %d", op);
}

static void work(volatile uint64_t *counter, int sem, long pairs)
{
	long i;

	for (i = 0; i < pairs; i++) {
		step(sem, -1);
		(*counter)++;
		step(sem, 1);
	}
}

int main(int argc, char **argv)
{
	volatile uint64_t *counter;
	long n = 0;
	int shm, sem;
	key_t key;

	if (argc < 3)
		die("usage: pv KEY setup | work PAIRS | check TOTAL");
	key = (key_t)number(argv[1]);
	if (argc > 3)
		n = number(argv[3]);
	shm = shmget(key, 4096, IPC_CREAT | IPC_DIPC | 0600);
	sem = semget(key, 1, IPC_CREAT | IPC_DIPC | 0600);
	if (shm < 0 || sem < 0)
		die("shmget %d, semget %d", shm, sem);
	counter = shmat(shm, NULL, 0);
	if (counter == (void *)-1)
		die("shmat");
	if (!strcmp(argv[2], "setup")) {
		if (semctl(sem, 0, SETVAL, 1))
			die("SETVAL");
	} else if (!strcmp(argv[2], "work")) {
		await_go();
		work(counter, sem, n);
	} else {
		if (*counter != (uint64_t)n)
			die("counter is %lu, not %ld", (unsigned long)*counter,
			    n);
		if (semctl(sem, 0, GETVAL) != 1)
			die("the semaphore is %d", semctl(sem, 0, GETVAL));
		if (shmctl(shm, IPC_RMID, NULL) || semctl(sem, 0, IPC_RMID))
			die("IPC_RMID");
		printf("pv: %ld, exactly\n", n);
	}
	return 0;
}
