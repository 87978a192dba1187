/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dipc command: what its sub-commands share. One process, one thread; a
 * sub-command's return value is the exit status of the program.
 */
#ifndef DIPC_CLI_CLI_H
#define DIPC_CLI_CLI_H

#include <stddef.h>

#include "runtime/base/local.h"

#define DIPC_EXIT_OK    0
#define DIPC_EXIT_FAIL  1
#define DIPC_EXIT_USAGE 2

#define DIPC_CLI_NODES 40u /* ids are 1..40: dipc.conf(5) */

/* One line "dipc: ..." on stderr; DIPC_EXIT_FAIL. */
int dipc_cli_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, and where to read on; DIPC_EXIT_USAGE. */
int dipc_cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The running sub-command's --help; 0. */
int dipc_cli_help(void);
/* TEXT as a number from MIN to MAX (0x and 0 as in C). 0 or -EINVAL, said. */
int dipc_cli_number(const char *what, const char *text, unsigned long min,
		    unsigned long max, unsigned long *number_out);
/* "shm", "sem", "msg"; "?" for no enum dipc_kind. */
const char *dipc_cli_kind(unsigned kind);

int dipc_cmd_up(int argc, char **argv);
int dipc_cmd_down(int argc, char **argv);
int dipc_cmd_run(int argc, char **argv);
int dipc_cmd_ls(int argc, char **argv);
int dipc_cmd_rm(int argc, char **argv);
int dipc_cmd_top(int argc, char **argv);
int dipc_cmd_status(int argc, char **argv);
int dipc_cmd_doctor(int argc, char **argv);
int dipc_cmd_key(int argc, char **argv);

/*
 * Where the program PROGRAM ("dipcd"), or the client library, lies: in the
 * build tree or installed, found from where this program lies. 0, or
 * DIPC_EXIT_FAIL, said.
 */
int dipc_cli_find_program(const char *program, char *path_out, size_t size);
int dipc_cli_find_library(char *path_out, size_t size);

#endif
