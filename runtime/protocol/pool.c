/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locking. Loop thread only. One fiber at a time leases for a class
 * (class->refill), and one at a time works ahead in the background
 * (class->is_working): takes a batch before the last block is gone, gives one
 * back when there are too many, so that calls seldom wait for either.
 */
#include "runtime/protocol/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/log.h"

/* Nodes keep up to SURPLUS batches before they give one back. */
#define SURPLUS   2u
#define HEAD_BITS 40u /* of `head`: the offset; above it a tag */
#define HEAD_OFF  ((1ull << HEAD_BITS) - 1)
#define BATCH_MAX ((256u - sizeof(struct dipc_arena_batch)) / sizeof(uint32_t))
#define TEXT_AT   sizeof(struct dipc_arena_message)

struct size_class {
	struct dipc_pool *pool; /* the one it is part of */
	uint64_t end;           /* of its blocks; they begin where those of
				   the class before end */
	uint32_t block_size;
	uint32_t batch;
	uint32_t *block; /* owned; free ones, / DIPC_BLOCK_GRAIN */
	unsigned nr, room;
	struct dipc_fmutex refill;
	bool is_working; /* a fiber of its own is at it */
	bool is_bumped;  /* everything was handed out once */
};

struct dipc_pool {
	struct dipc_fabric *fabric; /* borrowed */
	struct dipc_link *link;     /* what the leases are good for */
	unsigned nr_workers;        /* fibers of ours; keep the pool alive */
	bool is_dead;
	bool is_flushed; /* and nothing was asked for since */
	bool has_complained;
	struct size_class classes[DIPC_POOL_CLASSES];
};

/* ---- life --------------------------------------------------------------- */

static int class_init(struct dipc_pool *pool, unsigned i)
{
	const struct dipc_arena_super *super = dipc_fabric_super(pool->fabric);
	const struct dipc_arena_pool *ap = &super->pool[i];
	struct size_class *c = &pool->classes[i];

	/* a result of 31 bits must be able to name every block: msg.md */
	if (ap->block_size < DIPC_BLOCK_GRAIN ||
	    ap->block_size % DIPC_BLOCK_GRAIN ||
	    ap->block_size - TEXT_AT > UINT16_MAX ||
	    ap->end % DIPC_BLOCK_GRAIN ||
	    (ap->bump < ap->end && (ap->end - ap->bump) % ap->block_size) ||
	    !ap->batch || ap->batch > BATCH_MAX || ap->end > super->size ||
	    ap->end / DIPC_BLOCK_GRAIN > INT32_MAX ||
	    (i && (ap->end < c[-1].end || ap->block_size < c[-1].block_size))) {
		dipc_error("message pool %u of the arena is not as expected",
			   i);
		return -EPROTO;
	}
	c->pool = pool;
	c->end = ap->end;
	c->block_size = ap->block_size;
	c->batch = ap->batch;
	dipc_fmutex_init(&c->refill);
	return 0;
}

int dipc_pool_create(struct dipc_fabric *f, struct dipc_pool **pool_out)
{
	struct dipc_pool *pool = calloc(1, sizeof(*pool));
	unsigned i;
	int ret;

	if (!pool)
		return -ENOMEM;
	pool->fabric = f;
	pool->link = dipc_fabric_arena(f);
	for (i = 0; i < DIPC_POOL_CLASSES; i++) {
		ret = class_init(pool, i);
		if (ret) {
			free(pool);
			return ret;
		}
	}
	*pool_out = pool;
	return 0;
}

static void pool_free(struct dipc_pool *pool)
{
	unsigned i;

	for (i = 0; i < DIPC_POOL_CLASSES; i++)
		free(pool->classes[i].block);
	free(pool);
}

void dipc_pool_destroy(struct dipc_pool *pool)
{
	if (!pool)
		return;
	pool->is_dead = true;
	if (!pool->nr_workers)
		pool_free(pool);
}

