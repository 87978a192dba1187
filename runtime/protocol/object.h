/* SPDX-License-Identifier: BSD-2-Clause */
/* What the three kinds share: finding, permissions, the lock, STAT and SET. */
#ifndef DIPC_PROTOCOL_OBJECT_H
#define DIPC_PROTOCOL_OBJECT_H

#include "runtime/base/local.h"
#include "runtime/protocol/fabric.h"

/* Who calls: from SO_PEERCRED and /proc, never from the client's word. */
struct dipc_cred {
	uint32_t pid, uid, gid;
	uint32_t nr_groups;
	const uint32_t *groups; /* borrowed, supplementary */
	bool has_ipc_owner;     /* CAP_IPC_OWNER: any access */
	bool has_sys_admin;     /* CAP_SYS_ADMIN: IPC_SET, IPC_RMID */
	bool has_sys_resource;  /* CAP_SYS_RESOURCE: msg_qbytes beyond msgmnb */
	bool has_ipc_lock;      /* CAP_IPC_LOCK: SHM_LOCK of any segment */
};

#define DIPC_WANT_READ  4u
#define DIPC_WANT_WRITE 2u
#define DIPC_WANT_EXEC  1u

/* DIPC_KIND_NONE: a free slot. */
static inline enum dipc_kind dipc_object_kind(const struct dipc_arena_object *o)
{
	return (enum dipc_kind)((o->state & ~DIPC_OBJECT_REMOVED) >> 32);
}

/* Offset of slot SLOT in the arena. */
static inline uint64_t dipc_object_off(const struct dipc_arena_super *super,
				       uint32_t slot)
{
	return super->slots_off + (uint64_t)slot * DIPC_OBJECT_STRIDE;
}

/*
 * READ the object ID names. Fiber. 0, -EINVAL (no such id or another kind),
 * -EIDRM (removed), -ENOLINK.
 */
int dipc_object_read(struct dipc_fabric *f, int32_t id, enum dipc_kind kind,
		     struct dipc_arena_object *obj_out);
/* Kernel's ipcperms(): WANT is DIPC_WANT_*. 0 or -EACCES. */
int dipc_object_allows(const struct dipc_arena_object *obj,
		       const struct dipc_cred *cred, unsigned want);
/* Owner, creator or CAP_SYS_ADMIN. 0 or -EPERM. */
int dipc_object_is_owner(const struct dipc_arena_object *obj,
			 const struct dipc_cred *cred);
/* The common part and the kind's own. */
void dipc_object_stat(const struct dipc_arena_object *obj,
		      struct dipc_stat *stat_out);
/*
 * IPC_SET under the lock: uid, gid, mode (and qbytes of a queue), ctime. A
 * removed object is -EINVAL, but for a segment that is still attached.
 */
int dipc_object_set(struct dipc_fabric *f, int32_t id, enum dipc_kind kind,
		    const struct dipc_cred *cred, const struct dipc_stat *stat);

/*
 * SHM_LOCK and SHM_UNLOCK: note it in the mode. MAY_LOCK: the caller may lock
 * memory at all. 0, -EPERM, -EINVAL, -ENOLINK. Fiber.
 */
int dipc_object_set_locked(struct dipc_fabric *f, int32_t id,
			   const struct dipc_cred *cred, bool is_locked,
			   bool may_lock);

/* 0, -EINVAL, -EIDRM: is OBJ, as READ, the one that ID names? */
int dipc_object_check(const struct dipc_arena_object *obj, int32_t id,
		      enum dipc_kind kind);

/*
 * The object's lock. Within this node it is a fair fiber lock, so that only
 * one fiber of a node contends; between nodes a CAS with bounded back-off.
 * The lock word: node << 56 | incarnation (24 bits) << 32 | count: the referee
 * knows whose it was.
 */
struct dipc_lock {
	struct dipc_fabric *fabric;
	struct dipc_local_lock *local; /* private */
	uint64_t off;                  /* of the lock word */
	uint64_t word;                 /* what we put there */
};

/*
 * Lock the object and READ it, both with one doorbell, until it worked. Fiber.
 * 0, -EINVAL, -EIDRM, -ENOLINK: not locked unless 0.
 */
int dipc_object_lock(struct dipc_fabric *f, int32_t id, enum dipc_kind kind,
		     struct dipc_lock *lock_out,
		     struct dipc_arena_object *obj_out);
/*
 * What goes along in the locking chain, after the CAS and the READ. add() is
 * called for each attempt, seen() after it ran, while the results are valid;
 * at most DIPC_LOCK_RIDE requests of BYTES in all. Neither may park.
 */
#define DIPC_LOCK_RIDE (DIPC_TX_MAX - 2u)

struct dipc_lock_ride {
	size_t bytes;
	void (*add)(void *arg, struct dipc_tx *tx, unsigned attempt);
	void (*seen)(void *arg, bool is_locked);
	void *arg;
};

/*
 * Lock whatever is in SLOT, removed or not: dipc_object_check() is the
 * caller's. RIDE may be NULL. Fiber. 0, -EINVAL (no such slot), -ENOLINK.
 */
int dipc_object_lock_slot(struct dipc_fabric *f, uint32_t slot,
			  const struct dipc_lock_ride *ride,
			  struct dipc_lock *lock_out,
			  struct dipc_arena_object *obj_out);
/*
 * referee: go on as the dead and fenced holder of the lock at SLOT, whose lock
 * word is WORD, so that its redo stays valid. One at a time.
 */
int dipc_object_lock_inherit(struct dipc_fabric *f, uint32_t slot,
			     uint64_t word, struct dipc_lock *lock_out);
/* Append the unlocking CAS to TX, after the writes it makes valid. */
void dipc_lock_release_in(struct dipc_lock *lock, struct dipc_tx *tx);
/* Once TX ran or was posted: let the next fiber of this node try. */
void dipc_lock_released(struct dipc_lock *lock);
/* Both, with nothing to write: posted, not waited for. */
void dipc_object_unlock(struct dipc_lock *lock);

#endif
