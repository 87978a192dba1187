/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Peterson's and Lamport's (bakery) locks: loads and stores only. Both need
 * that a store is seen before a later load of another word is done; a weaker
 * memory lets two in.
 */
#include <sched.h>
#include <string.h>

#include "tests/cluster/job.h"
#include "tests/litmus/litmus.h"

/* Words of the locks and of what they guard. */
enum word {
	COUNTER,
	OWNER,
	TURN,
	FLAG, /* and ROLES_MAX - 1 more */
	NUMBER = FLAG + ROLES_MAX,
	NR_WORDS = NUMBER + ROLES_MAX,
};

struct lock {
	struct run *run;
	bool is_apart; /* each word on a page of its own */
	uint64_t until;
};

static _Atomic uint32_t *word(struct lock *lk, unsigned index)
{
	return (void *)(lk->run->base +
			index * (lk->is_apart ? PAGE_BYTES : 64));
}

/* False: the others are stuck, or broke in already. */
static bool spin(struct lock *lk)
{
	struct notebook *nb = lk->run->nb;

	if (clock_ns() > lk->until)
		atomic_fetch_add(&nb->nr_violations, 1);
	sched_yield();
	return !atomic_load_explicit(&nb->nr_violations, memory_order_relaxed);
}

static bool peterson_lock(struct lock *lk)
{
	unsigned me = lk->run->me, other = 1 - me;

	store(word(lk, FLAG + me), 1);
	store(word(lk, TURN), other);
	while (load(word(lk, FLAG + other)) && load(word(lk, TURN)) == other)
		if (!spin(lk))
			return false;
	return true;
}

static void peterson_unlock(struct lock *lk)
{
	store(word(lk, FLAG + lk->run->me), 0);
}

static bool bakery_lock(struct lock *lk)
{
	unsigned me = lk->run->me, j;
	uint32_t mine = 0, his;

	store(word(lk, FLAG + me), 1);
	for (j = 0; j < lk->run->nr; j++) {
		his = load(word(lk, NUMBER + j));
		if (his > mine)
			mine = his;
	}
	mine++;
	store(word(lk, NUMBER + me), mine);
	store(word(lk, FLAG + me), 0);
	for (j = 0; j < lk->run->nr; j++) {
		while (load(word(lk, FLAG + j)))
			if (!spin(lk))
				return false;
		for (;;) {
			his = load(word(lk, NUMBER + j));
			if (!his || his > mine || (his == mine && j >= me))
				break;
			if (!spin(lk))
				return false;
		}
	}
	return true;
}

static void bakery_unlock(struct lock *lk)
{
	store(word(lk, NUMBER + lk->run->me), 0);
}

static const struct {
	const char *name;
	unsigned nr_roles; /* at most */
	bool (*lock)(struct lock *lk);
	void (*unlock)(struct lock *lk);
} locks[] = {
	{"peterson", 2, peterson_lock, peterson_unlock},
	{"bakery", ROLES_MAX, bakery_lock, bakery_unlock},
};

/* With the lock: is nobody else here? */
static bool alone(struct lock *lk)
{
	uint32_t me = lk->run->me + 1;

	store(word(lk, OWNER), me);
	store(word(lk, COUNTER), load(word(lk, COUNTER)) + 1);
	clock_dither(&lk->run->random);
	return load(word(lk, OWNER)) == me;
}

bool exclusion_run(struct run *run, const char *name, bool is_apart,
		   uint32_t nr_rounds)
{
	struct notebook *nb = run->nb;
	struct lock lk = {.run = run, .is_apart = is_apart};
	unsigned i = strcmp(name, locks[0].name) ? 1 : 0;
	unsigned nr = run->nr < locks[i].nr_roles ? run->nr : locks[i].nr_roles;
	uint32_t round, found;

	for (round = 0; round < nr_rounds && run->me < nr; round++) {
		lk.until = clock_ns() + run->limit * UINT64_C(500000000);
		if (!locks[i].lock(&lk))
			break;
		if (!alone(&lk))
			atomic_fetch_add(&nb->nr_violations, 1);
		locks[i].unlock(&lk);
		clock_dither(&run->random);
	}
	notebook_barrier(nb, run->nr, run->limit);
	found = load(word(&lk, COUNTER));
	if (found != nr * nr_rounds)
		atomic_fetch_add(&nb->nr_violations, 1);
	notebook_barrier(nb, run->nr, run->limit);
	if (run->me == 0)
		printf("%s litmus.%s.%s: counted %u of %u\n",
		       atomic_load(&nb->nr_violations) ? "FAIL" : "ok", name,
		       is_apart ? "apart" : "together", found, nr * nr_rounds);
	return !atomic_load(&nb->nr_violations);
}