/* ---- the local list ----------------------------------------------------- */

/* Is OFF the beginning of a block of C? */
static bool class_has(const struct size_class *c, uint64_t off)
{
	const struct dipc_pool *pool = c->pool;
	uint64_t begin = c == pool->classes ? DIPC_BLOCK_GRAIN : c[-1].end;

	return off >= begin && off < c->end && c->end - off >= c->block_size &&
	       (c->end - off) % c->block_size == 0;
}

static struct size_class *class_of(const struct dipc_pool *pool, uint64_t off)
{
	unsigned i;

	for (i = 0; i < DIPC_POOL_CLASSES; i++)
		if (class_has(&pool->classes[i], off))
			return (struct size_class *)&pool->classes[i];
	return NULL;
}

/* Room for NR more. 0 or -ENOMEM. */
static int class_reserve(struct size_class *c, unsigned nr)
{
	unsigned room = c->nr + nr;
	uint32_t *block;

	if (room <= c->room)
		return 0;
	room += c->batch * (SURPLUS + 1);
	block = realloc(c->block, room * sizeof(*block));
	if (!block)
		return -ENOMEM;
	c->block = block;
	c->room = room;
	return 0;
}

static void class_push(struct size_class *c, uint64_t off)
{
	c->block[c->nr++] = (uint32_t)(off / DIPC_BLOCK_GRAIN);
}

/* A new connection: nobody knows what of the old one's work has landed. */
static void pool_check_link(struct dipc_pool *pool)
{
	struct dipc_link *link = dipc_fabric_arena(pool->fabric);
	unsigned i;

	if (link == pool->link)
		return;
	pool->link = link;
	for (i = 0; i < DIPC_POOL_CLASSES; i++)
		pool->classes[i].nr = 0;
}

/* ---- leasing ------------------------------------------------------------ */

static uint64_t class_off(const struct size_class *c)
{
	size_t i = (size_t)(c - c->pool->classes);

	return offsetof(struct dipc_arena_super, pool) +
	       i * sizeof(struct dipc_arena_pool);
}

/* The blocks of a batch that is ours now. 0, -ENOMEM, -EPROTO. */
static int class_adopt(struct size_class *c, const struct dipc_arena_batch *b)
{
	unsigned i;
	int ret;

	if (b->nr == 0 || b->nr > BATCH_MAX)
		goto err_batch;
	ret = class_reserve(c, b->nr);
	if (ret)
		return ret;
	for (i = 0; i < b->nr; i++)
		if (!class_has(c, (uint64_t)b->block[i] * DIPC_BLOCK_GRAIN))
			goto err_batch;
	for (i = 0; i < b->nr; i++)
		c->block[c->nr++] = b->block[i];
	return 0;

err_batch:
	dipc_error("a batch of free message blocks of %u bytes is damaged",
		   c->block_size);
	return -EPROTO;
}

/* Take the batch that HEAD names. 1: done; 0: it is another's; -errno. */
static int lease_pop(struct size_class *c, uint64_t head)
{
	struct dipc_fabric *f = c->pool->fabric;
	uint64_t off = head & HEAD_OFF, old, next;
	union {
		struct dipc_arena_batch batch;
		uint8_t raw[256];
	} u;
	int ret;

	if (!class_has(c, off)) {
		dipc_error("the list of free message blocks of %u bytes is "
			   "damaged",
			   c->block_size);
		return -EPROTO;
	}
	/*
	 * Somebody may take it meanwhile and write what he likes there: then
	 * the tag has moved, and what was read is not believed.
	 */
	ret = dipc_arena_read(f, off, &u, sizeof(u));
	if (ret)
		return ret;
	next = ((head >> HEAD_BITS) + 1) << HEAD_BITS |
	       (u.batch.next & HEAD_OFF);
	ret = dipc_arena_cas(f, class_off(c), head, next, &old);
	if (ret || old != head)
		return ret;
	ret = class_adopt(c, &u.batch);
	return ret ? ret : 1;
}

