/* SPDX-License-Identifier: BSD-2-Clause */
/* What a node counts of a segment, in words and as JSON. */
#ifndef DIPC_CLI_PAGES_H
#define DIPC_CLI_PAGES_H

#include <jansson.h>
#include <stddef.h>

#include "runtime/base/local.h"

#define DIPC_PAGE_BYTES 4096u

/* "512 bytes", "1.5 MiB" into TEXT, which it returns. */
const char *dipc_size_text(uint64_t bytes, char *text, size_t size);
/* A few lines, indented. */
void dipc_page_stat_print(unsigned node, const struct dipc_page_stat *st);
/* The counters, by their names in page_counters.h, into object O. */
void dipc_page_counters_json(json_t *o, const struct dipc_page_counters *c);
/* {"node", "resident", the counters, "most_missed", "most_taken"}. */
json_t *dipc_page_stat_json(unsigned node, const struct dipc_page_stat *st);

#endif
