/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * life KEY WHAT [ARG]: what processes do in life.sh. Exit status 0 when all
 * was as System V has it; 3 when the cluster was out of reach (ENOLINK).
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "job.h"

#define THREADS 64

static int sem_open_key(key_t key, int value)
{
	int sem = semget(key, 1, IPC_CREAT | IPC_EXCL | IPC_DIPC | 0600);

	if (sem >= 0) {
		if (semctl(sem, 0, SETVAL, value))
			die("SETVAL");
		return sem;
	}
	sem = semget(key, 1, IPC_DIPC | 0600);
	if (sem < 0)
		die("semget");
	return sem;
}

static int sem_step(int sem, short op, short flags)
{
	struct sembuf sb = {.sem_num = 0, .sem_op = op, .sem_flg = flags};

	return semop(sem, &sb, 1);
}

static char *shm_open_key(key_t key, size_t size, int *id_out)
{
	int id = shmget(key, size, IPC_CREAT | IPC_DIPC | 0600);
	char *seg;

	if (id < 0)
		die("shmget");
	seg = shmat(id, NULL, 0);
	if (seg == (void *)-1)
		die("shmat");
	*id_out = id;
	return seg;
}

static void tell(const char *path)
{
	char text[32];
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (fd < 0 || write(fd, text, (size_t)n) != n)
		die("%s", path);
	close(fd);
}

static int hold(key_t key, const char *path)
{
	if (sem_step(sem_open_key(key, 1), -1, SEM_UNDO))
		die("semop");
	tell(path);
	for (;;)
		pause();
}

static int take(key_t key)
{
	if (sem_step(sem_open_key(key, 1), -1, SEM_UNDO))
		die("semop");
	return 0;
}

static void on_alarm(int sig)
{
	(void)sig;
}

static int interrupted(key_t key)
{
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	struct itimerval timer = {.it_value.tv_usec = 200000};
	struct timespec limit = {.tv_nsec = 100000000};
	struct sembuf sb = {.sem_num = 0, .sem_op = -1};
	int sem = sem_open_key(key, 0);

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	if (sem_step(sem, -1, 0) != -1 || errno != EINTR)
		die("not interrupted");
	if (semtimedop(sem, &sb, 1, &limit) != -1 || errno != EAGAIN)
		die("no timeout");
	if (sem_step(sem, -1, IPC_NOWAIT) != -1 || errno != EAGAIN)
		die("IPC_NOWAIT");
	if (semctl(sem, 0, GETNCNT) != 0)
		die("a waiter is left");
	return 0;
}

static unsigned long attachments(int id)
{
	struct shmid_ds ds;

	if (shmctl(id, IPC_STAT, &ds))
		die("IPC_STAT");
	return ds.shm_nattch;
}

static int forks(key_t key)
{
	int id, status;
	volatile char *seg = shm_open_key(key, 3 * 4096, &id);
	pid_t child;

	seg[0] = 'p';
	child = fork();
	if (child == 0) {
		if (seg[0] != 'p')
			_exit(11);
		seg[4096] = 'c'; /* a page nobody has touched */
		if (attachments(id) != 2)
			_exit(12);
		_exit(shmdt((const void *)(uintptr_t)seg) ? 13 : 0);
	}
	if (waitpid(child, &status, 0) != child || status)
		die("child: status 0x%x", status);
	if (seg[4096] != 'c')
		die("the child's write is not here");
	if (attachments(id) != 1)
		die("nattch is %lu", attachments(id));
	if (shmdt((const void *)(uintptr_t)seg))
		die("shmdt");
	if (attachments(id) != 0)
		die("nattch is %lu after shmdt", attachments(id));
	return 0;
}

struct thread_job {
	int sem;
	long count;
	volatile long *total;
};

static void *thread_main(void *arg)
{
	struct thread_job *job = arg;
	long i;

	for (i = 0; i < job->count; i++) {
		if (sem_step(job->sem, -1, 0))
			die("P");
		(*job->total)++;
		if (sem_step(job->sem, 1, 0))
			die("V");
	}
	return NULL;
}

static int threads(key_t key, long count)
{
	volatile long total = 0;
	struct thread_job job = {.count = count, .total = &total};
	pthread_t thread[THREADS];
	int i;

	job.sem = sem_open_key(key, 1);
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, thread_main, &job))
			die("pthread_create");
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	if (total != THREADS * count)
		die("%ld instead of %ld", total, THREADS * count);
	return 0;
}

static int until_removed(key_t key, const char *path)
{
	int sem = sem_open_key(key, 0);

	tell(path);
	if (sem_step(sem, -1, 0) != -1 || errno != EIDRM)
		die("not EIDRM");
	if (sem_step(sem, 1, 0) != -1 || (errno != EIDRM && errno != EINVAL))
		die("the set still works");
	return 0;
}

static int until_lost(key_t key, const char *path)
{
	int sem = sem_open_key(key, 0);

	tell(path);
	if (sem_step(sem, -1, 0) != -1 || errno != ENOLINK)
		die("not ENOLINK");
	return 3;
}

