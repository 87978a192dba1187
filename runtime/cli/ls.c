/* SPDX-License-Identifier: BSD-2-Clause */
/* dipc ls: every object of the cluster, as any one node tells it. */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/cli/dir.h"
#include "runtime/cli/pages.h"
#include "runtime/cli/session.h"

#define SHM_DEST_BIT 01000u /* in stat.mode: shmctl(2) */

enum { KIND_SHM = 1, KIND_SEM, KIND_MSG }; /* enum dipc_kind */

struct listing {
	struct dipc_status nodes[DIPC_CLI_NODES];     /* those that answer */
	struct dipc_page_stat *pages[DIPC_CLI_NODES]; /* owned; of nodes[] */
	unsigned nr_pages[DIPC_CLI_NODES];
	unsigned nr_nodes;
	unsigned silent[DIPC_CLI_NODES];
	unsigned nr_silent;
	struct dipc_ls_row *rows; /* owned */
	unsigned nr_rows;
	uint64_t epoch; /* the latest that any of them has seen */
};

/* ---- asking ------------------------------------------------------------- */

/*
 * One node's status, what it counts of its segments, and the objects, if no
 * node before has told them.
 */
static int ask(const struct dipc_target *target, struct listing *list,
	       bool *has_rows)
{
	unsigned i = list->nr_nodes;
	struct dipc_session *session;
	int ret;

	ret = dipc_session_open(target->socket, &session);
	if (ret)
		return ret;
	ret = dipc_session_status(session, &list->nodes[i]);
	if (!ret)
		ret = dipc_session_pages(session, &list->pages[i],
					 &list->nr_pages[i]);
	if (!ret) {
		if (list->nodes[i].epoch > list->epoch)
			list->epoch = list->nodes[i].epoch;
		list->nr_nodes++;
		if (!*has_rows)
			*has_rows = !dipc_session_ls(session, &list->rows,
						     &list->nr_rows);
	}
	dipc_session_close(session);
	return ret;
}

static int row_compare(const void *a, const void *b)
{
	const struct dipc_ls_row *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->stat.key != y->stat.key)
		return (uint32_t)x->stat.key < (uint32_t)y->stat.key ? -1 : 1;
	return x->stat.id < y->stat.id ? -1 : x->stat.id > y->stat.id;
}

/* What the I-th node counts of segment ID, or NULL: it has it not open. */
static const struct dipc_page_stat *listing_pages(const struct listing *list,
						  unsigned i, int32_t id)
{
	unsigned n;

	/* the first is the node's sum */
	for (n = 1; n < list->nr_pages[i]; n++)
		if (list->pages[i][n].id == id)
			return &list->pages[i][n];
	return NULL;
}

static void listing_free(struct listing *list)
{
	unsigned i;

	for (i = 0; i < list->nr_nodes; i++)
		free(list->pages[i]);
	free(list->rows);
}

static int listing_get(const char *dir_option, struct listing *list)
{
	struct dipc_target targets[DIPC_CLI_NODES];
	unsigned i, nr = dipc_targets_find(dir_option, targets);
	bool has_rows = false;
	int ret = 0;

	for (i = 0; i < nr; i++) {
		ret = ask(&targets[i], list, &has_rows);
		if (ret)
			list->silent[list->nr_silent++] = targets[i].node;
	}
	if (!nr)
		return DIPC_EXIT_FAIL;
	if (!list->nr_nodes)
		return dipc_cli_fail("no dipcd answers (%s: %s)",
				     targets[nr - 1].socket, strerror(-ret));
	if (!has_rows)
		return dipc_cli_fail("the referee's memory is out of reach of "
				     "every node that answers");
	if (list->nr_rows)
		qsort(list->rows, list->nr_rows, sizeof(*list->rows),
		      row_compare);
	return 0;
}

/* ---- words -------------------------------------------------------------- */

static const char *user_name(uint32_t uid, char text[32])
{
	const struct passwd *pw = getpwuid(uid);

	if (pw)
		snprintf(text, 32, "%s", pw->pw_name);
	else
		snprintf(text, 32, "%u", uid);
	return text;
}

static const char *group_name(uint32_t gid, char text[32])
{
	const struct group *gr = getgrgid(gid);

	if (gr)
		snprintf(text, 32, "%s", gr->gr_name);
	else
		snprintf(text, 32, "%u", gid);
	return text;
}

static const char *home_name(const struct dipc_ls_row *row, char text[32])
{
	if (row->home)
		snprintf(text, 32, "node %u", row->home);
	else
		snprintf(text, 32, "referee");
	return text;
}

static const char *time_text(int64_t when, char text[32])
{
	time_t t = (time_t)when;
	struct tm tm;

	if (!when || !localtime_r(&t, &tm) ||
	    !strftime(text, 32, "%Y-%m-%d %H:%M:%S", &tm))
		strcpy(text, "-");
	return text;
}

