/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * many make QUEUES SETS SEGMENTS SEMAPHORES: so many queues with a message in
 * each, sets of one semaphore, segments, all of them attached and written to
 * at once, and one set of SEMAPHORES.
 * many remove: every object there is, found as ipcs does, by index.
 * many fails: calls that must fail, one for each limit that is 3.
 * many bad: files with bad names, as without this library.
 */
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <time.h>

#include "job.h"

struct message {
	long type;
	char text[100];
};

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void took(double *since, const char *what, long nr)
{
	double now = seconds();

	printf("%ld %s: %.2f s\n", nr, what, now - *since);
	*since = seconds();
}

/* ---- make ---------------------------------------------------------------- */

static void make_queues(long nr)
{
	struct message m = {.type = 7};
	long i;

	for (i = 0; i < nr; i++) {
		int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);

		if (id < 0)
			die("queue %ld", i);
		memcpy(m.text, &i, sizeof(i));
		if (msgsnd(id, &m, sizeof(m.text), IPC_NOWAIT))
			die("message %ld", i);
	}
}

static void make_sets(long nr)
{
	long i;

	for (i = 0; i < nr; i++)
		if (semget(IPC_PRIVATE, 1, IPC_CREAT | 0600) < 0)
			die("set %ld", i);
}

static void make_segments(long nr)
{
	volatile long **at = calloc((size_t)nr, sizeof(*at));
	long i;

	for (i = 0; at && i < nr; i++) {
		int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);

		if (id < 0)
			die("segment %ld", i);
		at[i] = shmat(id, NULL, 0);
		if (at[i] == (void *)-1)
			die("attaching segment %ld", i);
		*at[i] = i;
	}
	for (i = 0; at && i < nr; i++)
		if (*at[i] != i)
			die("segment %ld has %ld", i, *at[i]);
	free(at);
}

static void make_large_set(long nr)
{
	unsigned short *values = calloc((size_t)nr, sizeof(*values));
	struct sembuf last = {(unsigned short)(nr - 1), 5, 0};
	int id = semget(IPC_PRIVATE, (int)nr, IPC_CREAT | 0600);

	if (id < 0 || !values)
		die("a set of %ld", nr);
	if (semop(id, &last, 1) || semctl(id, 0, GETALL, values))
		die("the set of %ld", nr);
	if (values[nr - 1] != 5 || values[0] != 0)
		die("the set of %ld has wrong values", nr);
	free(values);
}

static void make(char **argv)
{
	double since = seconds();

	make_queues(number(argv[0]));
	took(&since, "queues", number(argv[0]));
	make_sets(number(argv[1]));
	took(&since, "sets", number(argv[1]));
	make_segments(number(argv[2]));
	took(&since, "segments, attached", number(argv[2]));
	make_large_set(number(argv[3]));
	took(&since, "semaphores in one set", number(argv[3]));
}

/* ---- remove -------------------------------------------------------------- */

static void remove_all(void)
{
	double since = seconds();
	struct msginfo msginfo;
	struct seminfo seminfo;
	struct shm_info shm_info;
	struct msqid_ds msg;
	struct semid_ds sem;
	struct shmid_ds shm;
	long nr = 0;
	int i, id, max;

	max = msgctl(0, MSG_INFO, (void *)&msginfo);
	for (i = 0; i <= max; i++)
		if ((id = msgctl(i, MSG_STAT, &msg)) >= 0) {
			if (msgctl(id, IPC_RMID, NULL))
				die("removing queue %d", id);
			nr++;
		}
	took(&since, "queues removed", nr);
	max = semctl(0, 0, SEM_INFO, &seminfo);
	for (i = 0, nr = 0; i <= max; i++)
		if ((id = semctl(i, 0, SEM_STAT, &sem)) >= 0) {
			if (semctl(id, 0, IPC_RMID))
				die("removing set %d", id);
			nr++;
		}
	took(&since, "sets removed", nr);
	max = shmctl(0, SHM_INFO, (struct shmid_ds *)&shm_info);
	for (i = 0, nr = 0; i <= max; i++)
		if ((id = shmctl(i, SHM_STAT, &shm)) >= 0) {
			if (shmctl(id, IPC_RMID, NULL))
				die("removing segment %d", id);
			nr++;
		}
	took(&since, "segments removed", nr);
}

/* ---- fails --------------------------------------------------------------- */

static void must_be(const char *what, int ret, int want)
{
	if (ret >= 0 || errno != want)
		die("%s: %d", what, ret);
}

static void fails(void)
{
	must_be("a fourth queue", msgget(IPC_PRIVATE, 0600), ENOSPC);
	must_be("a fourth set", semget(IPC_PRIVATE, 1, 0600), ENOSPC);
	must_be("a fourth segment", shmget(IPC_PRIVATE, 1, 0600), ENOSPC);
}

static void bad(void)
{
	const char *volatile nowhere = NULL; /* the compiler must not see it */
	const char *none = "/proc/sysvipc/none";
	struct stat st;
	int fd;

	must_be("open(NULL)", open(nowhere, O_RDONLY), EFAULT);
	must_be("open(1)", open((const char *)8, O_RDONLY), EFAULT);
	must_be("open(none)", open(none, O_RDONLY), ENOENT);
	must_be("openat", openat(AT_FDCWD, nowhere, O_RDONLY), EFAULT);
	must_be("as a folder",
		open("/proc/sysvipc/shm", O_RDONLY | O_DIRECTORY), ENOTDIR);
	fd = open("/proc/sysvipc/shm", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fcntl(fd, F_GETFD) != FD_CLOEXEC)
		die("O_CLOEXEC is lost");
	must_be("writing", (int)write(fd, "x", 1), EBADF);
	close(fd);
	fd = open("many.tmp", O_WRONLY | O_CREAT | O_EXCL, 0640);
	if (fd < 0)
		die("making a file");
	if (fstat(fd, &st) || (st.st_mode & 0777) != 0640)
		die("the mode is lost: %o", st.st_mode);
	close(fd);
	unlink("many.tmp");
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], "make"))
		make(argv + 2);
	else if (argc == 2 && !strcmp(argv[1], "remove"))
		remove_all();
	else if (argc == 2 && !strcmp(argv[1], "fails"))
		fails();
	else if (argc == 2 && !strcmp(argv[1], "bad"))
		bad();
	else
		die("usage: many make QUEUES SETS SEGMENTS SEMAPHORES | "
		    "remove | fails | bad");
	return 0;
}
