/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * touch KEY SIZE [ro]: attaches and does what its standard input says, a line
 * at a time; answers "ok", or what went wrong. So a test can look at the
 * node's counters between two accesses.
 *
 *	read OFFSET		write OFFSET VALUE	value OFFSET VALUE
 *	fight OFFSET SECONDS	(increments a word as fast as it can)
 *	fill OFFSET SIZE VALUE	(the first word of each page)
 *	load OFFSET SIZE BYTE	(with read(2))
 *	prefetch OFFSET SIZE FLAGS	release OFFSET SIZE
 *	advise OFFSET SIZE ADVICE
 *	hole	(prefetch of what is mapped only in part)
 *	storm OFFSET SIZE ROUNDS	(prefetch and release, in handlers too)
 *	cancel OFFSET SIZE	(a thread in either)
 *	child OFFSET SIZE VALUE	(one of fork prefetches, and finds VALUE)
 */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "job.h"

#define ARGS 3

static char *seg;
static size_t size;

static volatile uint64_t *word_at(const long *args)
{
	if (args[0] < 0 || (size_t)args[0] > size - 8 || args[0] % 8)
		die("bad offset %ld", args[0]);
	return (volatile uint64_t *)(void *)(seg + args[0]);
}

static int do_read(const long *args)
{
	(void)*word_at(args);
	return 0;
}

static int do_write(const long *args)
{
	*word_at(args) = (uint64_t)args[1];
	return 0;
}

static int do_value(const long *args)
{
	return *word_at(args) == (uint64_t)args[1] ? 0 : -EBADMSG;
}

static int do_fight(const long *args)
{
	volatile uint64_t *word = word_at(args);
	time_t end = time(NULL) + args[1];
	unsigned i;

	while (time(NULL) < end)
		for (i = 0; i < 1000; i++)
			(*word)++;
	return 0;
}

static void check_range(const long *args)
{
	if (args[0] < 0 || args[1] < 0 || (size_t)args[0] > size ||
	    (size_t)args[1] > size - (size_t)args[0])
		die("bad range");
}

static int do_fill(const long *args)
{
	long off;

	check_range(args);
	for (off = 0; off < args[1]; off += 4096)
		*(volatile uint64_t *)(void *)(seg + args[0] + off) =
			(uint64_t)args[2];
	return 0;
}

static int do_load(const long *args)
{
	int fd = memfd_create("load", 0);
	size_t len = (size_t)args[1];
	char *bytes = malloc(len);
	ssize_t n;

	check_range(args);
	if (fd < 0 || !bytes)
		die("memfd");
	memset(bytes, (int)args[2], len);
	if (write(fd, bytes, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET))
		die("write");
	n = read(fd, seg + args[0], len);
	if (n == (ssize_t)len && memcmp(bytes, seg + args[0], len))
		n = 0;
	free(bytes);
	close(fd);
	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EBADMSG;
}

/* A call that must leave errno alone when it succeeds. */
static int result(int ret)
{
	if (ret)
		return -errno;
	return errno == ENOTNAM ? 0 : -ENOTNAM;
}

static int do_prefetch(const long *args)
{
	errno = ENOTNAM;
	return result(
		dipc_prefetch(seg + args[0], (size_t)args[1], (int)args[2]));
}

static int do_release(const long *args)
{
	errno = ENOTNAM;
	return result(dipc_release(seg + args[0], (size_t)args[1]));
}

static int do_hole(const long *args)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)args;
	if (page == MAP_FAILED || munmap(page + 4096, 4096))
		die("mmap");
	errno = ENOTNAM;
	return result(dipc_prefetch(page, 8192, 0));
}

static int do_advise(const long *args)
{
	errno = ENOTNAM;
	return result(madvise(seg + args[0], (size_t)args[1], (int)args[2]));
}

/* ---- handlers, cancelled threads, children -------------------------------- */

static volatile sig_atomic_t nr_handled, nr_failed;
static long storm_off;

static void on_alarm(int sig)
{
	int saved = errno;

	(void)sig;
	nr_handled++;
	if (dipc_prefetch(seg + storm_off, 4096, DIPC_PREFETCH_WRITE) ||
	    dipc_release(seg + storm_off + 4096, 4096))
		nr_failed++;
	errno = saved;
}

static int do_storm(const long *args)
{
	const struct sigaction act = {.sa_handler = on_alarm};
	struct itimerval often = {.it_interval = {.tv_usec = 1000},
				  .it_value = {.tv_usec = 1000}};
	const struct itimerval never = {0};
	int ret = 0;
	long i;

	check_range(args);
	storm_off = args[0];
	nr_handled = 0;
	nr_failed = 0;
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (i = 0; ret == 0 && (i < args[2] || nr_handled < 20); i++) {
		ret = do_release(args);
		if (ret == 0)
			ret = do_prefetch((long[]){args[0], args[1],
						   DIPC_PREFETCH_WRITE});
	}
	setitimer(ITIMER_REAL, &never, NULL);
	return nr_failed ? -EILSEQ : ret;
}

static void *cancel_thread(void *arg)
{
	const long *args = arg;

	for (;;)
		if (dipc_prefetch(seg + args[0], (size_t)args[1], 0) ||
		    dipc_release(seg + args[0], (size_t)args[1]))
			return NULL;
}

static int do_cancel(const long *args)
{
	pthread_t thread;
	void *result;
	int i;

	check_range(args);
	for (i = 0; i < 20; i++) {
		if (pthread_create(&thread, NULL, cancel_thread,
				   (void *)(uintptr_t)args))
			die("pthread_create");
		usleep((useconds_t)(i * 500));
		pthread_cancel(thread);
		pthread_join(thread, &result);
		if (result != PTHREAD_CANCELED)
			return -EILSEQ;
	}
	return do_prefetch(args);
}

static int do_child(const long *args)
{
	const long read_only[] = {args[0], args[1], 0};
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(do_prefetch(read_only)                ? 1
		      : *word_at(args) == (uint64_t)args[2] ? 0
							    : 2);
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	return status ? -ECHILD : 0;
}

static const struct {
	const char *name;
	int (*fn)(const long *args); /* 0 or -errno */
} commands[] = {
	{"read", do_read},         {"write", do_write},
	{"value", do_value},       {"fight", do_fight},
	{"fill", do_fill},         {"load", do_load},
	{"prefetch", do_prefetch}, {"release", do_release},
	{"hole", do_hole},         {"advise", do_advise},
	{"storm", do_storm},       {"cancel", do_cancel},
	{"child", do_child},
};

static int run(char *line)
{
	const char *name = strtok(line, " \n");
	long args[ARGS] = {0};
	const char *text;
	unsigned i;

	for (i = 0; i < ARGS && (text = strtok(NULL, " \n")); i++)
		args[i] = number(text);
	for (i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(commands[i].name, name))
			return commands[i].fn(args);
	die("no such command: %s", name ? name : "");
}

int main(int argc, char **argv)
{
	bool is_readonly = argc > 3 && !strcmp(argv[3], "ro");
	char line[256];
	int id, ret;

	if (argc < 3)
		die("usage: touch KEY SIZE [ro]");
	size = (size_t)number(argv[2]);
	id = shmget((key_t)number(argv[1]), size, IPC_CREAT | IPC_DIPC | 0600);
	if (id < 0)
		die("shmget");
	seg = shmat(id, NULL, is_readonly ? SHM_RDONLY : 0);
	if (seg == (void *)-1)
		die("shmat");
	puts("ok");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		ret = run(line);
		puts(ret ? strerror(-ret) : "ok");
		fflush(stdout);
	}
	return 0;
}
