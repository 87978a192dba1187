/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * files KEY SIZE dirty | load FILE | save FILE | remove: read(2) straight into
 * a segment and write(2) out of it, pages that live on another node included.
 */
#include <sys/ipc.h>
#include <sys/shm.h>

#include "job.h"

static void load(char *seg, size_t size, const char *path)
{
	int fd = open(path, O_RDONLY);
	size_t got = 0;

	if (fd < 0)
		die("%s", path);
	while (got < size) {
		ssize_t n = read(fd, seg + got, size - got);

		if (n <= 0)
			die("read after %zu of %zu", got, size);
		got += (size_t)n;
	}
	close(fd);
}

static void save(const char *seg, size_t size, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	size_t put = 0;

	if (fd < 0)
		die("%s", path);
	while (put < size) {
		ssize_t n = write(fd, seg + put, size - put);

		if (n <= 0)
			die("write after %zu of %zu", put, size);
		put += (size_t)n;
	}
	close(fd);
}

int main(int argc, char **argv)
{
	const char *what;
	size_t size;
	char *seg;
	int id;

	if (argc < 4)
		die("usage: files KEY SIZE dirty | load FILE | save FILE | "
		    "remove");
	size = (size_t)number(argv[2]);
	what = argv[3];
	id = shmget((key_t)number(argv[1]), size, IPC_CREAT | IPC_DIPC | 0600);
	if (id < 0)
		die("shmget");
	seg = shmat(id, NULL, 0);
	if (seg == (void *)-1)
		die("shmat");
	if (!strcmp(what, "dirty"))
		memset(seg, 'x', size);
	else if (!strcmp(what, "load") && argc == 5)
		load(seg, size, argv[4]);
	else if (!strcmp(what, "save") && argc == 5)
		save(seg, size, argv[4]);
	else if (!strcmp(what, "remove") && shmctl(id, IPC_RMID, NULL))
		die("IPC_RMID");
	return 0;
}
