/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * litmus NOTEBOOK ROLE NR KEY ROUNDS LIMIT [TEST...]: one of NR processes, each on
 * a node of its own, that run little programs of relaxed loads and stores
 * against each other. What sequential consistency allows is found by trying
 * all interleavings; anything else that is seen is a violation.
 *
 * A round has cells of its own, which hold batch * 4 + value: a cell of an
 * earlier batch counts as 0 if it is of the last, as garbage if it is older.
 */
#include "tests/litmus/litmus.h"

#include <string.h>
#include <sys/shm.h>

#include "tests/cluster/job.h"

#define OPS_MAX    2u
#define GARBAGE    3u
#define CELL_BYTES 64u
#define SHOWN_MAX  16u /* more allowed outcomes are only counted */
/* In so many rounds of a test its roles have met in more than one way. */
#define ENOUGH     1000u
#define OUTCOMES   (1u << 2 * (ROLES_MAX * REGS_MAX + CELLS))
#define TEST_PAGES 16u /* of the segment, for each test and placement */

struct op {
	char what; /* 'W' or 'R' */
	char cell; /* 'x' or 'y' */
	uint8_t value;
};

struct litmus {
	const char *name;
	unsigned nr_roles;
	struct op op[ROLES_MAX][OPS_MAX];
};

/* clang-format off */
static const struct litmus tests[] = {
	/* store buffering */
	{"sb", 2, {{{'W', 'x', 1}, {'R', 'y', 0}},
		   {{'W', 'y', 1}, {'R', 'x', 0}}}},
	/* message passing */
	{"mp", 2, {{{'W', 'x', 1}, {'W', 'y', 1}},
		   {{'R', 'y', 0}, {'R', 'x', 0}}}},
	/* load buffering */
	{"lb", 2, {{{'R', 'x', 0}, {'W', 'y', 1}},
		   {{'R', 'y', 0}, {'W', 'x', 1}}}},
	/* independent reads of independent writes */
	{"iriw", 4, {{{'W', 'x', 1}},
		     {{'W', 'y', 1}},
		     {{'R', 'x', 0}, {'R', 'y', 0}},
		     {{'R', 'y', 0}, {'R', 'x', 0}}}},
	{"2+2w", 2, {{{'W', 'x', 1}, {'W', 'y', 2}},
		     {{'W', 'y', 1}, {'W', 'x', 2}}}},
	{"r", 2, {{{'W', 'x', 1}, {'W', 'y', 1}},
		  {{'W', 'y', 2}, {'R', 'x', 0}}}},
	{"s", 2, {{{'W', 'x', 2}, {'W', 'y', 1}},
		  {{'R', 'y', 0}, {'W', 'x', 1}}}},
	/* write to read causality */
	{"wrc", 3, {{{'W', 'x', 1}},
		    {{'R', 'x', 0}, {'W', 'y', 1}},
		    {{'R', 'y', 0}, {'R', 'x', 0}}}},
	/* coherence of one word */
	{"corr", 4, {{{'W', 'x', 1}},
		     {{'W', 'x', 2}},
		     {{'R', 'x', 0}, {'R', 'x', 0}},
		     {{'R', 'x', 0}, {'R', 'x', 0}}}},
	{"cowr", 2, {{{'W', 'x', 1}, {'R', 'x', 0}},
		     {{'W', 'x', 2}, {'R', 'x', 0}}}},
	{"corw", 2, {{{'R', 'x', 0}, {'W', 'x', 1}},
		     {{'R', 'x', 0}, {'W', 'x', 2}}}},
};
/* clang-format on */

#define NR_TESTS     (sizeof(tests) / sizeof(tests[0]))
#define NR_EXCLUSION 2u /* after them */

/* ---- what is allowed ---------------------------------------------------- */

struct state {
	uint8_t next[ROLES_MAX]; /* op */
	uint8_t nr_regs[ROLES_MAX];
	uint8_t reg[ROLES_MAX][REGS_MAX];
	uint8_t cell[CELLS];
};

/* Everything that a round showed, in two bits each. */
static unsigned outcome(const uint8_t reg[ROLES_MAX][REGS_MAX],
			const uint8_t cell[CELLS])
{
	unsigned code = 0, i, j;

	for (i = 0; i < ROLES_MAX; i++)
		for (j = 0; j < REGS_MAX; j++)
			code = code << 2 | reg[i][j];
	for (i = 0; i < CELLS; i++)
		code = code << 2 | cell[i];
	return code;
}

/* Try every interleaving from ST on. */
static void interleave(const struct litmus *t, const struct state *st,
		       bool *is_allowed)
{
	bool is_end = true;
	unsigned i;

	for (i = 0; i < t->nr_roles; i++) {
		const struct op *op = &t->op[i][st->next[i]];
		struct state to = *st;

		if (st->next[i] == OPS_MAX || !op->what)
			continue;
		is_end = false;
		if (op->what == 'W')
			to.cell[op->cell - 'x'] = op->value;
		else
			to.reg[i][to.nr_regs[i]++] = to.cell[op->cell - 'x'];
		to.next[i]++;
		interleave(t, &to, is_allowed);
	}
	if (is_end)
		is_allowed[outcome(st->reg, st->cell)] = true;
}

