/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the three kinds of object share.
 *
 * Locking. An object's lock has two halves: a fair fiber lock per object and
 * node (local_locks, loop thread only), so that one fiber of a node at a time
 * tries for the lock word in the arena. Between nodes the word is taken by
 * CAS, and whoever loses backs off for a random, bounded time.
 */
#include "runtime/protocol/object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "runtime/base/log.h"

#define BACKOFF_SHM    (2 * DIPC_USEC)
#define BACKOFF_DEVICE (20 * DIPC_USEC)
#define BACKOFF_MAX    DIPC_MSEC

/* ---- finding ------------------------------------------------------------ */

int dipc_object_check(const struct dipc_arena_object *obj, int32_t id,
		      enum dipc_kind kind)
{
	uint32_t gen = (uint32_t)obj->state;

	if ((obj->state & ~DIPC_OBJECT_REMOVED) >> 32 != kind ||
	    dipc_id_make(dipc_id_slot(id), gen) != id)
		return -EINVAL;
	return obj->state & DIPC_OBJECT_REMOVED ? -EIDRM : 0;
}

/* -EINVAL unless ID can be one of ours. */
static int slot_of(struct dipc_fabric *f, int32_t id, uint32_t *slot_out)
{
	uint32_t slot = dipc_id_slot(id);

	if (id < 0 || !((uint32_t)id & DIPC_ID_MARK) ||
	    slot >= dipc_fabric_super(f)->nr_slots)
		return -EINVAL;
	*slot_out = slot;
	return 0;
}

int dipc_object_read(struct dipc_fabric *f, int32_t id, enum dipc_kind kind,
		     struct dipc_arena_object *obj_out)
{
	uint64_t off;
	uint32_t slot;
	int ret;

	ret = slot_of(f, id, &slot);
	if (ret)
		return ret;
	off = dipc_object_off(dipc_fabric_super(f), slot);
	ret = dipc_arena_read(f, off, obj_out, sizeof(*obj_out));
	return ret ? ret : dipc_object_check(obj_out, id, kind);
}

static bool cred_in_group(const struct dipc_cred *cred, uint32_t gid)
{
	uint32_t i;

	if (cred->gid == gid)
		return true;
	for (i = 0; i < cred->nr_groups; i++)
		if (cred->groups[i] == gid)
			return true;
	return false;
}

int dipc_object_allows(const struct dipc_arena_object *obj,
		       const struct dipc_cred *cred, unsigned want)
{
	uint32_t granted = obj->mode;

	if (cred->uid == obj->cuid || cred->uid == obj->uid)
		granted >>= 6;
	else if (cred_in_group(cred, obj->gid) ||
		 cred_in_group(cred, obj->cgid))
		granted >>= 3;
	if ((want & ~granted & 7u) && !cred->has_ipc_owner)
		return -EACCES;
	return 0;
}

int dipc_object_is_owner(const struct dipc_arena_object *obj,
			 const struct dipc_cred *cred)
{
	if (cred->uid == obj->cuid || cred->uid == obj->uid ||
	    cred->has_sys_admin)
		return 0;
	return -EPERM;
}

/* ---- IPC_STAT and IPC_SET ----------------------------------------------- */

static void stat_who(uint32_t who1, uint32_t who2, struct dipc_stat *st)
{
	st->pid1 = (int32_t)dipc_who_pid(who1);
	st->node1 = dipc_who_node(who1);
	st->pid2 = (int32_t)dipc_who_pid(who2);
	st->node2 = dipc_who_node(who2);
}

static void stat_shm(const struct dipc_arena_shm *shm, struct dipc_stat *st)
{
	st->size = shm->size;
	st->count = shm->nattch;
	st->time1 = (int64_t)shm->atime;
	st->time2 = (int64_t)shm->dtime;
	stat_who((uint32_t)shm->pids, (uint32_t)(shm->pids >> 32), st);
}

static void stat_msg(const struct dipc_arena_msg *msg, struct dipc_stat *st)
{
	st->size = msg->qbytes;
	st->count = msg->qnum;
	st->bytes = msg->cbytes;
	st->time1 = (int64_t)msg->stime;
	st->time2 = (int64_t)msg->rtime;
	stat_who(msg->lspid, msg->lrpid, st);
}

