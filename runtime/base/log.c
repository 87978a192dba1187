/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

static const char *const level_name[] = {"error", "warning", "info", "debug",
					 "trace"};
static const char *log_name = "dipc";
static enum dipc_log_level log_level = DIPC_LOG_INFO;
static unsigned log_count;

void dipc_log_init(const char *name)
{
	const char *want = getenv("DIPC_LOG");
	unsigned i;

	log_name = name;
	if (!want)
		return;
	for (i = 0; i < sizeof(level_name) / sizeof(level_name[0]); i++)
		if (!strcasecmp(want, level_name[i]))
			log_level = (enum dipc_log_level)i;
}

unsigned dipc_log_count(void)
{
	return log_count;
}

void dipc_log(enum dipc_log_level level, const char *fmt, ...)
{
	int saved = errno;
	char line[1024];
	va_list ap;
	int head, body;
	size_t len;

	if (level <= DIPC_LOG_WARN)
		log_count++;
	if (level > log_level)
		return;
	head = snprintf(line, sizeof(line), "%s: %s: ", log_name,
			level_name[level]);
	errno = saved; /* for %m */
	va_start(ap, fmt);
	body = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, fmt, ap);
	va_end(ap);
	len = (size_t)head + (body > 0 ? (size_t)body : 0);
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0) {
		/* nowhere left to say so */
	}
	errno = saved;
}
