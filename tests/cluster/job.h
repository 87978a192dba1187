/* SPDX-License-Identifier: BSD-2-Clause */
/* What the test programs share: complaints, keys and numbers from argv. */
#ifndef DIPC_TESTS_CLUSTER_JOB_H
#define DIPC_TESTS_CLUSTER_JOB_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "dipc/dipc.h"

static inline void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (errno: %s)\n", strerror(saved));
	exit(1);
}

static inline long number(const char *text)
{
	char *end;
	long n = strtol(text, &end, 0);

	if (end == text || *end)
		die("not a number: %s", text);
	return n;
}

/*
 * Everything is looked up and attached: with $JOB_GO=FILE, say so by making
 * FILE.HOST.PID, and go on when FILE is there. So a test can watch what the
 * data phase alone puts on the wire.
 */
static inline void await_go(void)
{
	const char *path = getenv("JOB_GO");
	char ready[4096], host[64] = "";
	int fd;

	if (!path)
		return;
	gethostname(host, sizeof(host) - 1);
	snprintf(ready, sizeof(ready), "%s.%s.%d", path, host, (int)getpid());
	fd = open(ready, O_WRONLY | O_CREAT, 0600);
	if (fd < 0)
		die("%s", ready);
	close(fd);
	while (access(path, F_OK))
		usleep(100000);
}

#endif
