/* SPDX-License-Identifier: BSD-2-Clause */
/* What the dipc command asks: objects of the cluster, state of the node. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/shm.h>

#include "runtime/base/log.h"
#include "runtime/node/job.h"
#include "runtime/node/segments.h"

struct ls {
	struct dipc_job *job;
	uint32_t nr;
};

static bool ls_row(void *arg, const struct dipc_arena_object *obj)
{
	struct ls *ls = arg;
	struct dipc_ls_row row = {0};

	if ((ls->nr + 1) * sizeof(row) > DIPC_SLOT_PAYLOAD)
		return false;
	dipc_object_stat(obj, &row.stat);
	row.kind = dipc_object_kind(obj);
	if (row.kind == DIPC_KIND_SHM) {
		row.home = obj->shm.home;
		row.homes = obj->shm.homes;
		row.block_chunks = obj->shm.block_chunks;
		row.unit_pages = obj->shm.unit_pages;
		row.rss = dipc_segments_rss(ls->job->node, obj->id);
	}
	if (obj->state & DIPC_OBJECT_REMOVED)
		row.stat.mode |= SHM_DEST;
	memcpy(ls->job->payload + ls->nr * sizeof(row), &row, sizeof(row));
	ls->nr++;
	return true;
}

/*
 * Rows from slot `num` on into the payload. The value is the slot to go on
 * from, 0 when there are no more.
 */
static int64_t admin_ls(struct dipc_job *job)
{
	struct dipc_fabric *f = job->node->fabric;
	struct ls ls = {.job = job};
	uint32_t end;
	int64_t next;
	int ret;

	if (job->args.ctl.num < 0 || job->args.ctl.cmd < 0 ||
	    job->args.ctl.cmd > DIPC_KIND_MSG)
		return -EINVAL;
	ret = dipc_job_walk_end(f, &end);
	if (ret)
		return ret;
	next = dipc_job_walk(f, (uint32_t)job->args.ctl.num, end,
			     (enum dipc_kind)job->args.ctl.cmd, ls_row, &ls);
	if (next < 0)
		return next;
	job->payload_len = ls.nr * (uint32_t)sizeof(struct dipc_ls_row);
	return next < end ? next : 0;
}

static int64_t admin_status(struct dipc_job *job)
{
	struct dipc_node *node = job->node;
	const struct dipc_fabric_counters *wire =
		dipc_fabric_counters(node->fabric);
	const struct dipc_page_counters pages =
		dipc_pages_counters(dipc_segments_pages(node->segments));
	struct dipc_status st = {0};
	unsigned i;

	st.node = dipc_fabric_node(node->fabric);
	st.epoch = node->epoch;
	for (i = 1; i <= DIPC_NODES_MAX; i++)
		if (node->known[i] >> 32 == DIPC_NODE_ALIVE)
			st.nr_nodes++;
	dipc_lookup_bytes(node->lookup, &st.tcp_tx_bytes, &st.tcp_rx_bytes);
	st.nr_reads = wire->nr_reads;
	st.nr_writes = wire->nr_writes;
	st.nr_atomics = wire->nr_atomics;
	st.nr_imms = wire->nr_imms;
	st.nr_faults = pages.nr_faults;
	st.nr_fills = pages.nr_fills;
	st.nr_invalidations = pages.nr_invalidated + pages.nr_recalled;
	snprintf(st.transport, sizeof(st.transport), "%s",
		 node->conf->transport);
	snprintf(st.address, sizeof(st.address), "%s",
		 dipc_transport_address(dipc_fabric_transport(node->fabric)));
	snprintf(st.referee, sizeof(st.referee), "%s", node->conf->referee);
	memcpy(job->payload, &st, sizeof(st));
	job->payload_len = sizeof(st);
	return 0;
}

static void stat_sum(struct dipc_job *job, struct dipc_page_stat *st)
{
	*st = (struct dipc_page_stat){
		.counters = dipc_pages_counters(
			dipc_segments_pages(job->node->segments)),
	};
}

static void stat_segment(struct dipc_job *job, const struct dipc_segment *seg,
			 struct dipc_page_stat *st)
{
	*st = (struct dipc_page_stat){
		.id = dipc_segment_id(seg),
		.home = dipc_segment_home(seg),
		.size = dipc_segment_size(seg),
		.resident = dipc_segments_rss(job->node, dipc_segment_id(seg)),
		.counters = dipc_segment_counters(seg),
	};
	memcpy(st->missed, dipc_segment_most_missed(seg), sizeof(st->missed));
	memcpy(st->taken, dipc_segment_most_taken(seg), sizeof(st->taken));
}

/* As many as the payload has room for. */
static int64_t admin_pages(struct dipc_job *job)
{
	struct dipc_pages *pages = dipc_segments_pages(job->node->segments);
	uint32_t at = (uint32_t)job->args.ctl.num;
	struct dipc_segment *seg;
	struct dipc_page_stat st;

	if (job->args.ctl.num < 0)
		return -EINVAL;
	job->payload_len = 0;
	if (at == 0) {
		stat_sum(job, &st);
		memcpy(job->payload, &st, sizeof(st));
		job->payload_len = sizeof(st);
	}
	while (job->payload_len + sizeof(st) <= DIPC_SLOT_PAYLOAD) {
		seg = dipc_segment_each(pages, &at);
		if (!seg)
			return 0;
		stat_segment(job, seg, &st);
		memcpy(job->payload + job->payload_len, &st, sizeof(st));
		job->payload_len += (uint32_t)sizeof(st);
	}
	return at;
}

int64_t dipc_job_admin(struct dipc_job *job)
{
	if (job->call == DIPC_CALL_PAGES)
		return admin_pages(job);
	return job->call == DIPC_CALL_LS ? admin_ls(job) : admin_status(job);
}
