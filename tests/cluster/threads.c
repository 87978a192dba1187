/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * threads KEY WHAT [ROUNDS]: threads in calls, cancelled, interrupted, left
 * behind by exit and exec; and children of vfork. Exit status 0 when all was as
 * on Linux; the same program runs on the kernel's objects, too.
 */
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <time.h>

#include "job.h"

#define CROWD 64

extern char **environ;

struct message {
	long type;
	char text[4096];
};

static int sem, queue;
static _Atomic long nr_received, nr_interrupted, nr_done;

static int step(short op)
{
	struct sembuf sb = {.sem_num = 0, .sem_op = op};

	return semop(sem, &sb, 1);
}

static long waiters(void)
{
	int n = semctl(sem, 0, GETNCNT);

	if (n < 0)
		die("GETNCNT");
	return n;
}

static void await_waiters(long nr)
{
	unsigned tries;

	for (tries = 0; waiters() != nr; tries++) {
		if (tries > 10000)
			die("%ld waiters instead of %ld", waiters(), nr);
		usleep(1000);
	}
}

static pthread_t start(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, fn, arg))
		die("pthread_create");
	return thread;
}

/* Joined within ten seconds; true if it was cancelled. */
static int join(pthread_t thread)
{
	struct timespec limit;
	void *result;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 10;
	errno = pthread_timedjoin_np(thread, &result, &limit);
	if (errno)
		die("a thread does not end");
	return result == PTHREAD_CANCELED;
}

static void send_one(void)
{
	struct message m = {.type = 1};

	if (msgsnd(queue, &m, 1, 0))
		die("msgsnd");
}

static unsigned long queued(void)
{
	struct msqid_ds ds;

	if (msgctl(queue, IPC_STAT, &ds))
		die("IPC_STAT");
	return ds.msg_qnum;
}

/* ---- cancellation -------------------------------------------------------- */

static void *receiver(void *arg)
{
	struct message m;

	if (arg)
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	if (msgrcv(queue, &m, sizeof(m.text), 0, 0) < 0)
		die("msgrcv");
	nr_received++;
	return NULL;
}

static void *sender(void *arg)
{
	struct message m = {.type = 2};

	(void)arg;
	for (;;)
		if (msgsnd(queue, &m, sizeof(m.text), 0))
			die("msgsnd");
}

static void *disabled(void *arg)
{
	struct message m;

	(void)arg;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	if (msgrcv(queue, &m, sizeof(m.text), 0, 0) < 0)
		die("msgrcv");
	nr_received++;
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	pthread_testcancel();
	return NULL;
}

static void *in_semop(void *arg)
{
	(void)arg;
	if (step(-1))
		die("semop");
	nr_done++;
	pthread_testcancel();
	return NULL;
}

static int cancelled(void)
{
	pthread_t t;

	t = start(receiver, NULL); /* blocked, deferred */
	usleep(50000);
	pthread_cancel(t);
	if (!join(t))
		die("msgrcv: not cancelled");
	t = start(receiver, &t); /* blocked, asynchronous */
	usleep(50000);
	pthread_cancel(t);
	if (!join(t))
		die("msgrcv, asynchronous: not cancelled");
	t = start(sender, NULL); /* until the queue is full */
	usleep(50000);
	pthread_cancel(t);
	if (!join(t))
		die("msgsnd: not cancelled");
	t = start(disabled, NULL); /* takes one of them */
	join(t);
	while (queued())
		receiver(NULL);
	nr_received = 0;
	t = start(disabled, NULL);
	usleep(50000);
	pthread_cancel(t);
	usleep(50000);
	if (nr_received)
		die("received what nobody sent");
	send_one();
	if (!join(t) || nr_received != 1)
		die("PTHREAD_CANCEL_DISABLE: %ld received", nr_received);
	t = start(in_semop, NULL);
	await_waiters(1);
	pthread_cancel(t);
	usleep(50000);
	if (nr_done || waiters() != 1)
		die("semop is no cancellation point");
	if (step(1) || !join(t) || nr_done != 1)
		die("semop after pthread_cancel");
	return 0;
}

/*
 * At whatever instant; more often than there are request slots. A message is
 * received, or it is still there: none goes with a thread of the deferred type.
 * (With one of the asynchronous type it may, and in libc with any.)
 */
static int cancel_hammer(long rounds, int is_async)
{
	unsigned long nr_left;
	long i, nr_sent = 0;

	for (i = 0; i < rounds; i++) {
		const struct timespec t = {.tv_nsec = random() % 150000};
		pthread_t thread = start(receiver, is_async ? &i : NULL);

		nanosleep(&t, NULL);
		if (i % 3 == 0) {
			send_one();
			nr_sent++;
		}
		pthread_cancel(thread);
		join(thread);
	}
	nr_left = queued();
	printf("%ld sent, %ld received, %lu left\n", nr_sent, nr_received,
	       nr_left);
	return is_async || nr_received + (long)nr_left == nr_sent ? 0 : 1;
}

/* ---- many at once -------------------------------------------------------- */

static void count_it(int sig)
{
	(void)sig;
}

static void *take_some(void *arg)
{
	long n = *(long *)arg;

	while (n) {
		if (step(-1) == 0)
			n--;
		else if (errno == EINTR)
			nr_interrupted++;
		else
			die("semop");
	}
	nr_done++;
	return NULL;
}

