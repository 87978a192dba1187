/* SPDX-License-Identifier: BSD-2-Clause */
/* dipc rm: IPC_RMID for what is chosen from the list of all objects. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/dir.h"
#include "runtime/cli/session.h"

struct choice {
	const char *dir_option;
	const char *kind; /* NULL: any */
	bool is_all, has_key, has_id;
	unsigned long key, id;
};

static bool is_chosen(const struct choice *choice,
		      const struct dipc_ls_row *row)
{
	if (choice->kind && strcmp(choice->kind, dipc_cli_kind(row->kind)))
		return false;
	if (choice->is_all)
		return true;
	if (choice->has_id)
		return row->stat.id == (int32_t)choice->id;
	return (uint32_t)row->stat.key == (uint32_t)choice->key;
}

/* 0; -EIDRM: somebody was faster; or another error, said. */
static int remove_row(struct dipc_session *session,
		      const struct dipc_ls_row *row)
{
	const char *kind = dipc_cli_kind(row->kind);
	int ret = dipc_session_rm(session, row);

	if (ret == -EIDRM || ret == -EINVAL)
		return -EIDRM;
	if (ret) {
		dipc_cli_fail("%s 0x%08x, id %d: %s", kind,
			      (uint32_t)row->stat.key, row->stat.id,
			      strerror(-ret));
		return ret;
	}
	printf("removed %s 0x%08x, id %d", kind, (uint32_t)row->stat.key,
	       row->stat.id);
	if (row->kind == 1 && row->stat.count)
		printf("; it goes when the last of %llu attachments does",
		       (unsigned long long)row->stat.count);
	putchar('\n');
	return 0;
}

static int rm(struct dipc_session *session, const struct choice *choice)
{
	struct dipc_ls_row *rows;
	unsigned i, nr, found = 0;
	int ret = dipc_session_ls(session, &rows, &nr), status = 0;

	if (ret)
		return dipc_cli_fail("the list of objects: %s", strerror(-ret));
	for (i = 0; i < nr; i++) {
		if (!is_chosen(choice, &rows[i]))
			continue;
		ret = remove_row(session, &rows[i]);
		found += ret != -EIDRM;
		if (ret && ret != -EIDRM)
			status = DIPC_EXIT_FAIL;
	}
	free(rows);
	if (found)
		return status;
	if (!choice->is_all)
		return dipc_cli_fail("no such object: `dipc ls`");
	puts("no objects");
	return 0;
}

static int choice_option(struct choice *choice, int c)
{
	switch (c) {
	case 'd':
		choice->dir_option = optarg;
		return 0;
	case 'a':
		choice->is_all = true;
		return 0;
	case 'k':
		choice->has_key = true;
		return dipc_cli_number("--key", optarg, 1, UINT32_MAX,
				       &choice->key);
	case 'i':
		choice->has_id = true;
		return dipc_cli_number("--id", optarg, 0, INT32_MAX,
				       &choice->id);
	case 'h':
		exit(dipc_cli_help());
	}
	return DIPC_EXIT_USAGE; /* getopt has said it */
}

static int choice_parse(struct choice *choice, int argc, char **argv)
{
	static const struct option table[] = {
		{"dir", required_argument, NULL, 'd'},
		{"key", required_argument, NULL, 'k'},
		{"id", required_argument, NULL, 'i'},
		{"all", no_argument, NULL, 'a'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1)
		if (choice_option(choice, c))
			return DIPC_EXIT_USAGE;
	if (optind < argc) {
		choice->kind = argv[optind++];
		if (strcmp(choice->kind, "shm") &&
		    strcmp(choice->kind, "sem") && strcmp(choice->kind, "msg"))
			return dipc_cli_usage("%s: shm, sem or msg",
					      choice->kind);
	}
	if (optind < argc)
		return dipc_cli_usage("unexpected argument %s", argv[optind]);
	if (choice->is_all + choice->has_key + choice->has_id != 1)
		return dipc_cli_usage("one of --key, --id and --all");
	return 0;
}

int dipc_cmd_rm(int argc, char **argv)
{
	struct dipc_target targets[DIPC_CLI_NODES];
	struct choice choice = {0};
	struct dipc_session *session = NULL;
	unsigned i, nr;
	int ret = -ENOENT;

	if (choice_parse(&choice, argc, argv))
		return DIPC_EXIT_USAGE;
	nr = dipc_targets_find(choice.dir_option, targets);
	if (!nr)
		return DIPC_EXIT_FAIL;
	for (i = 0; i < nr && ret; i++)
		ret = dipc_session_open(targets[i].socket, &session);
	if (ret)
		return dipc_cli_fail("no dipcd answers (%s: %s)",
				     targets[nr - 1].socket, strerror(-ret));
	ret = rm(session, &choice);
	dipc_session_close(session);
	return ret;
}