void dipc_object_stat(const struct dipc_arena_object *obj,
		      struct dipc_stat *stat_out)
{
	memset(stat_out, 0, sizeof(*stat_out));
	/* a removed segment that is still attached has no key any more */
	stat_out->key = obj->state & DIPC_OBJECT_REMOVED ? 0 : obj->key;
	stat_out->id = obj->id;
	stat_out->uid = obj->uid;
	stat_out->gid = obj->gid;
	stat_out->cuid = obj->cuid;
	stat_out->cgid = obj->cgid;
	stat_out->mode = obj->mode;
	stat_out->seq = obj->seq;
	stat_out->ctime = (int64_t)obj->ctime;
	switch (dipc_object_kind(obj)) {
	case DIPC_KIND_NONE:
		break;
	case DIPC_KIND_SHM:
		stat_shm(&obj->shm, stat_out);
		break;
	case DIPC_KIND_SEM:
		stat_out->size = obj->sem.nr;
		stat_out->time1 = (int64_t)obj->sem.otime;
		break;
	case DIPC_KIND_MSG:
		stat_msg(&obj->msg, stat_out);
		break;
	}
}

static int set_check(struct dipc_fabric *f, const struct dipc_arena_object *obj,
		     enum dipc_kind kind, const struct dipc_cred *cred,
		     const struct dipc_stat *stat)
{
	int ret = dipc_object_is_owner(obj, cred);

	if (ret)
		return ret;
	/* nobody's number, in Linux */
	if (stat->uid == UINT32_MAX || stat->gid == UINT32_MAX)
		return -EINVAL;
	if (kind != DIPC_KIND_MSG)
		return 0;
	if (stat->size > UINT32_MAX)
		return -EINVAL;
	/* as msgctl: only a privileged caller goes beyond the limit */
	if (stat->size > dipc_fabric_super(f)->msgmnb &&
	    !cred->has_sys_resource)
		return -EPERM;
	return 0;
}

/* WRITE LEN bytes of OBJ, whose lock is LOCK, from FIELD on. */
static void set_field(struct dipc_tx *tx, const struct dipc_lock *lock,
		      const struct dipc_arena_object *obj, size_t field,
		      size_t len)
{
	uint64_t off = lock->off - offsetof(struct dipc_arena_object, lock);

	dipc_tx_write(tx, dipc_tx_at(tx->link, off + field),
		      (const uint8_t *)obj + field, len);
}

/* For a new call: a removed object is none, but for an attached segment. */
static int set_lock(struct dipc_fabric *f, int32_t id, enum dipc_kind kind,
		    struct dipc_lock *lock_out,
		    struct dipc_arena_object *obj_out)
{
	uint32_t slot;
	int ret;

	ret = slot_of(f, id, &slot);
	if (ret)
		return ret;
	ret = dipc_object_lock_slot(f, slot, NULL, lock_out, obj_out);
	if (ret)
		return ret;
	ret = dipc_object_check(obj_out, id, kind);
	if (ret == -EIDRM && kind == DIPC_KIND_SHM &&
	    (int64_t)obj_out->shm.nattch > 0)
		return 0;
	if (ret)
		dipc_object_unlock(lock_out);
	return ret == -EIDRM ? -EINVAL : ret;
}

int dipc_object_set(struct dipc_fabric *f, int32_t id, enum dipc_kind kind,
		    const struct dipc_cred *cred, const struct dipc_stat *stat)
{
	struct dipc_arena_object obj;
	struct dipc_lock lock;
	struct dipc_tx tx;
	int ret;

	ret = set_lock(f, id, kind, &lock, &obj);
	if (ret)
		return ret;
	ret = set_check(f, &obj, kind, cred, stat);
	if (ret)
		goto err_lock;
	ret = dipc_tx_begin(&tx, dipc_fabric_arena(f), 64);
	if (ret)
		goto err_lock;
	obj.uid = stat->uid;
	obj.gid = stat->gid;
	obj.mode = (obj.mode & ~0777u) | (stat->mode & 0777u);
	obj.ctime = (uint64_t)dipc_fabric_wall(f);
	/* uid and gid in one */
	set_field(&tx, &lock, &obj, offsetof(struct dipc_arena_object, uid), 8);
	set_field(&tx, &lock, &obj, offsetof(struct dipc_arena_object, mode),
		  4);
	set_field(&tx, &lock, &obj, offsetof(struct dipc_arena_object, ctime),
		  8);
	if (kind == DIPC_KIND_MSG) {
		obj.msg.qbytes = (uint32_t)stat->size;
		set_field(&tx, &lock, &obj,
			  offsetof(struct dipc_arena_object, msg.qbytes), 4);
		obj.msg.nr_sets++;
		set_field(&tx, &lock, &obj,
			  offsetof(struct dipc_arena_object, msg.nr_sets), 4);
	}
	dipc_lock_release_in(&lock, &tx);
	ret = dipc_tx_run(&tx);
	dipc_tx_end(&tx);
	dipc_lock_released(&lock);
	return ret;

err_lock:
	dipc_object_unlock(&lock);
	return ret;
}

