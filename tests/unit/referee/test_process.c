/* SPDX-License-Identifier: BSD-2-Clause */
/* The real program: how it starts, refuses to start, and stops. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/ticket.h"

#define START_MS 20000 /* a loaded machine; it takes 30 */

static char dir[64], key[96], conf[96], address[96];
static char said[4096]; /* on stderr */
static unsigned port;
static pid_t running[2]; /* started and not finished: a failed case's */

struct child {
	pid_t pid;
	int ready, err; /* read ends */
};

/* ---- set-up ------------------------------------------------------------- */

/* A port that was free a moment ago. */
static unsigned free_port(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET};
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (void *)&sin, len), 0);
	assert_int_equal(getsockname(fd, (void *)&sin, &len), 0);
	close(fd);
	return ntohs(sin.sin_port);
}

static void write_conf(const char *cluster, const char *referee)
{
	FILE *f = fopen(conf, "w");

	assert_non_null(f);
	fprintf(f,
		"[cluster]\nreferee = 127.0.0.1:%u\nkey-file = %s\n%s\n"
		"[referee]\nreferee-address = %s\n%s\n",
		port, key, cluster, address, referee);
	fclose(f);
}

static int setup(void **state)
{
	char err[256];

	(void)state;
	strcpy(dir, "/tmp/dipc-process-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(key, sizeof(key), "%s/key", dir);
	snprintf(conf, sizeof(conf), "%s/conf", dir);
	snprintf(address, sizeof(address), "%s/shm", dir);
	assert_int_equal(dipc_key_make(key, err, sizeof(err)), 0);
	port = free_port();
	write_conf("", "");
	return 0;
}

static int teardown(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++)
		if (running[i]) {
			kill(running[i], SIGKILL);
			waitpid(running[i], NULL, 0);
			running[i] = 0;
		}
	unlink(key);
	unlink(conf);
	assert_int_equal(rmdir(dir), 0); /* nothing else was left */
	return 0;
}

static struct child start(const char *option)
{
	struct child child;
	int ready[2], err[2];
	char number[12];

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(err, O_CLOEXEC), 0);
	child.pid = fork();
	assert_true(child.pid >= 0);
	if (!child.pid) {
		dup2(err[1], STDERR_FILENO);
		fcntl(ready[1], F_SETFD, 0);
		snprintf(number, sizeof(number), "%d", ready[1]);
		execl(DIPC_REFEREE_BIN, "dipc-referee", "--config", conf,
		      "--ready-fd", number, option, NULL);
		_exit(127);
	}
	running[running[0] != 0] = child.pid;
	close(ready[1]);
	close(err[1]);
	child.ready = ready[0];
	child.err = err[0];
	return child;
}

static bool is_ready(const struct child *child)
{
	struct pollfd p = {.fd = child->ready, .events = POLLIN};
	char text[16] = "";

	assert_int_equal(poll(&p, 1, START_MS), 1);
	return read(child->ready, text, sizeof(text) - 1) == 6 &&
	       !strcmp(text, "ready\n");
}

/* The exit status; what it said is in `said`. */
static int finish(struct child *child)
{
	char part[512];
	size_t len = 0;
	ssize_t n;
	int status;
	unsigned i;

	while ((n = read(child->err, part, sizeof(part))) > 0) {
		if (len + (size_t)n >= sizeof(said))
			continue; /* but read on, else it would block */
		memcpy(said + len, part, (size_t)n);
		len += (size_t)n;
	}
	said[len] = '\0';
	for (i = 0; i < 2; i++)
		if (running[i] == child->pid)
			running[i] = 0;
	assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
	close(child->err);
	close(child->ready);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* It refuses to start with one line that has both words. */
static void refuses(const char *cause, const char *setting)
{
	struct child child = start("--foreground");
	const char *eol;

	assert_int_equal(finish(&child), 1);
	eol = strchr(said, '\n');
	if (!eol || eol[1] || !strstr(said, cause) || !strstr(said, setting))
		fail_msg("'%s' is not one line with '%s' and '%s'", said, cause,
			 setting);
}

/* ---- cases -------------------------------------------------------------- */

static void start__ready_then_clean_stop(void **state)
{
	static const int signals[] = {SIGTERM, SIGINT};
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct child child = start("--foreground");

		assert_true(is_ready(&child));
		assert_int_equal(kill(child.pid, signals[i]), 0);
		assert_int_equal(finish(&child), 0);
	}
}

