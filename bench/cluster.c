/* SPDX-License-Identifier: BSD-2-Clause */
/* The cluster that is measured: ours for the time being, or one that runs. */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/random.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/config.h"

#define NR_NODES_MIN 2u

extern char **environ;

/* Its stdout is not ours; what it complains about is. Exit status, or -1. */
static int command(const char *const *args)
{
	posix_spawn_file_actions_t actions;
	int ret, status;
	pid_t pid;

	ret = posix_spawn_file_actions_init(&actions);
	if (!ret)
		ret = posix_spawn_file_actions_addopen(
			&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	if (!ret)
		ret = posix_spawn(&pid, args[0], &actions, NULL,
				  (char *const *)args, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (ret) {
		errno = ret;
		return bench_fail("%s", args[0]);
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return bench_fail("%s", args[0]);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- where things are --------------------------------------------------- */

static int find_programs(struct bench_cluster *cluster)
{
	ssize_t len = readlink("/proc/self/exe", cluster->self,
			       sizeof(cluster->self));
	char *slash;

	if (len < 0 || (size_t)len >= sizeof(cluster->self))
		return bench_fail("where this program is");
	cluster->self[len] = '\0';
	slash = strrchr(cluster->self, '/');
	snprintf(cluster->dipc, sizeof(cluster->dipc), "%.*s/dipc",
		 (int)(slash - cluster->self), cluster->self);
	return 0;
}

static int make_work(struct bench_cluster *cluster)
{
	const char *tmp = getenv("TMPDIR");

	/* node sockets are below: their names must fit sun_path */
	if (!tmp || strlen(tmp) > sizeof(cluster->work) / 2)
		tmp = "/tmp";
	snprintf(cluster->work, sizeof(cluster->work), "%s/dipc-bench.XXXXXX",
		 tmp);
	if (mkdtemp(cluster->work))
		return 0;
	bench_fail("%s", cluster->work);
	cluster->work[0] = '\0';
	return -1;
}

/* "ADDRESS[:PORT]" without the port: another process has that one. */
static void cut_port(char *address)
{
	char *end = strrchr(address, ']');

	if (end)
		end[1] = '\0';
	else if (strchr(address, ':') == strrchr(address, ':'))
		address[strcspn(address, ":")] = '\0';
}

/* Node 1 says what transport the cluster has, and on which device. */
static int read_node(struct bench_cluster *cluster)
{
	struct dipc_config conf;
	char path[160], err[256];

	snprintf(path, sizeof(path), "%s/node1.conf", cluster->dir);
	if (dipc_config_load(path, &conf, err, sizeof(err))) {
		fprintf(stderr, "dipc-bench: %s\n", err);
		return -1;
	}
	snprintf(cluster->transport, sizeof(cluster->transport), "%s",
		 conf.transport);
	if (strcmp(conf.transport, "shm")) {
		snprintf(cluster->address, sizeof(cluster->address), "%s",
			 conf.address);
		cut_port(cluster->address);
	} else {
		snprintf(cluster->address, sizeof(cluster->address),
			 "%s/raw.shm", cluster->work);
	}
	dipc_config_fini(&conf);
	return 0;
}

/* ---- open and close ----------------------------------------------------- */

static int start(struct bench_cluster *cluster, unsigned nr_nodes)
{
	const char *args[10 + 2 * BENCH_SETS_MAX] = {
		cluster->dipc, "up", "--dir", cluster->dir, "--nodes",
	};
	const char *const *set = cluster->start->set;
	char nr_text[12];
	unsigned n = 5;

	snprintf(nr_text, sizeof(nr_text), "%u", nr_nodes);
	args[n++] = nr_text;
	if (cluster->start->transport) {
		args[n++] = "--transport";
		args[n++] = cluster->start->transport;
	}
	for (; *set; set++) {
		args[n++] = "--set";
		args[n++] = *set;
	}
	args[n] = NULL;
	/* even a start that has failed may leave something to stop */
	cluster->is_ours = true;
	cluster->nr_nodes = nr_nodes;
	if (!command(args))
		return 0;
	fprintf(stderr, "dipc-bench: `dipc up` has failed\n");
	return -1;
}

static int stop(struct bench_cluster *cluster)
{
	const char *args[] = {cluster->dipc, "down", "--dir", cluster->dir,
			      NULL};

	if (!command(args))
		return 0;
	/* its logs may tell */
	fprintf(stderr, "dipc-bench: `dipc down --dir %s` failed\n",
		cluster->dir);
	return -1;
}

int bench_cluster_open(struct bench_cluster *cluster, const char *dir,
		       const struct bench_start *how)
{
	memset(cluster, 0, sizeof(*cluster));
	cluster->start = how;
	if (find_programs(cluster) || make_work(cluster))
		return -1;
	if ((size_t)snprintf(cluster->dir, sizeof(cluster->dir), "%s",
			     dir ? dir : cluster->work) >=
	    sizeof(cluster->dir)) {
		errno = ENAMETOOLONG;
		return bench_fail("%s", dir);
	}
	/* what is measured must be the cluster, or nothing */
	setenv("DIPC_FALLBACK", "never", 1);
	/* and references must not be */
	unsetenv("DIPC_KEYS");
	if (!dir && start(cluster, NR_NODES_MIN))
		return -1;
	return read_node(cluster);
}

int bench_cluster_grow(struct bench_cluster *cluster, unsigned nr)
{
	if (!cluster->is_ours || nr <= cluster->nr_nodes)
		return 0;
	return stop(cluster) || start(cluster, nr) ? -1 : 0;
}

static void remove_work(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
	closedir(dir);
	if (rmdir(path))
		bench_fail("%s", path);
}

void bench_cluster_close(struct bench_cluster *cluster)
{
	if (cluster->is_ours && stop(cluster))
		return;
	if (cluster->work[0])
		remove_work(cluster->work);
}

static bool is_kernels(key_t key)
{
	return semget(key, 0, 0) >= 0 || msgget(key, 0) >= 0 ||
	       shmget(key, 0, 0) >= 0;
}

key_t bench_key_choose(void)
{
	unsigned key;

	/* so that bench_cluster_forget() takes nothing of a stranger's */
	do {
		if (getrandom(&key, sizeof(key), 0) != sizeof(key))
			key = (unsigned)getpid();
		key = (key & 0x3fffffffu) | 0x40000000u;
	} while (is_kernels((key_t)key));
	return (key_t)key;
}

void bench_cluster_forget(struct bench_cluster *cluster, key_t key)
{
	char key_text[16];
	const char *args[] = {cluster->dipc, "rm",     "--dir", cluster->dir,
			      "--key",       key_text, NULL};
	int id;

	snprintf(key_text, sizeof(key_text), "%#x", (unsigned)key);
	id = semget(key, 0, 0);
	if (id >= 0)
		semctl(id, 0, IPC_RMID);
	id = msgget(key, 0);
	if (id >= 0)
		msgctl(id, IPC_RMID, NULL);
	id = shmget(key, 0, 0);
	if (id >= 0)
		shmctl(id, IPC_RMID, NULL);
	/* ours goes as a whole */
	if (!cluster->is_ours)
		command(args);
}
