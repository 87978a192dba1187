/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * signals KEY WHAT [ROUNDS]: handlers and blocked calls. Exit status 0 when
 * all was as on Linux: the same program runs on the kernel's objects, too.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "job.h"

static int sem, queue;
static volatile sig_atomic_t is_child, nr_seen, nr_forks;
static sigjmp_buf back;

static int step(short op, short flags)
{
	struct sembuf sb = {.sem_num = 0, .sem_op = op, .sem_flg = flags};

	return semop(sem, &sb, 1);
}

static int count(int cmd)
{
	int n = semctl(sem, 0, cmd);

	if (n < 0)
		die("semctl %d", cmd);
	return n;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void handle(int sig, void (*handler)(int), int flags)
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = flags};

	if (sigaction(sig, &sa, NULL))
		die("sigaction");
}

static void expect_eintr(int ret)
{
	if (ret != -1 || errno != EINTR)
		die("%d instead of EINTR", ret);
}

/* ---- at whatever instant ------------------------------------------------ */

static void note(int sig)
{
	(void)sig;
	nr_seen++;
}

static int blocked_call(long round)
{
	struct sembuf sb = {.sem_num = 0, .sem_op = -1};
	const struct timespec limit = {.tv_sec = 2};
	struct {
		long type;
		char text[8];
	} m;

	if (round % 2)
		return semtimedop(sem, &sb, 1, &limit);
	return (int)msgrcv(queue, &m, sizeof(m.text), 0, 0);
}

/*
 * A timer goes off around the instant at which the call begins to sleep. The
 * second shot, long after, is for a call that the first one did not end. That
 * may be on Linux too: a handler that runs when the program has called, and
 * the kernel does not know yet: a few instructions, but long ones on an emulated
 * machine.
 */
static int hammer(long rounds)
{
	struct itimerval timer = {.it_interval.tv_usec = 500000};
	const struct itimerval off = {0};
	long i, nr_lost = 0;
	double start;

	handle(SIGALRM, note, SA_RESTART);
	srandom((unsigned)getpid());
	for (i = 0; i < rounds; i++) {
		timer.it_value.tv_usec = 5 + random() % 120;
		nr_seen = 0;
		start = now();
		setitimer(ITIMER_REAL, &timer, NULL);
		if (nr_seen) /* this process had to wait for a processor */
			continue;
		expect_eintr(blocked_call(i));
		setitimer(ITIMER_REAL, &off, NULL);
		if (now() - start > 0.4)
			nr_lost++;
	}
	if (nr_lost > 2 + rounds / 50)
		die("%ld of %ld signals were lost", nr_lost, rounds);
	printf("%ld of %ld signals came too early\n", nr_lost, rounds);
	return count(GETNCNT) ? 1 : 0;
}

/* ---- seen to be blocked -------------------------------------------------- */

static volatile sig_atomic_t waiters_in_handler;

/* As the kernel has it: the call is withdrawn before its handler runs, so
   what the handler gives is nobody's. */
static void give(int sig)
{
	(void)sig;
	waiters_in_handler = count(GETNCNT);
	if (step(1, 0))
		_exit(9);
}

/* A process that others see waiting must be ended by a signal, always. */
static int observed(long rounds)
{
	volatile long *done = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t child;
	long i;

	child = fork();
	if (child == 0) {
		handle(SIGUSR1, give, SA_RESTART);
		for (i = 0; i < rounds; i++) {
			expect_eintr(step(-1, 0));
			if (waiters_in_handler)
				die("still waiting in its handler");
			if (step(-1, IPC_NOWAIT))
				die("what the handler gave is not there");
			*done = i + 1;
		}
		_exit(0);
	}
	for (i = 0; i < rounds; i++) {
		double end = now() + 10;

		while (count(GETNCNT) == 0 && now() < end)
			;
		kill(child, SIGUSR1);
		while (*done == i && now() < end)
			;
		if (now() > end) {
			kill(child, SIGKILL);
			die("round %ld: not interrupted", i);
		}
	}
	if (waitpid(child, &status, 0) != child || status)
		die("child: status 0x%x", status);
	return 0;
}

/* ---- out of the handler by longjmp --------------------------------------- */

static void jump(int sig)
{
	(void)sig;
	if (step(-1, IPC_NOWAIT) != -1 || errno != EAGAIN)
		_exit(9);
	siglongjmp(back, 1);
}

/* More often than there are request slots. */
static int jumps(long rounds)
{
	struct itimerval timer = {0};
	volatile long i;

	handle(SIGALRM, jump, 0);
	for (i = 0; i < rounds; i++) {
		timer.it_value.tv_usec = 20 + random() % 200;
		if (sigsetjmp(back, 1) == 0) {
			setitimer(ITIMER_REAL, &timer, NULL);
			step(-1, 0);
			die("round %ld: came back", i);
		}
	}
	if (count(GETNCNT))
		die("%d waiters are left", count(GETNCNT));
	return step(1, 0) || step(-1, IPC_NOWAIT);
}