/* A daemon that closes every descriptor does not know of ours. */
static int closes_all(key_t key)
{
	int id, fd, i, round, sem = sem_open_key(key, 1);
	char *seg = shm_open_key(key, 8192, &id);

	for (round = 0; round < 20; round++) {
		for (i = 3; i < 1024; i++)
			close(i);
		fd = open("/dev/null", O_RDWR);
		if (sem_step(sem, -1, 0) || sem_step(sem, 1, 0))
			die("semop after closing all");
		seg[round * 100]++;
		if (fcntl(fd, F_GETFD) < 0)
			die("the library closed what is not its own");
	}
	if (attachments(id) != 1)
		die("nattch is %lu", attachments(id));
	return 0;
}

#define SLEEPERS 300

static void *sleeper_main(void *arg)
{
	if (sem_step(*(int *)arg, -1, 0))
		die("P");
	return NULL;
}

/* More blocked threads than most programs have do not block the one that
   would let them go. */
static int sleepers(key_t key)
{
	int i, sem = sem_open_key(key, 0);
	pthread_t thread[SLEEPERS];

	for (i = 0; i < SLEEPERS; i++)
		if (pthread_create(&thread[i], NULL, sleeper_main, &sem))
			die("pthread_create");
	while (semctl(sem, 0, GETNCNT) != SLEEPERS)
		usleep(10000);
	if (sem_step(sem, SLEEPERS, 0))
		die("V");
	for (i = 0; i < SLEEPERS; i++)
		pthread_join(thread[i], NULL);
	return 0;
}

/* P with SEM_UNDO blocked, SETALL lets it go, exit gives it back. */
static int undo_after_setall(key_t key)
{
	unsigned short values[1] = {1};
	int status, sem = sem_open_key(key, 0);
	pid_t child = fork();

	if (child == 0)
		_exit(sem_step(sem, -1, SEM_UNDO) ? 1 : 0);
	while (semctl(sem, 0, GETNCNT) != 1)
		usleep(10000);
	if (semctl(sem, 0, SETALL, values))
		die("SETALL");
	if (waitpid(child, &status, 0) != child || status)
		die("child: status 0x%x", status);
	for (status = 0; status < 500 && semctl(sem, 0, GETVAL) != 1; status++)
		usleep(10000);
	if (semctl(sem, 0, GETVAL) != 1)
		die("the semaphore is %d", semctl(sem, 0, GETVAL));
	return 0;
}

static int plain(key_t key)
{
	int sem = semget(key, 1, IPC_CREAT | 0600);
	int ret;

	if (sem < 0)
		die("semget");
	ret = semctl(sem, 0, SETVAL, 5);
	if (ret || semctl(sem, 0, GETVAL) != 5)
		die("SETVAL");
	if (sem & 0x40000000)
		die("the kernel's identifier is 0x%x", (unsigned)sem);
	if (semctl(sem, 0, IPC_RMID))
		die("IPC_RMID");
	return 0;
}

static int touch_for_ever(key_t key, const char *path)
{
	int id;
	volatile char *seg = shm_open_key(key, 256 * 4096, &id);
	size_t i = 0;

	seg[0] = 1;
	tell(path);
	for (;;) {
		seg[i++ % 256 * 4096]++;
		usleep(1000);
		if (semget(key, 1, IPC_CREAT | IPC_DIPC | 0600) < 0 &&
		    errno == ENOLINK)
			return 3;
	}
}

static int remove_all(key_t key)
{
	int sem = semget(key, 0, IPC_DIPC);
	int shm = shmget(key, 0, IPC_DIPC);

	if (sem < 0 && shm < 0)
		die("nothing to remove");
	if (sem >= 0 && semctl(sem, 0, IPC_RMID))
		die("semctl IPC_RMID");
	if (shm >= 0 && shmctl(shm, IPC_RMID, NULL))
		die("shmctl IPC_RMID");
	return 0;
}

int main(int argc, char **argv)
{
	const char *what;
	key_t key;

	if (argc < 3)
		die("usage: life KEY WHAT [ARG]");
	key = (key_t)number(argv[1]);
	what = argv[2];
	if (!strcmp(what, "hold") && argc == 4)
		return hold(key, argv[3]);
	if (!strcmp(what, "take"))
		return take(key);
	if (!strcmp(what, "interrupted"))
		return interrupted(key);
	if (!strcmp(what, "fork"))
		return forks(key);
	if (!strcmp(what, "threads") && argc == 4)
		return threads(key, number(argv[3]));
	if (!strcmp(what, "until_removed") && argc == 4)
		return until_removed(key, argv[3]);
	if (!strcmp(what, "until_lost") && argc == 4)
		return until_lost(key, argv[3]);
	if (!strcmp(what, "closes_all"))
		return closes_all(key);
	if (!strcmp(what, "sleepers"))
		return sleepers(key);
	if (!strcmp(what, "undo_after_setall"))
		return undo_after_setall(key);
	if (!strcmp(what, "plain"))
		return plain(key);
	if (!strcmp(what, "touch_for_ever") && argc == 4)
		return touch_for_ever(key, argv[3]);
	if (!strcmp(what, "remove"))
		return remove_all(key);
	die("unknown: %s", what);
}
