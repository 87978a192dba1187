/* SPDX-License-Identifier: BSD-2-Clause */
/* dipc top: what its two faces share, lines and screen. */
#ifndef DIPC_CLI_TOP_H
#define DIPC_CLI_TOP_H

#include "runtime/cli/sample.h"

#define DIPC_TOP_LINE 256u

struct dipc_top {
	struct dipc_sample *sample; /* owned by dipc_cmd_top */
	unsigned sort;              /* column */
	unsigned long delay_ms;
};

/* Sort by the column with this key; false: there is none. */
bool dipc_top_sort_by(struct dipc_top *top, int key);
/* The rows, sorted. */
struct dipc_sample_row *dipc_top_rows(struct dipc_top *top, unsigned *nr_out);

/* One line each into TEXT, which they return. */
const char *dipc_top_head(const struct dipc_top *top, char text[DIPC_TOP_LINE]);
const char *dipc_top_titles(char text[DIPC_TOP_LINE]);
const char *dipc_top_row(const struct dipc_top *top,
			 const struct dipc_sample_row *row,
			 char text[DIPC_TOP_LINE]);
const char *dipc_top_page(const struct dipc_top *top,
			  const struct dipc_sample_page *page,
			  char text[DIPC_TOP_LINE]);
const char *dipc_top_keys(char text[DIPC_TOP_LINE]);

/* Until q, or a signal that ends programs, which is raised again after the
   terminal has been restored. Exit status. */
int dipc_screen_run(struct dipc_top *top);

#endif
