/* SPDX-License-Identifier: BSD-2-Clause */
#include "case.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_SKIP       77
#define DEFAULT_SECONDS 20

static const char *case_name = "setup";

/* One write per line: several processes share the output. */
static void say(const char *tag, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void say(const char *tag, const char *fmt, va_list ap)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, ap);
	dprintf(STDOUT_FILENO, "%s %s: %s\n", tag, case_name, text);
}

void case_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("FAIL", fmt, ap);
	va_end(ap);
	_exit(EXIT_FAILURE);
}

void case_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("skip", fmt, ap);
	va_end(ap);
	_exit(EXIT_SKIP);
}

void case_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("#", fmt, ap);
	va_end(ap);
}

int case_limit_ms(int ms)
{
	const char *slow = getenv("DIPC_TEST_SLOW");
	double factor = slow ? strtod(slow, NULL) : 1.0;

	return factor > 1.0 ? (int)(ms * factor) : ms;
}

int case_kernel(void)
{
	struct utsname u;
	char *end;
	long major, minor;

	if (uname(&u))
		return 0;
	major = strtol(u.release, &end, 10);
	minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
	return (int)(major * 1000 + minor);
}

static void case_child(const struct test_case *tc)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	case_name = tc->name;
	tc->run();
	_exit(EXIT_SUCCESS);
}

/* Returns the case's exit status; EXIT_FAILURE for a hang or a signal. */
static int case_wait(const struct test_case *tc, pid_t pid)
{
	int seconds = tc->seconds ? tc->seconds : DEFAULT_SECONDS;
	struct pollfd pfd = {.events = POLLIN};
	int status = 0, n;

	pfd.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	do {
		n = poll(&pfd, 1, case_limit_ms(seconds * 1000));
	} while (n < 0 && errno == EINTR);

	/* The whole group: a case leaves its client processes behind. */
	kill(-pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(pfd.fd);

	case_name = tc->name;
	if (n == 0) {
		dprintf(STDOUT_FILENO, "FAIL %s: timed out\n", tc->name);
		return EXIT_FAILURE;
	}
	if (WIFSIGNALED(status)) {
		dprintf(STDOUT_FILENO, "FAIL %s: signal %d\n", tc->name,
			WTERMSIG(status));
		return EXIT_FAILURE;
	}
	return WEXITSTATUS(status);
}

static int case_run(const struct test_case *tc)
{
	pid_t pid = fork();
	int status;

	if (pid < 0) {
		dprintf(STDOUT_FILENO, "FAIL %s: fork: %m\n", tc->name);
		return EXIT_FAILURE;
	}
	if (!pid)
		case_child(tc);
	setpgid(pid, pid); /* in both, so that the group exists for kill() */

	status = case_wait(tc, pid);
	if (!status)
		dprintf(STDOUT_FILENO, "ok %s\n", tc->name);
	return status;
}

int case_main(const struct test_case *cases, size_t nr, const char *only)
{
	bool ran = false, passed = false, failed = false;
	size_t i;

	for (i = 0; i < nr; i++) {
		int status;

		if (only && strcmp(only, cases[i].name) != 0)
			continue;
		status = case_run(&cases[i]);
		ran = true;
		passed |= status == EXIT_SUCCESS;
		failed |= status != EXIT_SUCCESS && status != EXIT_SKIP;
	}
	if (!ran) {
		dprintf(STDOUT_FILENO, "FAIL: no case is named %s\n",
			only ? only : "");
		return EXIT_FAILURE;
	}
	if (failed)
		return EXIT_FAILURE;
	return passed ? EXIT_SUCCESS : EXIT_SKIP;
}
