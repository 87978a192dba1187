/* SPDX-License-Identifier: BSD-2-Clause */
/* What the dipc command asks: objects of the cluster, state of the node. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/shm.h>

#include "runtime/base/log.h"
#include "runtime/node/job.h"
#include "runtime/node/segments.h"

#define LS_SLOTS 16u /* object slots in one READ */

/*
 * Gone for programs, but its slot is not free yet: a removed set or queue, a
 * removed segment that nobody has attached (the referee marks its nattch).
 */
static bool ls_is_over(const struct dipc_arena_object *obj, uint32_t kind)
{
	if (!(obj->state & DIPC_OBJECT_REMOVED))
		return false;
	return kind != DIPC_KIND_SHM || (int64_t)obj->shm.nattch <= 0;
}

static void ls_row(const struct dipc_arena_object *obj,
		   struct dipc_ls_row *row_out)
{
	memset(row_out, 0, sizeof(*row_out));
	dipc_object_stat(obj, &row_out->stat);
	row_out->kind = (uint32_t)(obj->state >> 32 & 0xff);
	if (row_out->kind == DIPC_KIND_SHM)
		row_out->home = obj->shm.home;
	if (obj->state & DIPC_OBJECT_REMOVED)
		row_out->stat.mode |= SHM_DEST;
}

/*
 * Rows from slot `num` on into the payload. The value is the slot to go on
 * from, 0 when there are no more.
 */
static int64_t admin_ls(struct dipc_job *job)
{
	struct dipc_fabric *f = job->node->fabric;
	const struct dipc_arena_super *super = dipc_fabric_super(f);
	uint32_t max = DIPC_SLOT_PAYLOAD / sizeof(struct dipc_ls_row);
	uint8_t slots[LS_SLOTS * DIPC_OBJECT_STRIDE];
	struct dipc_ls_row row;
	uint32_t slot, nr = 0;

	if (job->args.ctl.num < 0)
		return -EINVAL;
	slot = (uint32_t)job->args.ctl.num;
	while (slot < super->nr_slots && nr + LS_SLOTS <= max) {
		uint32_t i, n = super->nr_slots - slot;
		int ret;

		if (n > LS_SLOTS)
			n = LS_SLOTS;
		ret = dipc_arena_read(f, dipc_object_off(super, slot), slots,
				      (size_t)n * DIPC_OBJECT_STRIDE);
		if (ret)
			return ret;
		for (i = 0; i < n; i++) {
			struct dipc_arena_object obj;
			uint32_t kind;

			memcpy(&obj, slots + (size_t)i * DIPC_OBJECT_STRIDE,
			       sizeof(obj));
			kind = (uint32_t)(obj.state >> 32 & 0xff);
			if (kind == DIPC_KIND_NONE || ls_is_over(&obj, kind))
				continue;
			ls_row(&obj, &row);
			memcpy(job->payload + nr * sizeof(row), &row,
			       sizeof(row));
			nr++;
		}
		slot += n;
	}
	job->payload_len = nr * (uint32_t)sizeof(row);
	return slot < super->nr_slots ? slot : 0;
}

static int64_t admin_status(struct dipc_job *job)
{
	struct dipc_node *node = job->node;
	const struct dipc_fabric_counters *wire =
		dipc_fabric_counters(node->fabric);
	const struct dipc_pages_counters *pages =
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
	st.nr_faults = pages->nr_faults;
	st.nr_fills = pages->nr_fills;
	st.nr_invalidations = pages->nr_invalidations;
	snprintf(st.transport, sizeof(st.transport), "%s",
		 node->conf->transport);
	snprintf(st.address, sizeof(st.address), "%s",
		 dipc_transport_address(dipc_fabric_transport(node->fabric)));
	snprintf(st.referee, sizeof(st.referee), "%s", node->conf->referee);
	memcpy(job->payload, &st, sizeof(st));
	job->payload_len = sizeof(st);
	return 0;
}

int64_t dipc_job_admin(struct dipc_job *job)
{
	return job->call == DIPC_CALL_LS ? admin_ls(job) : admin_status(job);
}
