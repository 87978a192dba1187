/* SPDX-License-Identifier: BSD-2-Clause */
/* dipc status: what each node of this machine says of itself. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/dir.h"
#include "runtime/cli/pages.h"
#include "runtime/cli/session.h"

static const struct {
	const char *name;
	const char *words;
	size_t offset;
} counters[] = {
#define COUNTER(name, words)                                                   \
	{                                                                      \
#name, words, offsetof(struct dipc_status, name)               \
	}
	COUNTER(nr_reads, "reads"),
	COUNTER(nr_writes, "writes"),
	COUNTER(nr_atomics, "atomics"),
	COUNTER(nr_imms, "messages"),
	COUNTER(nr_faults, "page faults"),
	COUNTER(nr_fills, "pages fetched"),
	COUNTER(nr_invalidations, "pages given up"),
	COUNTER(tcp_tx_bytes, "TCP bytes sent"),
	COUNTER(tcp_rx_bytes, "TCP bytes received"),
#undef COUNTER
};

#define NR_COUNTERS (sizeof(counters) / sizeof(counters[0]))

static uint64_t counter(const struct dipc_status *st, unsigned i)
{
	uint64_t value;

	memcpy(&value, (const char *)st + counters[i].offset, sizeof(value));
	return value;
}

static void print_text(const struct dipc_status *st)
{
	unsigned i;

	printf("node %u: %s %s, referee %s, %u node%s in the cluster, "
	       "epoch %llu\n",
	       st->node, st->transport, st->address, st->referee, st->nr_nodes,
	       st->nr_nodes == 1 ? "" : "s", (unsigned long long)st->epoch);
	for (i = 0; i < NR_COUNTERS; i++)
		printf("%s%llu %s", i ? ", " : "  ",
		       (unsigned long long)counter(st, i), counters[i].words);
	putchar('\n');
}

static void add_json(const struct dipc_status *st,
		     const struct dipc_page_stat *sum, json_t *nodes)
{
	json_t *node, *pages = json_object();
	unsigned i;

	node = json_pack("{s:I, s:I, s:I, s:s, s:s, s:s}", "node",
			 (json_int_t)st->node, "nodes_in_cluster",
			 (json_int_t)st->nr_nodes, "epoch",
			 (json_int_t)st->epoch, "transport", st->transport,
			 "address", st->address, "referee", st->referee);
	for (i = 0; node && i < NR_COUNTERS; i++)
		json_object_set_new(node, counters[i].name,
				    json_integer((json_int_t)counter(st, i)));
	if (sum)
		dipc_page_counters_json(pages, &sum->counters);
	json_object_set_new(node, "pages", pages);
	json_array_append_new(nodes, node);
}

/* 0, or -errno of a node that does not answer. */
static int ask(const struct dipc_target *target, json_t *nodes)
{
	struct dipc_page_stat *stats = NULL;
	struct dipc_session *session;
	struct dipc_status st;
	unsigned nr = 0;
	int ret;

	ret = dipc_session_open(target->socket, &session);
	if (ret)
		return ret;
	ret = dipc_session_status(session, &st);
	if (ret == 0 && nodes)
		ret = dipc_session_pages(session, &stats, &nr);
	dipc_session_close(session);
	if (ret)
		return ret;
	if (nodes)
		add_json(&st, nr ? &stats[0] : NULL, nodes);
	else
		print_text(&st);
	free(stats);
	return 0;
}

static int status(const char *dir_option, json_t *nodes)
{
	struct dipc_target targets[DIPC_CLI_NODES];
	unsigned i, nr = dipc_targets_find(dir_option, targets);
	int err, ret = nr ? 0 : DIPC_EXIT_FAIL;

	for (i = 0; i < nr; i++) {
		err = ask(&targets[i], nodes);
		if (err)
			ret = dipc_cli_fail("%s: %s", targets[i].socket,
					    strerror(-err));
	}
	return ret;
}

int dipc_cmd_status(int argc, char **argv)
{
	static const struct option table[] = {
		{"dir", required_argument, NULL, 'd'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *dir_option = NULL;
	json_t *nodes = NULL;
	int c, ret;

	while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		if (c == 'h')
			return dipc_cli_help();
		else if (c == 'j' && !nodes)
			nodes = json_array();
		else if (c == 'd')
			dir_option = optarg;
		else if (c != 'j')
			return DIPC_EXIT_USAGE;
	}
	if (optind < argc)
		return dipc_cli_usage("unexpected argument %s", argv[optind]);
	ret = status(dir_option, nodes);
	if (nodes) {
		json_dumpf(nodes, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(nodes);
	}
	return ret;
}