/* A batch never used before. 1, 0: there is none; -errno. */
static int lease_bump(struct size_class *c)
{
	uint64_t len = (uint64_t)c->batch * c->block_size;
	uint64_t off, end;
	int ret;

	if (c->is_bumped)
		return 0;
	ret = class_reserve(c, c->batch);
	if (ret)
		return ret;
	ret = dipc_arena_faa(c->pool->fabric,
			     class_off(c) +
				     offsetof(struct dipc_arena_pool, bump),
			     len, &off);
	if (ret)
		return ret;
	/* beyond the end nobody gives anything back: the word only grows */
	if (off >= c->end || c->end - off < c->block_size) {
		c->is_bumped = true;
		return 0;
	}
	end = c->end - off < len ? c->end : off + len;
	for (; end - off >= c->block_size; off += c->block_size)
		class_push(c, off);
	return 1;
}

/* Fiber. One more batch: 0, -ENOMEM (there is none), -ENOLINK, -EPROTO. */
static int lease(struct size_class *c)
{
	struct dipc_arena_pool ap;
	int ret;

	do {
		ret = dipc_arena_read(c->pool->fabric, class_off(c), &ap,
				      sizeof(ap));
		if (ret)
			return ret;
		if (!(ap.head & HEAD_OFF)) {
			ret = lease_bump(c);
			return ret ? (ret > 0 ? 0 : ret) : -ENOMEM;
		}
		ret = lease_pop(c, ap.head);
	} while (ret == 0);
	return ret > 0 ? 0 : ret;
}

/* ---- giving back -------------------------------------------------------- */

/* The NR oldest blocks to the arena. Fiber. 0 or -ENOLINK: orphans. */
static int give_back(struct size_class *c, unsigned nr)
{
	struct dipc_fabric *f = c->pool->fabric;
	struct dipc_link *link = dipc_fabric_arena(f);
	union {
		struct dipc_arena_batch batch;
		uint8_t raw[256];
	} u = {.batch = {.nr = nr}};
	size_t len = sizeof(u.batch) + nr * sizeof(uint32_t);
	uint64_t off = (uint64_t)c->block[0] * DIPC_BLOCK_GRAIN;
	uint64_t head, old;
	struct dipc_tx tx;
	int ret;

	memcpy(u.batch.block, c->block, nr * sizeof(uint32_t));
	c->nr -= nr;
	memmove(c->block, c->block + nr, c->nr * sizeof(uint32_t));
	ret = dipc_arena_read(f, class_off(c), &old, sizeof(old));
	if (ret)
		return ret;
	ret = dipc_tx_begin(&tx, link, sizeof(u) + 8);
	if (ret)
		return ret;
	do {
		const uint64_t *seen;

		head = old;
		dipc_tx_again(&tx);
		u.batch.next = head & HEAD_OFF;
		dipc_tx_write(&tx, dipc_tx_at(link, off), &u, len);
		seen = dipc_tx_cas(&tx, dipc_tx_at(link, class_off(c)), head,
				   ((head >> HEAD_BITS) + 1) << HEAD_BITS |
					   off);
		ret = dipc_tx_run(&tx);
		if (ret == 0)
			old = *seen;
	} while (ret == 0 && old != head);
	dipc_tx_end(&tx);
	return ret;
}

/* ---- working ahead ------------------------------------------------------ */

static bool class_is_low(const struct size_class *c)
{
	return c->nr <= c->batch / 2;
}

static bool class_is_high(const struct size_class *c)
{
	return c->nr > c->batch * SURPLUS;
}