/* ---- handlers in handlers ------------------------------------------------ */

static void inner(int sig)
{
	(void)sig;
	nr_seen++;
}

static void outer(int sig)
{
	(void)sig;
	raise(SIGUSR2); /* its handler runs on top of this one */
	alarm(1);
	expect_eintr(step(-1, 0));
	nr_seen++;
}

/* A process of its own sends us SIG when it sees us blocked. */
static void signal_when_blocked(int sig)
{
	unsigned tries;

	if (fork())
		return;
	for (tries = 0; count(GETNCNT) == 0; tries++) {
		if (tries > 20000)
			_exit(1);
		usleep(1000);
	}
	kill(getppid(), sig);
	_exit(0);
}

static int nested(void)
{
	handle(SIGUSR2, inner, 0);
	handle(SIGVTALRM, outer, 0);
	handle(SIGALRM, inner, 0);
	signal_when_blocked(SIGVTALRM);
	expect_eintr(step(-1, 0));
	wait(NULL);
	signal_when_blocked(SIGALRM);
	expect_eintr(step(-1, 0));
	wait(NULL);
	return nr_seen == 4 ? 0 : 1;
}

static void forks(int sig)
{
	pid_t child = fork();
	int status;

	(void)sig;
	if (child) {
		nr_forks++;
		if (waitpid(child, &status, 0) != child || status)
			_exit(8);
	} else {
		is_child = 1;
	}
}

/* The child of a handler returns into the interrupted call as well. */
static int fork_in_handler(void)
{
	int i;

	handle(SIGALRM, forks, 0);
	for (i = 0; i < 5; i++) {
		signal_when_blocked(SIGALRM);
		expect_eintr(step(-1, 0));
		if (is_child)
			_exit(step(1, 0) || step(-1, 0) ? 7 : 0);
		wait(NULL);
	}
	return 0;
}

/* Wherever in a call the handler that forks has come: the child goes on. */
static int forks_anywhere(long rounds)
{
	static struct {
		long type;
		char text[8000];
	} m;
	struct itimerval in = {.it_interval = {0}};
	long last = -1;

	handle(SIGALRM, forks, 0);
	while (nr_forks < rounds && !is_child) {
		if (nr_forks != last) {
			last = nr_forks;
			in.it_value.tv_usec = 1 + last * 7 % 300;
			if (setitimer(ITIMER_REAL, &in, NULL))
				die("setitimer");
		}
		m.type = 1;
		(void)msgsnd(queue, &m, sizeof(m.text), IPC_NOWAIT);
		if (!is_child)
			(void)msgrcv(queue, &m, sizeof(m.text), 0, IPC_NOWAIT);
	}
	if (is_child)
		_exit(0);
	return 0;
}

/* ---- what sigaction(2) promises ------------------------------------------ */

static volatile sig_atomic_t value, was_on_stack, mask_ok;
static char *stack;

static void with_info(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	char here;
	sigset_t mask;

	sigprocmask(SIG_SETMASK, NULL, &mask);
	mask_ok = sigismember(&mask, SIGUSR2) && sigismember(&mask, sig) &&
		  !sigismember(&uc->uc_sigmask, SIGUSR2);
	value = info->si_value.sival_int;
	was_on_stack = &here >= stack && &here < stack + SIGSTKSZ;
}

