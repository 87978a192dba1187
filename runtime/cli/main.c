/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of sub-commands, their help, and what several of them need. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cli/cli.h"

struct command {
	const char *name;
	int (*fn)(int argc, char **argv);
	const char *summary;
	const char *help;
};

static int cmd_help(int argc, char **argv);
static int cmd_version(int argc, char **argv);

static const struct command commands[] = {
	{"up", dipc_cmd_up, "start a cluster, or this machine's part of one",
	 "usage: dipc up [--nodes N] [--transport shm|verbs] [--address IP]\n"
	 "               [--dir D] [--port P] [--key FILE] [--timeout S]\n"
	 "               [--set SECTION.NAME=VALUE]...\n"
	 "       dipc up --referee-only --address IP [--port P] [...]\n"
	 "       dipc up --join HOST:PORT --node K --address IP --key FILE\n"
	 "       dipc up --again\n\n"
	 "  --nodes N        a referee and N nodes on this machine (3)\n"
	 "  --referee-only   the referee alone; other machines join it\n"
	 "  --join HOST:PORT one node, of the cluster with that referee\n"
	 "  --node K         which node that is, 1 to 40\n"
	 "  --again          start what died, with its own configuration\n"
	 "  --transport T    shm or verbs (verbs if there is a device)\n"
	 "  --address IP     this machine's, of the RDMA device\n"
	 "  --port P         the referee's TCP port (a free one; with\n"
	 "                   --referee-only 7341)\n"
	 "  --key FILE       the cluster's key (D/cluster.key, made when\n"
	 "                   missing)\n"
	 "  --set S.N=V      a setting of dipc.conf(5), for every daemon\n"
	 "  --timeout S      seconds to be ready in (10)\n"
	 "  --dir D          where it lives ($XDG_RUNTIME_DIR/dipc,\n"
	 "                   /run/dipc for root, or /tmp/dipc-UID)\n"},
	{"down", dipc_cmd_down, "stop what `up` started",
	 "usage: dipc down [--dir D]\n\n"
	 "Nodes first, then the referee: a clean stop, after 5 s a kill.\n"},
	{"run", dipc_cmd_run, "run a program on a node",
	 "usage: dipc run --node K [--dir D] [--all-keys | --keys LIST]\n"
	 "                [--] PROGRAM [ARGUMENT]...\n\n"
	 "  --node K      the node of this machine whose objects it sees\n"
	 "  --all-keys    every key is distributed, IPC_PRIVATE too: for\n"
	 "                programs that do not know IPC_DIPC\n"
	 "  --keys LIST   these keys are: 0x1234,100-200\n"},
	{"ls", dipc_cmd_ls, "list the cluster's objects",
	 "usage: dipc ls [--dir D] [--json] [-v | --verbose]\n\n"
	 "  -v      creators, process ids and times too; what pages cost\n"},
	{"top", dipc_cmd_top, "what shared pages cost, live",
	 "usage: dipc top [--dir D] [--node K] [-d SECONDS]\n"
	 "                [-b | --batch] [-n COUNT]\n\n"
	 "  --node K     this node's counters alone\n"
	 "  -d SECONDS   between two looks (1)\n"
	 "  -b, --batch  lines, not a screen; so without a terminal\n"
	 "  -n COUNT     so many times, in lines\n\n"
	 "On the screen: q quits, arrows select a segment whose pages are\n"
	 "shown, the keys in the last line sort, space looks at once.\n"},
	{"rm", dipc_cmd_rm, "remove objects",
	 "usage: dipc rm [--dir D] [shm|sem|msg] --key K | --id N | --all\n"},
	{"status", dipc_cmd_status, "nodes and counters",
	 "usage: dipc status [--dir D] [--json]\n"},
	{"doctor", dipc_cmd_doctor, "find out why it does not work",
	 "usage: dipc doctor [--dir D] [--config FILE]\n\n"
	 "Exit status 1 if something must be mended; then it says how.\n"},
	{"key", dipc_cmd_key, "make a cluster key",
	 "usage: dipc key [FILE]\n\n"
	 "FILE is /etc/dipc.key if not given. Copy it to every machine.\n"},
	{"help", cmd_help, "help on a sub-command",
	 "usage: dipc help [COMMAND]\n"},
	{"version", cmd_version, "this program's version",
	 "usage: dipc version\n"},
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* ---- for all ------------------------------------------------------------ */

static const struct command *running;

__attribute__((format(printf, 1, 0))) static void say(const char *fmt,
						      va_list ap)
{
	fflush(stdout);
	fputs("dipc: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

int dipc_cli_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	return DIPC_EXIT_FAIL;
}

int dipc_cli_usage(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "dipc %s: %s: see `dipc help %s`\n", running->name,
		line, running->name);
	return DIPC_EXIT_USAGE;
}

int dipc_cli_help(void)
{
	printf("dipc %s: %s\n\n%s", running->name, running->summary,
	       running->help);
	return 0;
}

int dipc_cli_number(const char *what, const char *text, unsigned long min,
		    unsigned long max, unsigned long *number_out)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(text, &end, 0);
	if (errno || end == text || *end || text[0] == '-' || n < min ||
	    n > max) {
		dipc_cli_usage("%s %s: not a number from %lu to %lu", what,
			       text, min, max);
		return -EINVAL;
	}
	*number_out = n;
	return 0;
}