static int locked_check(const struct dipc_arena_object *obj,
			const struct dipc_cred *cred, bool is_locked,
			bool may_lock)
{
	if (cred->has_ipc_lock)
		return 0;
	if (cred->uid != obj->uid && cred->uid != obj->cuid)
		return -EPERM;
	return is_locked && !may_lock ? -EPERM : 0;
}

int dipc_object_set_locked(struct dipc_fabric *f, int32_t id,
			   const struct dipc_cred *cred, bool is_locked,
			   bool may_lock)
{
	struct dipc_arena_object obj;
	struct dipc_lock lock;
	struct dipc_tx tx;
	int ret;

	ret = set_lock(f, id, DIPC_KIND_SHM, &lock, &obj);
	if (ret)
		return ret;
	ret = locked_check(&obj, cred, is_locked, may_lock);
	if (ret == 0)
		ret = dipc_tx_begin(&tx, dipc_fabric_arena(f), 64);
	if (ret)
		goto err_lock;
	obj.mode &= ~DIPC_MODE_LOCKED;
	if (is_locked)
		obj.mode |= DIPC_MODE_LOCKED;
	set_field(&tx, &lock, &obj, offsetof(struct dipc_arena_object, mode),
		  4);
	dipc_lock_release_in(&lock, &tx);
	ret = dipc_tx_run(&tx);
	dipc_tx_end(&tx);
	dipc_lock_released(&lock);
	return ret;

err_lock:
	dipc_object_unlock(&lock);
	return ret;
}

/* ---- the lock ----------------------------------------------------------- */

struct local_key {
	struct dipc_fabric *fabric;
	uint64_t off;
};

struct dipc_local_lock {
	struct local_key key;
	struct dipc_fmutex mutex;
	unsigned nr_users; /* holder and waiting */
	UT_hash_handle hh;
};

static _Thread_local struct dipc_local_lock *local_locks; /* by key */
static _Thread_local uint32_t lock_count;
static _Thread_local uint32_t lock_random = 2463534242u;

static int local_lock(struct dipc_fabric *f, uint64_t off,
		      struct dipc_local_lock **local_out)
{
	struct local_key key;
	struct dipc_local_lock *local;

	memset(&key, 0, sizeof(key));
	key.fabric = f;
	key.off = off;
	HASH_FIND(hh, local_locks, &key, sizeof(key), local);
	if (!local) {
		local = calloc(1, sizeof(*local));
		if (!local)
			return -ENOMEM;
		local->key = key;
		dipc_fmutex_init(&local->mutex);
		HASH_ADD(hh, local_locks, key, sizeof(key), local);
	}
	local->nr_users++;
	dipc_fmutex_lock(&local->mutex);
	*local_out = local;
	return 0;
}

static void local_unlock(struct dipc_local_lock *local)
{
	dipc_fmutex_unlock(&local->mutex);
	if (--local->nr_users)
		return;
	HASH_DEL(local_locks, local);
	free(local);
}

static uint64_t lock_word(const struct dipc_fabric *f)
{
	/* never 0, not even for the referee */
	if (++lock_count == 0)
		lock_count = 1;
	return (uint64_t)dipc_fabric_node(f) << 56 |
	       (uint64_t)(dipc_fabric_incarnation(f) & 0xffffffu) << 32 |
	       lock_count;
}

/* Nodes must not keep step, and one that waits long should not wait longer. */
static void lock_back_off(struct dipc_fabric *f, unsigned attempt)
{
	const struct dipc_limits *limits =
		dipc_transport_limits(dipc_fabric_transport(f));
	uint64_t max =
		limits->has_device_latency ? BACKOFF_DEVICE : BACKOFF_SHM;

	max <<= attempt < 8 ? attempt : 8;
	if (max > BACKOFF_MAX)
		max = BACKOFF_MAX;
	lock_random ^= lock_random << 13;
	lock_random ^= lock_random >> 17;
	lock_random ^= lock_random << 5;
	dipc_fiber_sleep(max / 4 + lock_random % (max - max / 4));
}

