/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A cluster's directory: what `dipc up` made, where every other sub-command
 * looks. Names in it:
 *
 *	cluster.key   lock
 *	referee.conf  referee.log  referee.pid  referee.shm
 *	nodeK.conf    nodeK.log    nodeK.pid    nodeK.shm    nodeK.sock
 */
#ifndef DIPC_CLI_DIR_H
#define DIPC_CLI_DIR_H

#include <stdbool.h>

#include "runtime/cli/cli.h"

/* So that every socket's name fits: sun_path has 108 bytes. */
#define DIPC_DIR_MAX  90
#define DIPC_PATH_MAX 128

struct dipc_dir {
	char path[DIPC_DIR_MAX + 1]; /* absolute */
	bool is_default;             /* no --dir needed to come back here */
};

/*
 * The directory OPTION, or the default when NULL; it need not exist. 0, or
 * DIPC_EXIT_FAIL, said. _choose() also finds the system's cluster when this
 * user has none.
 */
int dipc_dir_choose(const char *option, struct dipc_dir *dir_out);
int dipc_dir_choose_own(const char *option, struct dipc_dir *dir_out);
/* Make it, 0755, and see that it is ours. 0, or DIPC_EXIT_FAIL, said. */
int dipc_dir_make(struct dipc_dir *dir);
/* Only one `up` or `down` at a time; ends with the process. As above. */
int dipc_dir_lock(const struct dipc_dir *dir);
/* DIR/NAME.SUFFIX, or DIR/NAME if SUFFIX is NULL. */
void dipc_dir_file(const struct dipc_dir *dir, const char *name,
		   const char *suffix, char path_out[DIPC_PATH_MAX]);
/* How to name it in a command line: "" or " --dir PATH". */
const char *dipc_dir_hint(const struct dipc_dir *dir);
/* Nodes that have a configuration here, ascending; how many. */
unsigned dipc_dir_nodes(const struct dipc_dir *dir,
			unsigned nodes_out[DIPC_CLI_NODES]);
void dipc_dir_node_name(unsigned node, char name_out[16]);

/* Where a dipcd can be asked. */
struct dipc_target {
	unsigned node; /* 0: not known before it was asked */
	char socket[DIPC_PATH_MAX];
};

/*
 * The nodes to ask: of the directory OPTION; else what $DIPC_SOCKET names;
 * else of the default directory; else the one of dipc.conf(5). How many; none
 * at all is said on stderr.
 */
unsigned dipc_targets_find(const char *option,
			   struct dipc_target targets_out[DIPC_CLI_NODES]);

#endif
