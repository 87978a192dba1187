/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/cli/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/config.h"

#define SYSTEM_DIR "/run/dipc"

/* ---- which one ---------------------------------------------------------- */

static void dir_default(char *path, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (runtime && runtime[0] == '/')
		snprintf(path, size, "%s/dipc", runtime);
	else if (geteuid() == 0)
		snprintf(path, size, SYSTEM_DIR);
	else
		snprintf(path, size, "/tmp/dipc-%u", geteuid());
}

static int dir_set(struct dipc_dir *dir, const char *path)
{
	char *full = realpath(path, NULL), *cwd;
	int ret = 0;

	if (!full && path[0] == '/') {
		full = strdup(path); /* not there yet: absolute is enough */
	} else if (!full) {
		cwd = getcwd(NULL, 0);
		if (!cwd || asprintf(&full, "%s/%s", cwd, path) < 0)
			full = NULL;
		free(cwd);
	}
	if (!full)
		return dipc_cli_fail("%s: %m", path);
	if (strlen(full) > DIPC_DIR_MAX)
		ret = dipc_cli_fail("%s: longer than %d characters, so that "
				    "the names of sockets in it would not fit",
				    full, DIPC_DIR_MAX);
	else
		strcpy(dir->path, full);
	free(full);
	return ret;
}

/*
 * A default directory that somebody else made (in /tmp anybody may) could lead
 * our programs to his socket.
 */
static int dir_check_owner(const struct dipc_dir *dir)
{
	struct stat st;

	if (lstat(dir->path, &st) || st.st_uid == geteuid() || st.st_uid == 0)
		return 0;
	return dipc_cli_fail("%s belongs to user %u, not to you: give --dir",
			     dir->path, st.st_uid);
}

int dipc_dir_choose_own(const char *option, struct dipc_dir *dir_out)
{
	char path[PATH_MAX];
	int ret;

	if (option) {
		dir_out->is_default = false;
		return dir_set(dir_out, option);
	}
	dir_out->is_default = true;
	dir_default(path, sizeof(path));
	ret = dir_set(dir_out, path);
	return ret ? ret : dir_check_owner(dir_out);
}

int dipc_dir_choose(const char *option, struct dipc_dir *dir_out)
{
	unsigned nodes[DIPC_CLI_NODES];
	struct dipc_dir system_dir = {.path = SYSTEM_DIR, .is_default = true};
	int ret;

	ret = dipc_dir_choose_own(option, dir_out);
	if (ret || option || dipc_dir_nodes(dir_out, nodes))
		return ret;
	if (dipc_dir_nodes(&system_dir, nodes))
		*dir_out = system_dir;
	return 0;
}

int dipc_dir_make(struct dipc_dir *dir)
{
	struct stat st;

	if (mkdir(dir->path, 0755) && errno != EEXIST)
		return dipc_cli_fail("%s: %m", dir->path);
	if (stat(dir->path, &st))
		return dipc_cli_fail("%s: %m", dir->path);
	if (!S_ISDIR(st.st_mode))
		return dipc_cli_fail("%s: not a directory", dir->path);
	if (st.st_uid != geteuid() && geteuid() != 0)
		return dipc_cli_fail("%s belongs to user %u, not to you: give "
				     "--dir",
				     dir->path, st.st_uid);
	if (st.st_mode & S_IWOTH && !(st.st_mode & S_ISVTX))
		return dipc_cli_fail("%s: everybody may write there",
				     dir->path);
	/* whatever the umask: programs of other users need the sockets */
	if (st.st_uid == geteuid() && !(st.st_mode & S_IWOTH) &&
	    chmod(dir->path, 0755))
		return dipc_cli_fail("%s: %m", dir->path);
	return dir_set(dir, dir->path);
}

int dipc_dir_lock(const struct dipc_dir *dir)
{
	char path[DIPC_PATH_MAX];
	int fd;

	/* not the directory itself: the shm transport locks that one */
	dipc_dir_file(dir, "lock", NULL, path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return dipc_cli_fail("%s: %m", path);
	if (flock(fd, LOCK_EX | LOCK_NB))
		return dipc_cli_fail("another `dipc up` or `dipc down` is at "
				     "work in %s",
				     dir->path);
	return 0;
}

/* ---- names -------------------------------------------------------------- */

void dipc_dir_file(const struct dipc_dir *dir, const char *name,
		   const char *suffix, char path_out[DIPC_PATH_MAX])
{
	snprintf(path_out, DIPC_PATH_MAX, "%s/%s%s%s", dir->path, name,
		 suffix ? "." : "", suffix ? suffix : "");
}

const char *dipc_dir_hint(const struct dipc_dir *dir)
{
	static char hint[DIPC_DIR_MAX + 16];

	if (dir->is_default)
		return "";
	snprintf(hint, sizeof(hint), " --dir %s", dir->path);
	return hint;
}

void dipc_dir_node_name(unsigned node, char name_out[16])
{
	snprintf(name_out, 16, "node%u", node);
}

unsigned dipc_dir_nodes(const struct dipc_dir *dir,
			unsigned nodes_out[DIPC_CLI_NODES])
{
	char path[DIPC_PATH_MAX], name[16];
	unsigned node, nr = 0;

	for (node = 1; node <= DIPC_CLI_NODES; node++) {
		dipc_dir_node_name(node, name);
		dipc_dir_file(dir, name, "conf", path);
		if (!access(path, F_OK))
			nodes_out[nr++] = node;
	}
	return nr;
}

/* ---- whom to ask -------------------------------------------------------- */

static unsigned targets_of_dir(const struct dipc_dir *dir,
			       struct dipc_target *targets)
{
	unsigned nodes[DIPC_CLI_NODES];
	unsigned i, nr = dipc_dir_nodes(dir, nodes);
	char name[16];

	for (i = 0; i < nr; i++) {
		targets[i].node = nodes[i];
		dipc_dir_node_name(nodes[i], name);
		dipc_dir_file(dir, name, "sock", targets[i].socket);
	}
	return nr;
}

static unsigned targets_of_config(struct dipc_target *targets)
{
	struct dipc_config conf;
	char err[256];
	int ret;

	ret = dipc_config_load(dipc_config_path(), &conf, err, sizeof(err));
	if (ret) {
		if (ret != -ENOENT)
			dipc_cli_fail("%s", err);
		return 0;
	}
	targets[0].node = conf.node;
	snprintf(targets[0].socket, sizeof(targets[0].socket), "%s",
		 conf.socket);
	dipc_config_fini(&conf);
	return 1;
}

unsigned dipc_targets_find(const char *option,
			   struct dipc_target targets_out[DIPC_CLI_NODES])
{
	const char *socket = getenv("DIPC_SOCKET");
	struct dipc_dir dir;
	unsigned nr;

	if (!option && socket && socket[0]) {
		targets_out[0].node = 0;
		snprintf(targets_out[0].socket, sizeof(targets_out[0].socket),
			 "%s", socket);
		return 1;
	}
	if (dipc_dir_choose(option, &dir))
		return 0;
	nr = targets_of_dir(&dir, targets_out);
	if (!nr && !option)
		nr = targets_of_config(targets_out);
	if (!nr)
		dipc_cli_fail("no cluster in %s: `dipc up%s` starts one",
			      dir.path, dipc_dir_hint(&dir));
	return nr;
}