static void use_text(const struct dipc_ls_row *row, char *text, size_t size)
{
	const struct dipc_stat *s = &row->stat;
	unsigned long long count = s->count;

	if (row->kind == KIND_SHM)
		snprintf(text, size, "%llu bytes, %llu attached%s",
			 (unsigned long long)s->size, count,
			 s->mode & SHM_DEST_BIT ? ", removed" : "");
	else if (row->kind == KIND_SEM)
		snprintf(text, size, "%llu semaphore%s",
			 (unsigned long long)s->size, s->size == 1 ? "" : "s");
	else
		snprintf(text, size, "%llu message%s, %llu of %llu bytes",
			 count, count == 1 ? "" : "s",
			 (unsigned long long)s->bytes,
			 (unsigned long long)s->size);
}

/* ---- table -------------------------------------------------------------- */

static void print_nodes(const struct listing *list)
{
	const struct dipc_status *st = &list->nodes[0];
	unsigned i;

	printf("nodes:");
	for (i = 0; i < list->nr_nodes; i++)
		printf("%s %u", i ? "," : "", list->nodes[i].node);
	printf(" here, %u in the cluster; referee %s, transport %s, "
	       "epoch %llu\n",
	       st->nr_nodes, st->referee, st->transport,
	       (unsigned long long)list->epoch);
	for (i = 0; i < list->nr_silent; i++)
		printf("node %u does not answer\n", list->silent[i]);
}

static void print_details(const struct dipc_ls_row *row)
{
	static const char *const words[][4] = {
		{"", "", "", ""},
		{"attached", "detached", "created by", "last by"},
		{"operated", NULL, NULL, NULL},
		{"sent", "received", "sent by", "received by"},
	};
	const struct dipc_stat *s = &row->stat;
	const char *const *word = words[row->kind < 4 ? row->kind : 0];
	char a[32], b[32], c[32];

	printf("     group %s, creator %s:%s, changed %s\n",
	       group_name(s->gid, a), user_name(s->cuid, b),
	       group_name(s->cgid, c), time_text(s->ctime, (char[32]){0}));
	if (word[0])
		printf("     %s %s", word[0], time_text(s->time1, a));
	if (word[1])
		printf(", %s %s", word[1], time_text(s->time2, a));
	if (word[2])
		printf(", %s pid %d@%u, %s pid %d@%u", word[2], s->pid1,
		       s->node1, word[3], s->pid2, s->node2);
	putchar('\n');
}

#define CHUNK_KIB 2048ull

static void print_homes(const struct dipc_ls_row *row)
{
	uint64_t bits;

	printf("     at home on");
	for (bits = row->homes; bits; bits &= bits - 1)
		printf(" %d", __builtin_ctzll(bits) + 1);
	if (row->homes & (row->homes - 1))
		printf(", %llu KiB in a row", row->block_chunks * CHUNK_KIB);
	printf("; moved by %llu KiB\n", 4ull * row->unit_pages);
}

static void print_pages(const struct listing *list,
			const struct dipc_ls_row *row)
{
	unsigned i;

	for (i = 0; i < list->nr_nodes; i++) {
		const struct dipc_page_stat *st =
			listing_pages(list, i, row->stat.id);

		if (st)
			dipc_page_stat_print(list->nodes[i].node, st);
	}
}

static void print_table(const struct listing *list, bool is_verbose)
{
	char owner[32], home[32], use[96];
	unsigned i;

	print_nodes(list);
	if (!list->nr_rows) {
		puts("no objects");
		return;
	}
	printf("%-4s %-10s %-10s %-10s %-5s %-8s %s\n", "kind", "key", "id",
	       "owner", "mode", "home", "size and use");
	for (i = 0; i < list->nr_rows; i++) {
		const struct dipc_ls_row *row = &list->rows[i];

		use_text(row, use, sizeof(use));
		printf("%-4s 0x%08x %-10d %-10s %-5o %-8s %s\n",
		       dipc_cli_kind(row->kind), (uint32_t)row->stat.key,
		       row->stat.id, user_name(row->stat.uid, owner),
		       row->stat.mode & 0777, home_name(row, home), use);
		if (!is_verbose)
			continue;
		print_details(row);
		if (row->kind != KIND_SHM)
			continue;
		print_homes(row);
		print_pages(list, row);
	}
}

/* ---- json --------------------------------------------------------------- */

/* What the fields that differ are called; NULL: of no meaning. */
static const struct {
	const char *time1, *time2, *size, *count, *bytes;
	const char *pid1, *node1, *pid2, *node2;
} field_names[] = {
	[KIND_SHM] = {"atime", "dtime", "size", "attached", NULL, "cpid",
		      "cpid_node", "lpid", "lpid_node"},
	[KIND_SEM] = {.time1 = "otime", .size = "semaphores"},
	[KIND_MSG] = {"stime", "rtime", "size", "messages", "bytes", "lspid",
		      "lspid_node", "lrpid", "lrpid_node"},
};

static void put(json_t *o, const char *name, uint64_t value)
{
	if (name)
		json_object_set_new(o, name, json_integer((json_int_t)value));
}