/* One try: 1 locked, 0 not, -ENOLINK. OBJ is read only under the lock. */
static int lock_try(struct dipc_lock *lock, uint64_t obj_off,
		    const struct dipc_lock_ride *ride, unsigned attempt,
		    struct dipc_arena_object *obj_out)
{
	struct dipc_link *link = dipc_fabric_arena(lock->fabric);
	const uint64_t *old;
	const void *obj;
	struct dipc_tx tx;
	int ret;

	ret = dipc_tx_begin(&tx, link,
			    8 + sizeof(*obj_out) + (ride ? ride->bytes : 0));
	if (ret)
		return ret;
	old = dipc_tx_cas(&tx, dipc_tx_at(link, lock->off), 0, lock->word);
	obj = dipc_tx_read(&tx, dipc_tx_at(link, obj_off), sizeof(*obj_out));
	if (ride)
		ride->add(ride->arg, &tx, attempt);
	ret = dipc_tx_run(&tx);
	if (ret == 0) {
		ret = *old == 0;
		if (ret)
			memcpy(obj_out, obj, sizeof(*obj_out));
		if (ride)
			ride->seen(ride->arg, ret);
	}
	dipc_tx_end(&tx);
	return ret;
}

int dipc_object_lock_slot(struct dipc_fabric *f, uint32_t slot,
			  const struct dipc_lock_ride *ride,
			  struct dipc_lock *lock_out,
			  struct dipc_arena_object *obj_out)
{
	uint64_t off = dipc_object_off(dipc_fabric_super(f), slot);
	struct dipc_lock lock = {
		.fabric = f,
		.off = off + offsetof(struct dipc_arena_object, lock),
	};
	unsigned attempt;
	int ret;

	if (slot >= dipc_fabric_super(f)->nr_slots)
		return -EINVAL;
	ret = local_lock(f, lock.off, &lock.local);
	if (ret)
		return ret;
	lock.word = lock_word(f);
	for (attempt = 0;; attempt++) {
		ret = lock_try(&lock, off, ride, attempt, obj_out);
		if (ret)
			break;
		lock_back_off(f, attempt);
	}
	if (ret < 0) {
		local_unlock(lock.local);
		return ret;
	}
	*lock_out = lock;
	return 0;
}

int dipc_object_lock(struct dipc_fabric *f, int32_t id, enum dipc_kind kind,
		     struct dipc_lock *lock_out,
		     struct dipc_arena_object *obj_out)
{
	struct dipc_lock lock;
	uint32_t slot;
	int ret;

	ret = slot_of(f, id, &slot);
	if (ret)
		return ret;
	ret = dipc_object_lock_slot(f, slot, NULL, &lock, obj_out);
	if (ret)
		return ret;
	ret = dipc_object_check(obj_out, id, kind);
	if (ret) {
		dipc_object_unlock(&lock);
		return ret;
	}
	*lock_out = lock;
	return 0;
}

int dipc_object_lock_inherit(struct dipc_fabric *f, uint32_t slot,
			     uint64_t word, struct dipc_lock *lock_out)
{
	uint64_t off = dipc_object_off(dipc_fabric_super(f), slot) +
		       offsetof(struct dipc_arena_object, lock);
	struct dipc_local_lock *local;
	int ret;

	ret = local_lock(f, off, &local);
	if (ret)
		return ret;
	lock_out->fabric = f;
	lock_out->local = local;
	lock_out->off = off;
	lock_out->word = word;
	return 0;
}

void dipc_lock_release_in(struct dipc_lock *lock, struct dipc_tx *tx)
{
	dipc_tx_cas(tx, dipc_tx_at(tx->link, lock->off), lock->word, 0);
}

void dipc_lock_released(struct dipc_lock *lock)
{
	local_unlock(lock->local);
	lock->local = NULL;
}

void dipc_object_unlock(struct dipc_lock *lock)
{
	struct dipc_tx tx;
	int ret;

	/* waited out: a live node that keeps the lock would be worse */
	while ((ret = dipc_tx_begin(&tx, dipc_fabric_arena(lock->fabric), 8)) ==
	       -ENOMEM)
		dipc_fiber_sleep(DIPC_MSEC);
	if (ret == 0) {
		dipc_lock_release_in(lock, &tx);
		/* a broken link: the referee takes the lock away */
		(void)dipc_tx_post(&tx);
	}
	dipc_lock_released(lock);
}