/* ---- a round ------------------------------------------------------------ */

/* Where the cells of a test are. */
struct place {
	uint8_t *base;
	bool is_apart; /* x and y on different pages */
};

static _Atomic uint32_t *cell_at(const struct place *p, unsigned round,
				 char cell)
{
	unsigned c = (unsigned)(cell - 'x');
	size_t off = round * CELLS * CELL_BYTES + c * CELL_BYTES;

	return (void *)(p->base + off + (p->is_apart ? c * PAGE_BYTES : 0));
}

static uint8_t value_of(uint32_t found, uint32_t batch)
{
	if (found / 4 == batch)
		return (uint8_t)(found % 4);
	return found / 4 == batch - 1 ? 0 : GARBAGE;
}

static void play(struct run *run, const struct place *p, unsigned round,
		 uint32_t batch, const struct op op[OPS_MAX], uint8_t *reg)
{
	/* decided first: nothing but the two accesses in between */
	bool is_slow = run->random & 1 << 9;
	_Atomic uint32_t *at;
	unsigned i;

	clock_dither(&run->random);
	for (i = 0; i < OPS_MAX && op[i].what; i++) {
		at = cell_at(p, round, op[i].cell);
		if (op[i].what == 'W')
			store(at, batch * 4 + op[i].value);
		else
			*reg++ = value_of(load(at), batch);
		if (is_slow)
			clock_dither(&run->random);
	}
}

/* ---- a test ------------------------------------------------------------- */

struct tally {
	bool is_allowed[OUTCOMES];
	uint32_t seen[OUTCOMES];
};

static void tally_batch(struct notebook *nb, struct tally *tally)
{
	unsigned round, code;

	for (round = 0; round < BATCH; round++) {
		code = outcome(nb->reg[round], nb->final[round]);
		tally->seen[code]++;
		if (!tally->is_allowed[code])
			atomic_fetch_add(&nb->nr_violations, 1);
	}
}

static void print_outcome(const struct litmus *t, unsigned code, uint32_t seen)
{
	unsigned i, j, n, v;

	printf("# ");
	for (i = 0; i < t->nr_roles; i++)
		for (j = 0, n = 0; j < OPS_MAX; j++) {
			if (t->op[i][j].what != 'R')
				continue;
			v = code >> 2 * (CELLS + ROLES_MAX * REGS_MAX - 1 -
					 (i * REGS_MAX + n++)) &
			    3;
			printf("P%u:%c=%c ", i, t->op[i][j].cell, "012?"[v]);
		}
	printf("x=%c y=%c: %u\n", "012?"[code >> 2 & 3], "012?"[code & 3],
	       seen);
}

/*
 * False: seen what is forbidden, or, in ENOUGH rounds, always the same. Of
 * fewer rounds (an emulated guest) that is counted: see roles_met().
 */
static bool tally_print(struct run *run, const struct litmus *t,
			const struct tally *tally, bool is_apart,
			uint32_t nr_rounds)
{
	unsigned code, nr_allowed = 0, nr_seen = 0;
	uint32_t nr_bad = 0;
	bool is_good;

	for (code = 0; code < OUTCOMES; code++) {
		nr_allowed += tally->is_allowed[code];
		if (tally->is_allowed[code] && tally->seen[code])
			nr_seen++;
		if (!tally->is_allowed[code])
			nr_bad += tally->seen[code];
	}
	is_good = !nr_bad && (nr_seen > 1 || nr_rounds < ENOUGH);
	run->nr_run++;
	run->nr_met += nr_seen > 1;
	printf("%s litmus.%s.%s: %u rounds, %u forbidden, %u of %u allowed "
	       "outcomes seen\n",
	       is_good ? "ok" : "FAIL", t->name,
	       is_apart ? "apart" : "together", nr_rounds, nr_bad, nr_seen,
	       nr_allowed);
	for (code = 0; code < OUTCOMES; code++)
		if (!tally->is_allowed[code] ? tally->seen[code]
					     : nr_allowed <= SHOWN_MAX)
			print_outcome(t, code, tally->seen[code]);
	return is_good;
}

static bool has_y(const struct litmus *t)
{
	unsigned i;

	for (i = 0; i < t->nr_roles; i++)
		if (t->op[i][0].cell == 'y' || t->op[i][1].cell == 'y')
			return true;
	return false;
}

/* What is left in the cells that the test has. */
static void read_final(const struct litmus *t, const struct place *p,
		       uint32_t batch, struct notebook *nb)
{
	unsigned round;

	for (round = 0; round < BATCH; round++) {
		nb->final[round][0] =
			value_of(load(cell_at(p, round, 'x')), batch);
		nb->final[round][1] = 0;
		if (has_y(t))
			nb->final[round][1] =
				value_of(load(cell_at(p, round, 'y')), batch);
	}
}