/* More handlers than the library has entries for. Each is one `ret`. */
static void many_handlers(void)
{
	enum { NR = 700, STEP = 16, RET = 0xc3 };
	unsigned char *code =
		mmap(NULL, NR * STEP, PROT_READ | PROT_WRITE | PROT_EXEC,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sigaction old;
	unsigned i;

	if (code == MAP_FAILED)
		die("mmap");
	memset(code, RET, NR * STEP);
	for (i = 0; i < NR; i++) {
		void (*handler)(int) =
			(void (*)(int))(uintptr_t)(code + i * STEP);

		handle(SIGUSR2, handler, 0);
		raise(SIGUSR2);
		sigaction(SIGUSR2, NULL, &old);
		if (old.sa_handler != handler)
			die("handler %u is another", i);
	}
}

/* sigset() and siginterrupt() are old, not gone. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static int promises(void)
{
	union sigval v = {.sival_int = 4711};
	stack_t ss = {.ss_size = (size_t)SIGSTKSZ};
	struct sigaction sa = {
		.sa_sigaction = with_info,
		.sa_flags = (int)(SA_SIGINFO | SA_RESETHAND | SA_ONSTACK)};
	struct sigaction old;

	stack = ss.ss_sp = malloc(ss.ss_size);
	if (sigaltstack(&ss, NULL))
		die("sigaltstack");
	sigaddset(&sa.sa_mask, SIGUSR2);
	sigaddset(&sa.sa_mask, SIGRTMIN + 1);
	if (sigaction(SIGRTMIN + 1, &sa, NULL) ||
	    sigaction(SIGRTMIN + 1, NULL, &old))
		die("sigaction");
	if (old.sa_sigaction != with_info ||
	    (old.sa_flags & ~0x04000000) != sa.sa_flags ||
	    !sigismember(&old.sa_mask, SIGUSR2))
		die("sigaction gives back something else");
	if (sigqueue(getpid(), SIGRTMIN + 1, v))
		die("sigqueue");
	if (value != 4711 || !was_on_stack || !mask_ok)
		die("handler: value %d, stack %d, mask %d", value, was_on_stack,
		    mask_ok);
	sigaction(SIGRTMIN + 1, NULL, &old);
	if (old.sa_handler != SIG_DFL)
		die("SA_RESETHAND");
	if (signal(SIGUSR1, note) != SIG_DFL ||
	    signal(SIGUSR1, SIG_IGN) != note ||
	    signal(SIGUSR1, inner) != SIG_IGN)
		die("signal");
	if (sigset(SIGUSR1, SIG_HOLD) != inner ||
	    sigset(SIGUSR1, note) != SIG_HOLD ||
	    sigset(SIGUSR1, SIG_DFL) != note)
		die("sigset");
	signal(SIGUSR1, note);
	siginterrupt(SIGUSR1, 1);
	sigaction(SIGUSR1, NULL, &old);
	if (old.sa_handler != note || old.sa_flags & SA_RESTART)
		die("siginterrupt");
	if (sigaction(SIGKILL, &sa, NULL) != -1 || errno != EINVAL)
		die("SIGKILL");
	many_handlers();
	return 0;
}

/* ---- time ---------------------------------------------------------------- */

/* Signals that are ignored or stop the process do not lengthen the wait. */
static int timeouts(void)
{
	const struct timespec limit = {.tv_nsec = 300000000};
	struct sembuf sb = {.sem_num = 0, .sem_op = -1};
	pid_t child = fork();
	double start;
	int i;

	if (child == 0) {
		for (i = 0; i < 20; i++) {
			usleep(20000);
			kill(getppid(), SIGUSR1);
		}
		_exit(0);
	}
	signal(SIGUSR1, SIG_IGN);
	start = now();
	if (semtimedop(sem, &sb, 1, &limit) != -1 || errno != EAGAIN)
		die("no timeout");
	start = now() - start;
	waitpid(child, NULL, 0);
	if (start < 0.3 || start > 3)
		die("%.3f s instead of 0.3", start);
	return 0;
}

/*
 * A stop and SIGCONT, without a handler, end a blocked semop on Linux, and do
 * not here; a blocked msgrcv goes on there, too.
 */
static int stopped(void)
{
	struct {
		long type;
		char text[8];
	} m = {.type = 1};
	pid_t child[2];
	int status, i;

	for (i = 0; i < 2; i++) {
		child[i] = fork();
		if (child[i] == 0 && i == 0)
			_exit(msgrcv(queue, &m, sizeof(m.text), 0, 0) != 0);
		if (child[i] == 0)
			_exit(step(-1, 0) ? (errno == EINTR ? 4 : 1) : 0);
	}
	while (count(GETNCNT) == 0)
		usleep(1000);
	usleep(100000);
	for (i = 0; i < 2; i++) {
		kill(child[i], SIGSTOP);
		if (waitpid(child[i], &status, WUNTRACED) != child[i])
			die("waitpid");
		kill(child[i], SIGCONT);
	}
	usleep(100000);
	if (msgsnd(queue, &m, 0, 0) || step(1, 0))
		die("msgsnd, semop");
	for (i = 0; i < 2; i++)
		if (waitpid(child[i], &status, 0) != child[i] ||
		    (status && !(i == 1 && status == 4 << 8)))
			die("%d: status 0x%x", i, status);
	printf("semop %s\n", status ? "was interrupted" : "went on");
	return 0;
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
	if (!strcmp(what, "hammer"))
		ret = hammer(rounds);
	else if (!strcmp(what, "observed"))
		ret = observed(rounds);
	else if (!strcmp(what, "jumps"))
		ret = jumps(rounds);
	else if (!strcmp(what, "nested"))
		ret = nested();
	else if (!strcmp(what, "fork"))
		ret = fork_in_handler();
	else if (!strcmp(what, "forks"))
		ret = forks_anywhere(rounds);
	else if (!strcmp(what, "promises"))
		ret = promises();
	else if (!strcmp(what, "timeouts"))
		ret = timeouts();
	else if (!strcmp(what, "stopped"))
		ret = stopped();
	if (semctl(sem, 0, IPC_RMID) || msgctl(queue, IPC_RMID, NULL))
		die("IPC_RMID");
	return ret;
}
