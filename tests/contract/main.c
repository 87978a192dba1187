/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The contract of transport/transport.h, held to each back end:
 *	contract_transport shm
 *	contract_transport sim
 *	contract_transport verbs ADDRESS
 * or DIPC_TEST_TRANSPORT="shm" / "sim" / "verbs ADDRESS". DIPC_TEST_FILTER is a
 * pattern of test names (? and *).
 */
#include "harness.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/log.h"

#define DIR_VARIABLE "DIPC_TEST_DIR" /* to peers */

static void backend_from_env(void)
{
	static char copy[160];
	const char *s = getenv("DIPC_TEST_TRANSPORT");
	char *space;

	ct_backend.kind = "shm";
	if (!s)
		return;
	snprintf(copy, sizeof(copy), "%s", s);
	ct_backend.kind = copy;
	space = strchr(copy, ' ');
	if (space) {
		*space = '\0';
		ct_backend.address = space + 1;
	}
}

/* One folder for us and our peers, who may be killed: we take it away. */
static int dir_make(void)
{
	const char *parents = getenv(DIR_VARIABLE);

	if (parents) {
		snprintf(ct_backend.dir, sizeof(ct_backend.dir), "%s", parents);
		return 0;
	}
	snprintf(ct_backend.dir, sizeof(ct_backend.dir), "/dev/shm/dct.XXXXXX");
	if (!mkdtemp(ct_backend.dir)) {
		snprintf(ct_backend.dir, sizeof(ct_backend.dir),
			 "/tmp/dct.XXXXXX");
		if (!mkdtemp(ct_backend.dir))
			return -1;
	}
	return setenv(DIR_VARIABLE, ct_backend.dir, 1);
}

static void dir_remove(void)
{
	DIR *dir = opendir(ct_backend.dir);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	if (rmdir(ct_backend.dir))
		perror(ct_backend.dir);
}

static int run_all(void)
{
	int failed = 0;

	failed += ct_run_ops();
	failed += ct_run_order();
	failed += ct_run_flow();
	failed += ct_run_conn();
	failed += ct_run_region();
	failed += ct_run_death();
	return failed;
}

int main(int argc, char **argv)
{
	const char *filter = getenv("DIPC_TEST_FILTER");
	int status, i = 1;

	backend_from_env();
	if (i < argc && strcmp(argv[i], "--peer") != 0) {
		ct_backend.kind = argv[i++];
		ct_backend.address = NULL;
		if (i < argc && strcmp(argv[i], "--peer") != 0)
			ct_backend.address = argv[i++];
	}
	ct_backend.is_sim = !strcmp(ct_backend.kind, "sim");
	if (dir_make()) {
		perror("temporary folder");
		return 1;
	}
	if (i + 3 < argc) {
		dipc_log_init("peer");
		return ct_peer_main(argv[i + 1], (unsigned)atoi(argv[i + 2]),
				    argv[i + 3]);
	}
	dipc_log_init("contract");
	if (filter)
		cmocka_set_test_filter(filter);
	status = run_all() ? 1 : 0;
	dir_remove();
	return status;
}