/* Roles go round: each node plays each of them. */
static bool litmus_run(struct run *run, const struct litmus *t, bool is_apart,
		       uint32_t nr_rounds)
{
	static struct tally tally;
	const struct place p = {run->base, is_apart};
	struct notebook *nb = run->nb;
	uint32_t batch, nr_batches = (nr_rounds + BATCH - 1) / BATCH;
	unsigned round, role;

	memset(&tally, 0, sizeof(tally));
	interleave(t, &(struct state){0}, tally.is_allowed);
	for (batch = 1; batch <= nr_batches; batch++) {
		role = (run->me + batch) % run->nr;
		if (run->me == 0)
			memset(nb->reg, 0, sizeof(nb->reg));
		notebook_barrier(nb, run->nr, run->limit);
		clock_align();
		for (round = 0; round < BATCH && role < t->nr_roles; round++)
			play(run, &p, round, batch, t->op[role],
			     nb->reg[round][role]);
		notebook_barrier(nb, run->nr, run->limit);
		if (role == 0)
			read_final(t, &p, batch, nb);
		notebook_barrier(nb, run->nr, run->limit);
		if (run->me == 0)
			tally_batch(nb, &tally);
		notebook_barrier(nb, run->nr, run->limit);
		if (atomic_load(&nb->nr_violations))
			break;
	}
	if (run->me)
		return !atomic_load(&nb->nr_violations);
	return tally_print(run, t, &tally, is_apart, (batch - 1) * BATCH);
}

/* ---- all of them -------------------------------------------------------- */

static bool is_wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	while (*names)
		if (!strcmp(name, *names++))
			return true;
	return false;
}

/* Did the nodes do anything at the same time, in half of the tests at least? */
static bool roles_met(const struct run *run)
{
	if (run->me || 2 * run->nr_met >= run->nr_run)
		return true;
	printf("FAIL litmus.meeting: in %u of %u tests only\n", run->nr_met,
	       run->nr_run);
	return false;
}

static bool run_all(struct run *run, uint32_t nr_rounds, char **names)
{
	static const char *const exclusion[NR_EXCLUSION] = {"peterson",
							    "bakery"};
	uint8_t *base = run->base;
	bool is_good = true, is_apart;
	unsigned i;

	for (i = 0; i < 2 * (NR_TESTS + NR_EXCLUSION); i++) {
		is_apart = i % 2;
		run->base = base + i * TEST_PAGES * PAGE_BYTES;
		if (i / 2 < NR_TESTS && is_apart && !has_y(&tests[i / 2]))
			continue;
		if (i / 2 < NR_TESTS && is_wanted(tests[i / 2].name, names))
			is_good &= litmus_run(run, &tests[i / 2], is_apart,
					      nr_rounds);
		else if (i / 2 >= NR_TESTS &&
			 is_wanted(exclusion[i / 2 - NR_TESTS], names))
			is_good &=
				exclusion_run(run, exclusion[i / 2 - NR_TESTS],
					      is_apart, nr_rounds / BATCH);
		fflush(stdout);
		if (atomic_load(&run->nb->nr_violations))
			return false;
	}
	return is_good & roles_met(run);
}

int main(int argc, char **argv)
{
	const size_t size =
		2 * (NR_TESTS + NR_EXCLUSION) * TEST_PAGES * PAGE_BYTES;
	struct run run = {0};
	uint32_t nr_rounds;
	bool is_good;
	int id = -1;
	key_t key;

	if (argc < 7)
		die("usage: litmus NOTEBOOK ROLE NR KEY ROUNDS LIMIT [TEST...]");
	run.nb = notebook_open(argv[1]);
	run.me = (unsigned)number(argv[2]);
	run.nr = (unsigned)number(argv[3]);
	key = (key_t)number(argv[4]);
	nr_rounds = (uint32_t)number(argv[5]);
	run.limit = (unsigned)number(argv[6]);
	if (run.nr > ROLES_MAX || run.nr < 2 || run.me >= run.nr)
		die("%u of %u", run.me, run.nr);
	run.random = 0x9e3779b97f4a7c15u * (run.me + 1) ^ clock_ns();

	/* the first makes it: its node is the home */
	if (run.me == 0)
		id = shmget(key, size, IPC_CREAT | IPC_EXCL | IPC_DIPC | 0600);
	notebook_barrier(run.nb, run.nr, run.limit);
	if (run.me)
		id = shmget(key, size, IPC_DIPC);
	if (id < 0)
		die("shmget");
	run.base = shmat(id, NULL, 0);
	if (run.base == (void *)-1)
		die("shmat");
	notebook_barrier(run.nb, run.nr, run.limit);
	is_good = run_all(&run, nr_rounds, &argv[7]);
	notebook_barrier(run.nb, run.nr, run.limit);
	if (run.me == 0 && shmctl(id, IPC_RMID, NULL))
		die("IPC_RMID");
	return is_good ? 0 : LITMUS_BROKEN;
}
