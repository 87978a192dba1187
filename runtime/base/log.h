/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Log lines of the daemons, one write(2) each to stderr. Never from the
 * client library: it reports through errno, and once through stderr.
 */
#ifndef DIPC_BASE_LOG_H
#define DIPC_BASE_LOG_H

enum dipc_log_level {
	DIPC_LOG_ERROR, /* an operation was lost */
	DIPC_LOG_WARN,
	DIPC_LOG_INFO,  /* membership */
	DIPC_LOG_DEBUG, /* per object */
	DIPC_LOG_TRACE, /* per message */
};

/* NAME (borrowed, static) heads each line; DIPC_LOG=debug|... sets the level.
 */
void dipc_log_init(const char *name);

void dipc_log(enum dipc_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Warnings and errors logged so far: a test that logs one unasked fails. */
unsigned dipc_log_count(void);

#define dipc_error(...) dipc_log(DIPC_LOG_ERROR, __VA_ARGS__)
#define dipc_warn(...)  dipc_log(DIPC_LOG_WARN, __VA_ARGS__)
#define dipc_info(...)  dipc_log(DIPC_LOG_INFO, __VA_ARGS__)
#define dipc_debug(...) dipc_log(DIPC_LOG_DEBUG, __VA_ARGS__)
#define dipc_trace(...) dipc_log(DIPC_LOG_TRACE, __VA_ARGS__)

#endif