/* ROUNDS each; somebody else, on another node, gives. */
static int crowd(long rounds)
{
	struct sigaction sa = {.sa_handler = count_it, .sa_flags = SA_RESTART};
	pthread_t thread[CROWD];
	unsigned i;

	sigaction(SIGUSR1, &sa, NULL);
	for (i = 0; i < CROWD; i++)
		thread[i] = start(take_some, &rounds);
	for (i = 0; nr_done < CROWD; i++) {
		pthread_kill(thread[i % CROWD], SIGUSR1);
		usleep(500);
	}
	for (i = 0; i < CROWD; i++)
		join(thread[i]);
	printf("%ld calls were interrupted\n", nr_interrupted);
	return waiters() || semctl(sem, 0, GETVAL) || !nr_interrupted;
}

static int give(long nr)
{
	while (nr-- > 0)
		if (step(1))
			die("semop");
	return 0;
}

/* ---- the end of a process with threads in calls -------------------------- */

static void *exec_true(void *arg)
{
	(void)arg;
	execl("/bin/true", "true", NULL);
	die("exec");
}

static void *last_one(void *arg)
{
	(void)arg;
	exit(step(-1) ? 1 : 7);
}

static int only_one_left[2]; /* a pipe: pthread_exit has come so far */

static void end(const char *how)
{
	unsigned i;

	for (i = 0; i < 16; i++)
		start(in_semop, NULL);
	await_waiters(16);
	if (!strcmp(how, "exec")) {
		start(exec_true, NULL);
	} else if (!strcmp(how, "pthread_exit")) {
		for (i = 0; i < 16; i++)
			step(1);
		start(last_one, NULL);
		if (write(only_one_left[1], "1", 1) != 1)
			die("write");
	} else if (!strcmp(how, "kill")) {
		kill(getpid(), SIGKILL);
	} else {
		exit(0);
	}
	pthread_exit(NULL);
}

static int ends(void)
{
	static const struct {
		const char *how;
		int status;
	} cases[] = {{"exit", 0},
		     {"exec", 0},
		     {"kill", SIGKILL},
		     {"pthread_exit", 7 << 8}};
	unsigned i;
	int status;

	if (pipe(only_one_left))
		die("pipe");
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		pid_t child = fork();

		if (child == 0)
			end(cases[i].how);
		if (cases[i].status == 7 << 8) {
			char c;

			/* before, one may be the first of sixteen */
			if (read(only_one_left[0], &c, 1) != 1)
				die("read");
			await_waiters(1);
			if (step(1))
				die("semop");
		}
		if (waitpid(child, &status, 0) != child ||
		    status != cases[i].status)
			die("%s: status 0x%x", cases[i].how, status);
		await_waiters(0);
		if (semctl(sem, 0, GETVAL))
			die("%s: a semaphore is left", cases[i].how);
	}
	return 0;
}

/* ---- vfork ---------------------------------------------------------------- */

static int spawned(void)
{
	char *argv[] = {(char *)"true", NULL};
	char line[8];
	FILE *pipe;
	pid_t pid;
	int status;

	if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) ||
	    waitpid(pid, &status, 0) != pid || status)
		die("posix_spawn");
	if (system("true"))
		die("system");
	pipe = popen("echo hello", "r");
	if (!pipe || !fgets(line, sizeof(line), pipe) || pclose(pipe))
		die("popen");
	return strncmp(line, "hello", 5);
}

/* A child of vfork that does more than it may: its parent must not suffer. */
static int vforks(long rounds)
{
	const struct sigaction sa = {.sa_handler = SIG_DFL};
	struct sigaction old;
	volatile long i;

	signal(SIGUSR1, count_it);
	for (i = 0; i < rounds; i++) {
		int status;
		pid_t pid = vfork();

		if (pid == 0) {
			sigaction(SIGUSR1, &sa, NULL);
			signal(SIGUSR2, count_it);
			_exit(step(1) ? 1 : 0);
		}
		if (waitpid(pid, &status, 0) != pid || status)
			die("child: status 0x%x", status);
		if (step(-1))
			die("semop");
	}
	if (sigaction(SIGUSR1, NULL, &old) || old.sa_handler != count_it ||
	    sigaction(SIGUSR2, NULL, &old) || old.sa_handler != SIG_DFL)
		die("the child's handlers are ours");
	return spawned();
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[2] : "";
	long rounds = argc > 3 ? number(argv[3]) : 0;
	key_t key = argc > 1 ? (key_t)number(argv[1]) : 0;
	int ret = 2;

	sem = semget(key, 1, IPC_CREAT | IPC_DIPC | 0600);
	queue = msgget(key, IPC_CREAT | IPC_DIPC | 0600);
	if (sem < 0 || queue < 0)
		die("semget, msgget");
	if (!strcmp(what, "give"))
		return give(rounds);
	if (!strcmp(what, "cancelled"))
		ret = cancelled();
	else if (!strcmp(what, "cancel_hammer"))
		ret = cancel_hammer(rounds, 0);
	else if (!strcmp(what, "cancel_async"))
		ret = cancel_hammer(rounds, 1);
	else if (!strcmp(what, "crowd"))
		ret = crowd(rounds);
	else if (!strcmp(what, "ends"))
		ret = ends();
	else if (!strcmp(what, "vforks"))
		ret = vforks(rounds);
	if (semctl(sem, 0, IPC_RMID) || msgctl(queue, IPC_RMID, NULL))
		die("IPC_RMID");
	return ret;
}
