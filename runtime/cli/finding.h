/* SPDX-License-Identifier: BSD-2-Clause */
/* What `dipc doctor` has found: one line each, on stdout. */
#ifndef DIPC_CLI_FINDING_H
#define DIPC_CLI_FINDING_H

#include "runtime/base/config.h"

void dipc_finding_ok(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));
/* Works, but the reader may want to know. */
void dipc_finding_note(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));
/* Does not work. MEND: the command that mends it, or NULL. */
void dipc_finding_fail(const char *mend, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* What this machine has to offer to a cluster configured as CONF. */
void dipc_host_check(const struct dipc_config *conf);

#endif