static void put_varying(json_t *o, const struct dipc_ls_row *row)
{
	const struct dipc_stat *s = &row->stat;
	uint32_t k = row->kind;

	if (k < KIND_SHM || k > KIND_MSG)
		return;
	put(o, field_names[k].size, s->size);
	put(o, field_names[k].count, s->count);
	put(o, field_names[k].bytes, s->bytes);
	put(o, field_names[k].time1, (uint64_t)s->time1);
	put(o, field_names[k].time2, (uint64_t)s->time2);
	put(o, field_names[k].pid1, (uint64_t)s->pid1);
	put(o, field_names[k].node1, s->node1);
	put(o, field_names[k].pid2, (uint64_t)s->pid2);
	put(o, field_names[k].node2, s->node2);
	if (k == KIND_SHM)
		json_object_set_new(o, "removed",
				    json_boolean(s->mode & SHM_DEST_BIT));
}

static json_t *pages_json(const struct listing *list, int32_t id)
{
	json_t *nodes = json_array();
	unsigned i;

	for (i = 0; i < list->nr_nodes; i++) {
		const struct dipc_page_stat *st = listing_pages(list, i, id);

		if (st)
			json_array_append_new(
				nodes,
				dipc_page_stat_json(list->nodes[i].node, st));
	}
	return nodes;
}

static void put_homes(json_t *o, const struct dipc_ls_row *row)
{
	json_t *homes = json_array();
	uint64_t bits;

	for (bits = row->homes; bits; bits &= bits - 1)
		json_array_append_new(homes,
				      json_integer(__builtin_ctzll(bits) + 1));
	json_object_set_new(o, "homes", homes);
	put(o, "home_block", row->block_chunks * CHUNK_KIB * 1024);
	put(o, "transfer_unit", 4096ull * row->unit_pages);
}

static json_t *row_json(const struct listing *list,
			const struct dipc_ls_row *row)
{
	const struct dipc_stat *s = &row->stat;
	char owner[32], mode[8];
	json_t *o = json_object();

	snprintf(mode, sizeof(mode), "%03o", s->mode & 0777);
	json_object_set_new(o, "kind", json_string(dipc_cli_kind(row->kind)));
	put(o, "key", (uint32_t)s->key);
	put(o, "id", (uint64_t)s->id);
	json_object_set_new(o, "owner", json_string(user_name(s->uid, owner)));
	put(o, "uid", s->uid);
	put(o, "gid", s->gid);
	put(o, "cuid", s->cuid);
	put(o, "cgid", s->cgid);
	json_object_set_new(o, "mode", json_string(mode));
	put(o, "home", row->home);
	put(o, "ctime", (uint64_t)s->ctime);
	put_varying(o, row);
	if (row->kind == KIND_SHM) {
		put_homes(o, row);
		json_object_set_new(o, "pages", pages_json(list, s->id));
	}
	return o;
}

static int print_json(const struct listing *list)
{
	json_t *root, *nodes = json_array(), *objects = json_array();
	unsigned i;
	int ret;

	for (i = 0; i < list->nr_nodes; i++)
		json_array_append_new(nodes, json_integer(list->nodes[i].node));
	for (i = 0; i < list->nr_rows; i++)
		json_array_append_new(objects, row_json(list, &list->rows[i]));
	root = json_pack("{s:o, s:I, s:I, s:s, s:s, s:o}", "nodes", nodes,
			 "nodes_in_cluster",
			 (json_int_t)list->nodes[0].nr_nodes, "epoch",
			 (json_int_t)list->epoch, "transport",
			 list->nodes[0].transport, "referee",
			 list->nodes[0].referee, "objects", objects);
	if (!root)
		return dipc_cli_fail("out of memory");
	ret = json_dumpf(root, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(root);
	return ret ? dipc_cli_fail("standard output: %m") : 0;
}

/* ---- the command -------------------------------------------------------- */

int dipc_cmd_ls(int argc, char **argv)
{
	static const struct option table[] = {
		{"dir", required_argument, NULL, 'd'},
		{"json", no_argument, NULL, 'j'},
		{"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	static struct listing list; /* large, and zero */
	bool is_json = false, is_verbose = false;
	const char *dir_option = NULL;
	int c, ret;

	while ((c = getopt_long(argc, argv, "hv", table, NULL)) != -1) {
		if (c == 'h')
			return dipc_cli_help();
		else if (c == 'j')
			is_json = true;
		else if (c == 'v')
			is_verbose = true;
		else if (c == 'd')
			dir_option = optarg;
		else
			return DIPC_EXIT_USAGE;
	}
	if (optind < argc)
		return dipc_cli_usage("unexpected argument %s", argv[optind]);
	ret = listing_get(dir_option, &list);
	if (ret == 0 && is_json)
		ret = print_json(&list);
	else if (ret == 0)
		print_table(&list, is_verbose);
	listing_free(&list);
	return ret;
}
