/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segments and where their pages live.
 *
 *	make KEY SIZE [HOMES UNIT]	dipc_shmget with these options; else shmget
 *	refused			what dipc_shmget must not take
 *	fill KEY		a word in each chunk, and beside it
 *	check KEY		what fill wrote is there
 *	lost KEY		reads the first chunk until SIGBUS comes
 *	large KEY SIZE		how long it takes to get so much, in ms
 *	rm KEY
 */
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>

#include "job.h"

#define CHUNK    (2ul << 20)
#define LOST_S   30
#define TOUCHED  16u
#define MS_FLOAT 1e6

static sigjmp_buf bus;

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(bus, 1);
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1000 + (double)ts.tv_nsec / MS_FLOAT;
}

static int find(const char *key, size_t *size_out)
{
	struct shmid_ds ds;
	int id = shmget((key_t)number(key), 0, IPC_DIPC);

	if (id < 0 || shmctl(id, IPC_STAT, &ds))
		die("no segment %s", key);
	*size_out = ds.shm_segsz;
	return id;
}

static char *attach(const char *key, size_t *size_out)
{
	char *seg = shmat(find(key, size_out), NULL, 0);

	if (seg == (void *)-1)
		die("shmat %s", key);
	return seg;
}

static int do_make(int argc, char **argv)
{
	struct dipc_shm_options o = {.size = sizeof(o)};
	key_t key = (key_t)number(argv[0]);
	size_t size = (size_t)number(argv[1]);
	int id;

	if (argc < 4) {
		id = shmget(key, size, IPC_CREAT | IPC_EXCL | IPC_DIPC | 0600);
	} else {
		o.homes = (int)number(argv[2]);
		o.transfer_unit = (size_t)number(argv[3]);
		id = dipc_shmget(key, size, IPC_CREAT | IPC_EXCL | 0600, &o);
	}
	if (id < 0)
		die("shmget %s", argv[0]);
	return 0;
}

static void must_fail(const struct dipc_shm_options *o, int want)
{
	errno = 0;
	if (dipc_shmget(IPC_PRIVATE, 4096, 0600, o) != -1 || errno != want)
		die("not refused with %s", strerror(want));
}

static int do_refused(int argc, char **argv)
{
	struct {
		struct dipc_shm_options o;
		long later;
	} next = {.o.size = sizeof(next)};
	struct dipc_shm_options o = {.size = sizeof(o), .homes = 3};
	int id;

	(void)argc;
	(void)argv;
	must_fail(&o, EINVAL);
	o.homes = -1;
	must_fail(&o, EINVAL);
	o.homes = 0;
	o.transfer_unit = 5000;
	must_fail(&o, EINVAL);
	o.transfer_unit = 4u << 20;
	must_fail(&o, EINVAL);
	o.transfer_unit = 0;
	o.home_block = 4096;
	must_fail(&o, EINVAL);
	o.home_block = 0;
	o.size = 3;
	must_fail(&o, EINVAL);
	must_fail((void *)8, EFAULT);
	/* a later program's: what we do not know it must not want */
	next.later = 1;
	must_fail(&next.o, E2BIG);
	next.later = 0;
	id = dipc_shmget(IPC_PRIVATE, 4096, 0600, &next.o);
	if (id < 0 || shmctl(id, IPC_RMID, NULL))
		die("refused for nothing");
	/* an earlier one's: homes was the first */
	o.size = offsetof(struct dipc_shm_options, reserved);
	o.homes = DIPC_HOMES_CREATOR;
	id = dipc_shmget(IPC_PRIVATE, 4096, 0600, &o);
	if (id < 0 || shmctl(id, IPC_RMID, NULL))
		die("an earlier program's is refused");
	return 0;
}

/* The words at both ends of each chunk. */
static volatile uint64_t *word(char *seg, size_t size, size_t i)
{
	size_t off = i / 2 * CHUNK;

	if (i % 2)
		off = (off + CHUNK < size ? off + CHUNK : size) - 8;
	return (volatile uint64_t *)(void *)(seg + off);
}

static int do_fill(int argc, char **argv)
{
	size_t size, i;
	char *seg = attach(argv[0], &size);

	(void)argc;
	for (i = 0; i < 2 * ((size + CHUNK - 1) / CHUNK); i++)
		*word(seg, size, i) = i + 1;
	return 0;
}

static int do_check(int argc, char **argv)
{
	size_t size, i;
	char *seg = attach(argv[0], &size);

	(void)argc;
	for (i = 0; i < 2 * ((size + CHUNK - 1) / CHUNK); i++)
		if (*word(seg, size, i) != i + 1)
			die("word %zu is %lu", i,
			    (unsigned long)*word(seg, size, i));
	return 0;
}

static int do_lost(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = on_bus};
	time_t end = time(NULL) + LOST_S;
	size_t size;
	char *seg = attach(argv[0], &size);

	(void)argc;
	sigaction(SIGBUS, &sa, NULL);
	if (sigsetjmp(bus, 1))
		return 0;
	(void)*word(seg, size, 0);
	puts("ready");
	fflush(stdout);
	while (time(NULL) < end) {
		(void)*word(seg, size, 0);
		usleep(1000);
	}
	die("no SIGBUS");
}

static int do_large(int argc, char **argv)
{
	size_t size = (size_t)number(argv[1]);
	double before, took;
	struct shmid_ds ds;
	unsigned i;
	char *seg;
	int id;

	(void)argc;
	/* what any program pays once is not what is asked here */
	id = shmget(IPC_PRIVATE, 4096, IPC_DIPC | 0600);
	seg = shmat(id, NULL, 0);
	if (seg == (void *)-1 || shmdt(seg) || shmctl(id, IPC_RMID, NULL))
		die("small segment");
	before = now_ms();
	id = shmget((key_t)number(argv[0]), size, IPC_CREAT | IPC_DIPC | 0600);
	if (id < 0)
		die("shmget");
	seg = shmat(id, NULL, 0);
	if (seg == (void *)-1)
		die("shmat");
	took = now_ms() - before;
	for (i = 0; i < TOUCHED; i++)
		(*(volatile uint64_t *)(void *)(seg + size / TOUCHED * i))++;
	if (fork() == 0)
		_exit((*(volatile uint64_t *)(void *)seg)++ == 0);
	(void)wait(NULL);
	if (shmctl(id, IPC_STAT, &ds) || ds.shm_segsz != size || shmdt(seg))
		die("shmctl, shmdt");
	printf("%.0f\n", took);
	return 0;
}

static int do_rm(int argc, char **argv)
{
	size_t size;

	(void)argc;
	return shmctl(find(argv[0], &size), IPC_RMID, NULL);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*fn)(int argc, char **argv);
		int nr_args;
	} commands[] = {
		{"make", do_make, 2},       {"fill", do_fill, 1},
		{"check", do_check, 1},     {"lost", do_lost, 1},
		{"large", do_large, 2},     {"rm", do_rm, 1},
		{"refused", do_refused, 0},
	};
	unsigned i;

	for (i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(argv[1], commands[i].name) &&
		    argc - 2 >= commands[i].nr_args)
			return commands[i].fn(argc - 2, argv + 2);
	die("usage: homes COMMAND [KEY [SIZE [HOMES UNIT]]]");
}
