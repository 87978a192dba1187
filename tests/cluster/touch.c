/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * touch KEY SIZE [ro]: attaches and does what its standard input says, a line
 * at a time; answers "ok", or what went wrong. So a test can look at the
 * node's counters between two accesses.
 *
 *	read OFFSET		write OFFSET VALUE	value OFFSET VALUE
 *	fight OFFSET SECONDS	(increments a word as fast as it can)
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/shm.h>
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

static const struct {
	const char *name;
	int (*fn)(const long *args); /* 0 or -errno */
} commands[] = {
	{"read", do_read},
	{"write", do_write},
	{"value", do_value},
	{"fight", do_fight},
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