static void work_fiber(void *arg)
{
	struct size_class *c = arg;
	struct dipc_pool *pool = c->pool;
	int ret = 0;

	dipc_fmutex_lock(&c->refill);
	while (!ret && !pool->is_dead && class_is_high(c))
		ret = give_back(c, c->batch);
	if (!ret && !pool->is_dead && !pool->is_flushed && class_is_low(c))
		(void)lease(c); /* whoever needs one will see the error */
	dipc_fmutex_unlock(&c->refill);
	c->is_working = false;
	if (--pool->nr_workers == 0 && pool->is_dead)
		pool_free(pool);
}

static void work_ahead(struct size_class *c)
{
	struct dipc_pool *pool = c->pool;

	if (c->is_working || pool->is_dead)
		return;
	c->is_working = true;
	pool->nr_workers++;
	if (dipc_fiber_spawn(dipc_fabric_sched(pool->fabric), work_fiber, c)) {
		c->is_working = false;
		pool->nr_workers--;
	}
}

/* ---- handing out -------------------------------------------------------- */

/* Fiber. 0, -ENOMEM: this class has none. */
static int class_get(struct size_class *c, uint64_t *off_out)
{
	int ret = 0;

	while (!c->nr && !ret) {
		dipc_fmutex_lock(&c->refill);
		if (!c->nr)
			ret = lease(c);
		dipc_fmutex_unlock(&c->refill);
	}
	if (!c->nr)
		return ret;
	*off_out = (uint64_t)c->block[--c->nr] * DIPC_BLOCK_GRAIN;
	/* once the arena has shown its end, asking ahead is only noise */
	if (class_is_low(c) && !c->is_bumped)
		work_ahead(c);
	return 0;
}

static int pool_complain(struct dipc_pool *pool, size_t len)
{
	if (!pool->has_complained)
		dipc_error("no message block for %zu bytes is left in the "
			   "arena: give it more memory",
			   len);
	pool->has_complained = true;
	return -ENOMEM;
}

int dipc_pool_get(struct dipc_pool *pool, size_t len,
		  struct dipc_block *block_out)
{
	unsigned i;
	int ret;

	if (len > dipc_pool_text_max(pool))
		return -EINVAL;
	pool_check_link(pool);
	pool->is_flushed = false;
	for (i = 0; i < DIPC_POOL_CLASSES; i++) {
		struct size_class *c = &pool->classes[i];

		if (c->block_size - TEXT_AT < len)
			continue;
		ret = class_get(c, &block_out->off);
		if (ret == 0) {
			block_out->pool_class = (uint16_t)i;
			return 0;
		}
		if (ret == -ENOLINK)
			return ret;
	}
	return pool_complain(pool, len);
}

void dipc_pool_put(struct dipc_pool *pool, uint64_t off)
{
	struct size_class *c = class_of(pool, off);

	pool_check_link(pool);
	/* no memory to remember it: an orphan */
	if (!c || class_reserve(c, 1))
		return;
	class_push(c, off);
	if (class_is_high(c))
		work_ahead(c);
}

int dipc_pool_flush(struct dipc_pool *pool)
{
	unsigned i;
	int ret = 0;

	pool_check_link(pool);
	pool->is_flushed = true;
	for (i = 0; i < DIPC_POOL_CLASSES && !ret; i++) {
		struct size_class *c = &pool->classes[i];

		dipc_fmutex_lock(&c->refill);
		while (c->nr && !ret)
			ret = give_back(c, c->nr < c->batch ? c->nr : c->batch);
		dipc_fmutex_unlock(&c->refill);
	}
	return ret;
}

size_t dipc_pool_text_room(const struct dipc_pool *pool, uint64_t off)
{
	const struct size_class *c = class_of(pool, off);

	return c ? c->block_size - TEXT_AT : 0;
}

size_t dipc_pool_text_max(const struct dipc_pool *pool)
{
	return pool->classes[DIPC_POOL_CLASSES - 1].block_size - TEXT_AT;
}

unsigned dipc_pool_nr_free(const struct dipc_pool *pool, unsigned pool_class)
{
	return pool->classes[pool_class].nr;
}