const char *dipc_cli_kind(unsigned kind)
{
	static const char *const names[] = {"?", "shm", "sem", "msg"};

	return names[kind < 4 ? kind : 0];
}

/* ---- where everything is ------------------------------------------------- */

/* The first of DIRS, relative to ours, that has NAME. */
static int find_beside(const char *name, const char *const *dirs, int mode,
		       char *path_out, size_t size)
{
	char self[3072], *path, *dir;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return dipc_cli_fail("/proc/self/exe: %m");
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	for (; *dirs; dirs++) {
		if (asprintf(&path, "%s/%s/%s", self, *dirs, name) < 0)
			return dipc_cli_fail("out of memory");
		n = access(path, mode);
		*strrchr(path, '/') = '\0';
		dir = n ? NULL : realpath(path, NULL);
		free(path);
		if (!dir)
			continue;
		n = snprintf(path_out, size, "%s/%s", dir, name);
		free(dir);
		if ((size_t)n < size)
			return 0;
	}
	return dipc_cli_fail("%s is not installed with this program (%s)", name,
			     self);
}

int dipc_cli_find_program(const char *program, char *path_out, size_t size)
{
	static const char *const dirs[] = {".", DIPC_SBINDIR_FROM_BIN, NULL};

	return find_beside(program, dirs, X_OK, path_out, size);
}

int dipc_cli_find_library(char *path_out, size_t size)
{
	static const char *const dirs[] = {"../lib", DIPC_LIBDIR_FROM_BIN,
					   NULL};

	return find_beside("libdipc-rdma.so.0", dirs, R_OK, path_out, size);
}

/* ---- help, version, main ------------------------------------------------- */

static const struct command *command_find(const char *name)
{
	unsigned i;

	for (i = 0; i < NR_COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	fprintf(stderr, "dipc: no sub-command '%s': see `dipc help`\n", name);
	return NULL;
}

static int cmd_help(int argc, char **argv)
{
	const struct command *cmd;
	unsigned i;

	if (argc > 1) {
		cmd = command_find(argv[1]);
		if (!cmd)
			return DIPC_EXIT_USAGE;
		running = cmd;
		return dipc_cli_help();
	}
	puts("System V IPC for a cluster, over RDMA.\n");
	for (i = 0; i < NR_COMMANDS; i++)
		printf("  dipc %-8s  %s\n", commands[i].name,
		       commands[i].summary);
	puts("\n`dipc help COMMAND` has the options; dipc(1), dipc(7).");
	return 0;
}

static int cmd_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	puts("dipc " DIPC_VERSION);
	return 0;
}

int main(int argc, char **argv)
{
	static char name[64]; /* getopt's "dipc up: unrecognized option" */
	const struct command *cmd;
	int ret;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return cmd_help(1, argv) || argc < 2 ? DIPC_EXIT_USAGE : 0;
	if (!strcmp(argv[1], "--version"))
		return cmd_version(1, argv);
	cmd = command_find(argv[1]);
	if (!cmd)
		return DIPC_EXIT_USAGE;
	running = cmd;
	snprintf(name, sizeof(name), "dipc %s", cmd->name);
	argv[1] = name;
	ret = cmd->fn(argc - 1, argv + 1);
	if (fflush(stdout) || ferror(stdout))
		return dipc_cli_fail("standard output: %m");
	return ret;
}
