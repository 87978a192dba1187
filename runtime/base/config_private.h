/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by config.c and config_segment.c only. */
#ifndef DIPC_BASE_CONFIG_PRIVATE_H
#define DIPC_BASE_CONFIG_PRIVATE_H

#include <stddef.h>

#include "runtime/base/config.h"

/* "12", and with HAS_UNITS "12K" to "12T". 0, -EINVAL, -ERANGE. */
int dipc_config_number(const char *text, bool has_units, uint64_t *value_out);

/* Is SECTION "segments", or "segment LABEL"? */
bool dipc_config_is_segment(const char *section);
/* A line of such a section. 0 or -errno, with MSG (SIZE bytes) filled in. */
int dipc_config_segment(struct dipc_config *conf, const char *section,
			const char *name, const char *value, char *msg,
			size_t size);
/* At the end of the file: each rule has its keys. 0 or -EINVAL. */
int dipc_config_segment_check(const struct dipc_config *conf, char *msg,
			      size_t size);
void dipc_config_segment_fini(struct dipc_config *conf);

#endif