/* Our grandchild then: found as the one that reads our configuration. */
static pid_t find_daemon(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	assert_non_null(proc);
	while (!found && (entry = readdir(proc))) {
		char path[300], text[512] = "";
		ssize_t n, i;
		int fd;

		snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		for (i = 0; i < n; i++)
			if (!text[i])
				text[i] = ' ';
		if (strstr(text, conf))
			found = (pid_t)atoi(entry->d_name);
	}
	closedir(proc);
	return found;
}

static void start__background_returns_when_ready(void **state)
{
	struct child child = start(NULL);
	struct pollfd p = {.fd = child.err};
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
	running[0] = 0;
	assert_int_equal(status, 0);
	assert_true(is_ready(&child));
	pid = find_daemon();
	assert_true(pid > 0);
	assert_int_equal(getsid(pid), pid);
	assert_int_equal(kill(pid, SIGTERM), 0);
	/* its end of stderr closes when it has ended */
	while (!(p.revents & POLLHUP)) {
		char text[256];

		p.events = POLLIN;
		assert_int_equal(poll(&p, 1, START_MS), 1);
		if (p.revents & POLLIN)
			(void)!read(child.err, text, sizeof(text));
	}
	close(child.err);
	close(child.ready);
}

static void start__port_in_use(void **state)
{
	struct child child = start("--foreground");

	(void)state;
	assert_true(is_ready(&child));
	refuses("in use", "`referee`");
	assert_int_equal(kill(child.pid, SIGTERM), 0);
	assert_int_equal(finish(&child), 0);
}

static void start__not_our_address(void **state)
{
	FILE *f = fopen(conf, "w");

	(void)state;
	fprintf(f, "[cluster]\nreferee = 192.0.2.1:%u\nkey-file = %s\n", port,
		key);
	fclose(f);
	refuses("Cannot assign", "`referee`");
}

static void start__key_file(void **state)
{
	(void)state;
	chmod(key, 0644);
	refuses("others can read it", "key-file");
	unlink(key);
	refuses("No such file", "key-file");
	assert_int_equal(close(open(key, O_CREAT | O_WRONLY, 0600)), 0);
	refuses("not a key", "key-file");
}

static void start__memory(void **state)
{
	(void)state;
	write_conf("", "arena-size = 1M");
	refuses("too small", "arena-size");
	write_conf("", "arena-size = 60G");
	refuses("larger than this machine", "arena-size");
	write_conf("", "arena-file = /no/such/dir/arena");
	refuses("No such file", "arena-file");
}

static void start__config(void **state)
{
	(void)state;
	write_conf("transport = pigeon", "");
	refuses("pigeon", "transport");
	write_conf("transport = verbs", "referee-address = 192.0.2.1");
	refuses("second time", "referee-address");
	unlink(conf);
	refuses("No such file", "conf");
}

static void start__arena_file_is_one_referees(void **state)
{
	struct child first, again;
	char file[96], setting[128];
	struct stat st;

	(void)state;
	snprintf(file, sizeof(file), "%s/arena", dir);
	snprintf(setting, sizeof(setting), "arena-file = %s", file);
	write_conf("", setting);
	first = start("--foreground");
	assert_true(is_ready(&first));
	/* another port and address, the same memory */
	port = free_port();
	snprintf(address, sizeof(address), "%s/shm2", dir);
	write_conf("", setting);
	refuses("another referee", "arena-file");
	/* killed, it can be started again on the same file */
	assert_int_equal(kill(first.pid, SIGKILL), 0);
	(void)finish(&first);
	again = start("--foreground");
	assert_true(is_ready(&again));
	assert_int_equal(kill(again.pid, SIGTERM), 0);
	assert_int_equal(finish(&again), 0);
	assert_int_equal(stat(file, &st), 0);
	snprintf(setting, sizeof(setting), "arena-size = 64M\narena-file = %s",
		 file);
	write_conf("", setting);
	refuses("arena-size", "arena-file");
	unlink(file);
	snprintf(file, sizeof(file), "%s/shm", dir);
	unlink(file); /* of the one that was killed */
}

static void options__bad(void **state)
{
	struct child child = start("--nonsense");

	(void)state;
	assert_int_equal(finish(&child), 2);
	assert_non_null(strstr(said, "usage:"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(start__ready_then_clean_stop),
		CASE(start__background_returns_when_ready),
		CASE(start__port_in_use),
		CASE(start__not_our_address),
		CASE(start__key_file),
		CASE(start__memory),
		CASE(start__config),
		CASE(start__arena_file_is_one_referees),
		CASE(options__bad),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
