/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a program asks of the whole system: *_INFO, *_STAT, *_STAT_ANY. All of
 * it comes out of the arena by READs: counts from its first page, what belongs
 * to single objects by a walk over their slots.
 */
#include <errno.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "runtime/node/job.h"
#include "runtime/node/segments.h"

#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif
#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif
#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif

#define WALK_SLOTS 128u /* with one READ */

/* ---- walking ------------------------------------------------------------ */

/* Nothing there, or only the referee still knows of it. */
static bool object_is_over(const struct dipc_arena_object *obj)
{
	enum dipc_kind kind = dipc_object_kind(obj);

	if (kind == DIPC_KIND_NONE)
		return true;
	if (!(obj->state & DIPC_OBJECT_REMOVED))
		return false;
	/* the referee marks the nattch of a segment that it took away */
	return kind != DIPC_KIND_SHM || (int64_t)obj->shm.nattch <= 0;
}

int64_t dipc_job_walk(struct dipc_fabric *f, uint32_t first, uint32_t end,
		      enum dipc_kind kind,
		      bool (*each)(void *arg,
				   const struct dipc_arena_object *obj),
		      void *arg)
{
	const struct dipc_arena_super *super = dipc_fabric_super(f);
	struct dipc_link *link = dipc_fabric_arena(f);
	bool must_go_on = true;
	int ret = 0;

	while (first < end && must_go_on && ret == 0) {
		uint32_t i, nr = end - first;
		const uint8_t *slots;
		struct dipc_tx tx;

		if (nr > WALK_SLOTS)
			nr = WALK_SLOTS;
		ret = dipc_tx_begin(&tx, link, nr * DIPC_OBJECT_STRIDE);
		if (ret)
			break;
		slots = dipc_tx_read(
			&tx, dipc_tx_at(link, dipc_object_off(super, first)),
			nr * DIPC_OBJECT_STRIDE);
		ret = dipc_tx_run(&tx);
		for (i = 0; i < nr && ret == 0; i++) {
			struct dipc_arena_object obj;

			memcpy(&obj, slots + i * DIPC_OBJECT_STRIDE,
			       sizeof(obj));
			if (object_is_over(&obj) ||
			    (kind && dipc_object_kind(&obj) != kind))
				continue;
			must_go_on = each(arg, &obj);
			if (!must_go_on)
				break;
		}
		dipc_tx_end(&tx);
		first += i;
	}
	return ret ? ret : (int64_t)first;
}

static int super_read(struct dipc_fabric *f, struct dipc_arena_super *super)
{
	return dipc_arena_read(f, 0, super, sizeof(*super));
}

int dipc_job_walk_end(struct dipc_fabric *f, uint32_t *end_out)
{
	struct dipc_arena_super super;
	int ret = super_read(f, &super);

	*end_out = (uint32_t)super.nr_opened;
	return ret;
}

/* ---- *_INFO ------------------------------------------------------------- */

struct info_walk {
	struct dipc_node *node;
	struct dipc_info *info;
};

static bool info_add(void *arg, const struct dipc_arena_object *obj)
{
	struct info_walk *w = arg;

	if (dipc_object_kind(obj) == DIPC_KIND_SHM) {
		w->info->rss +=
			dipc_segments_rss(w->node, obj->id) / DIPC_PAGE_SIZE;
	} else {
		w->info->qnum += obj->msg.qnum;
		w->info->cbytes += obj->msg.cbytes;
	}
	return true;
}

static int64_t job_info(struct dipc_job *job, enum dipc_kind kind)
{
	struct dipc_fabric *f = job->node->fabric;
	const struct dipc_arena_usage *usage;
	struct dipc_arena_super super;
	struct dipc_info info;
	int64_t ret = super_read(f, &super);

	if (ret)
		return ret;
	usage = &super.usage[kind];
	info = (struct dipc_info){
		.shmmax = super.shmmax,
		.shmall = super.shmall,
		.shmmni = super.shmmni,
		.semmsl = super.semmsl,
		.semmns = super.semmns,
		.semopm = super.semopm,
		.semmni = super.semmni,
		.msgmax = super.msgmax,
		.msgmnb = super.msgmnb,
		.msgmni = super.msgmni,
		.max_index = usage->top ? usage->top - 1 : 0,
		.nr = usage->nr,
		.total = usage->total,
	};
	if (job->args.ctl.cmd && kind != DIPC_KIND_SEM) {
		struct info_walk walk = {.node = job->node, .info = &info};

		ret = dipc_job_walk(f, 0, (uint32_t)usage->top, kind, info_add,
				    &walk);
		if (ret < 0)
			return ret;
	}
	memcpy(job->payload, &info, sizeof(info));
	job->payload_len = sizeof(info);
	return 0;
}

/* ---- *_STAT and *_STAT_ANY ---------------------------------------------- */

static bool stat_is_any(enum dipc_kind kind, int32_t cmd)
{
	return (kind == DIPC_KIND_SHM && cmd == SHM_STAT_ANY) ||
	       (kind == DIPC_KIND_SEM && cmd == SEM_STAT_ANY) ||
	       (kind == DIPC_KIND_MSG && cmd == MSG_STAT_ANY);
}

static int64_t job_stat_index(struct dipc_job *job, enum dipc_kind kind)
{
	struct dipc_fabric *f = job->node->fabric;
	const struct dipc_arena_super *super = dipc_fabric_super(f);
	/* as the kernel: an identifier's generation does not matter */
	uint32_t slot = dipc_id_slot(job->args.ctl.id);
	struct dipc_arena_object obj;
	struct dipc_stat stat;
	int ret;

	if (slot >= super->nr_slots)
		return -EINVAL;
	ret = dipc_arena_read(f, dipc_object_off(super, slot), &obj,
			      sizeof(obj));
	if (ret)
		return ret;
	if (object_is_over(&obj) || dipc_object_kind(&obj) != kind)
		return -EINVAL;
	if (!stat_is_any(kind, job->args.ctl.cmd)) {
		ret = dipc_object_allows(&obj, &job->client->cred,
					 DIPC_WANT_READ);
		if (ret)
			return ret;
	}
	dipc_object_stat(&obj, &stat);
	if (obj.state & DIPC_OBJECT_REMOVED)
		stat.mode |= SHM_DEST;
	memcpy(job->payload, &stat, sizeof(stat));
	job->payload_len = sizeof(stat);
	return obj.id;
}

int64_t dipc_job_info(struct dipc_job *job)
{
	int32_t kind = job->args.ctl.num;

	if (kind < DIPC_KIND_SHM || kind > DIPC_KIND_MSG)
		return -EINVAL;
	if (kind == DIPC_KIND_SHM)
		dipc_spaces_settle(dipc_segments_spaces(job->node->segments),
				   -1);
	return job->call == DIPC_CALL_INFO
		       ? job_info(job, (enum dipc_kind)kind)
		       : job_stat_index(job, (enum dipc_kind)kind);
}
