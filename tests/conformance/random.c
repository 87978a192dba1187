// SPDX-License-Identifier: BSD-2-Clause
// Long sequences by chance, the same for the same seed: three actors on one
// set or one queue, two of which may sleep.
#include "tests/conformance/sysv.h"

#define NR_STEPS 300
#define NR_SEMS  3

static uint64_t state;

/* 0 to N - 1. xorshift64*: the same everywhere, rand() is not. */
static int chance(int n)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (int)((state * 0x2545f4914f6cdd1dull >> 33) % (unsigned)n);
}

static struct actor *actors[3];
static bool is_asleep[3];

static int nr_asleep(void)
{
	return is_asleep[0] + is_asleep[1] + is_asleep[2];
}

static void begin(unsigned seed)
{
	out("seed %u\n", seed);
	state = seed * 0x9e3779b97f4a7c15ull + 1;
	for (int k = 0; k < 3; k++)
		chance(2);
	actors[0] = A;
	actors[1] = B;
	actors[2] = C;
	memset(is_asleep, 0, sizeof(is_asleep));
	for (int k = 0; k < 3; k++)
		actor_catch(actors[k], SIGUSR1, k ? SA_RESTART : 0);
}

/* One that is awake. */
static int someone(void)
{
	int k = chance(3);

	while (is_asleep[k])
		k = (k + 1) % 3;
	return k;
}

/* One that sleeps is interrupted. */
static void interrupt(void)
{
	int k = chance(3);

	while (!is_asleep[k])
		k = (k + 1) % 3;
	actor_signal(actors[k], SIGUSR1);
	finish(actors[k]);
	is_asleep[k] = false;
}

static int nr_ended(void)
{
	int nr = 0;

	for (int k = 0; k < 3; k++)
		nr += is_asleep[k] && has_ended(actors[k], 1);
	return nr;
}

/* Waits until so many still sleep; the others in the order of their names. */
static void collect(int expected_asleep)
{
	int64_t deadline = now_ms() + scaled_ms(2000);
	int expected = nr_asleep() - expected_asleep;

	while (nr_ended() < expected)
		if (now_ms() > deadline)
			complain("%d should have ended, %d have", expected,
				 nr_ended());
	for (int k = 0; k < 3; k++) {
		if (!is_asleep[k] || !has_answered(actors[k]))
			continue;
		finish(actors[k]);
		is_asleep[k] = false;
	}
}

/* ---- semaphores -----------------------------------------------------------*/

/* How many sleep, by what the set says: the others have their results. */
static int sleepers(int k, int set)
{
	int nr = 0;

	for (int i = 0; i < NR_SEMS; i++)
		nr += (int)(a_getncnt(actors[k], set, i) +
			    a_getzcnt(actors[k], set, i));
	return nr;
}

static void random_semop(int k, int set, bool may_sleep)
{
	struct sembuf ops[4];
	size_t nr = 1 + (size_t)(chance(2) ? 0 : chance(4));

	for (size_t i = 0; i < nr; i++) {
		ops[i].sem_num = (unsigned short)chance(NR_SEMS);
		ops[i].sem_op = (short)(chance(8) - 4);
		ops[i].sem_flg = 0;
		if (!may_sleep || chance(6) == 0)
			ops[i].sem_flg |= IPC_NOWAIT;
		if (chance(4) == 0)
			ops[i].sem_flg |= SEM_UNDO;
	}
	if (!may_sleep) {
		a_semop(actors[k], set, ops, nr);
		return;
	}
	a_semop(blocks(actors[k]), set, ops, nr);
	is_asleep[k] = !has_answered(actors[k]);
}

static void random_semctl(int k, int set)
{
	struct actor *a = actors[k];
	int num = chance(NR_SEMS);
	unsigned short values[NR_SEMS];

	switch (chance(6)) {
	case 0:
		a_setval(a, set, num, chance(5));
		break;
	case 1:
		for (int i = 0; i < NR_SEMS; i++)
			values[i] = (unsigned short)chance(5);
		a_setall(a, set, values, NR_SEMS);
		break;
	case 2:
		a_getpid(a, set, num);
		break;
	default:
		a_getall(a, set, NR_SEMS);
	}
}

static void semaphores(unsigned seed)
{
	int set = three_and_set(NR_SEMS);

	begin(seed);
	for (int i = 0; i < NR_STEPS; i++) {
		int k = someone();

		if (nr_asleep() > 0 && chance(12) == 0)
			interrupt();
		if (chance(5) == 0)
			random_semctl(k, set);
		else
			random_semop(k, set, nr_asleep() < 2);
		if (nr_asleep() > 0)
			collect(sleepers(someone(), set));
	}
	a_getall(actors[someone()], set, NR_SEMS);
	a_sem_rm(actors[someone()], set);
	collect(0);
}

/* ---- queues ---------------------------------------------------------------*/

/*
 * A queue does not say who waits, so the driver has to know who must have been
 * served: what it believes decides how long it waits, not what it prints.
 */
static struct {
	long type;
	size_t size;
} messages[64];
static int nr_messages;

static struct {
	long type;
	int flags;
	size_t size;
	int since;
} wants[3];

static bool wanted(int k, long type)
{
	if (wants[k].type == 0)
		return true;
	if (wants[k].type < 0)
		return type <= -wants[k].type;
	return (type == wants[k].type) != !!(wants[k].flags & MSG_EXCEPT);
}

/* Who gets a message of TYPE; all before him learn that it is too large. */
static int deliver(long type, size_t size, int *served)
{
	for (;;) {
		int first = -1;

		for (int k = 0; k < 3; k++)
			if (is_asleep[k] && !served[k] && wanted(k, type) &&
			    (first < 0 || wants[k].since < wants[first].since))
				first = k;
		if (first < 0)
			return 0;
		served[first] = 1;
		if (size <= wants[first].size ||
		    wants[first].flags & MSG_NOERROR)
			return 1;
	}
}

static void random_send(int k, int queue)
{
	long type = 1 + chance(4);
	size_t size = (size_t)chance(12);
	int served[3] = {0};

	if (nr_messages == 20)
		return;
	a_msgsnd_nr(actors[k], queue, type, (char)('a' + chance(26)), size,
		    IPC_NOWAIT);
	if (!deliver(type, size, served)) {
		messages[nr_messages].type = type;
		messages[nr_messages++].size = size;
	}
	collect(nr_asleep() - served[0] - served[1] - served[2]);
}

/* The message that K would get now, or -1. */
static int found(int k)
{
	int best = -1;

	for (int i = 0; i < nr_messages; i++) {
		if (!wanted(k, messages[i].type))
			continue;
		if (best < 0 || (wants[k].type < 0 &&
				 messages[i].type < messages[best].type))
			best = i;
	}
	return best;
}

static void random_receive(int k, int queue, int now)
{
	struct actor *a = actors[k];
	int i;

	wants[k].type = chance(8) - 3;
	wants[k].size = (size_t)(chance(3) ? 20 : 5);
	wants[k].flags = chance(3) ? 0 : MSG_NOERROR;
	if (wants[k].type > 0 && chance(4) == 0)
		wants[k].flags |= MSG_EXCEPT;
	wants[k].since = now;
	i = found(k);
	if (i < 0 && nr_asleep() == 2)
		wants[k].flags |= IPC_NOWAIT;
	a_msgrcv(i < 0 && !(wants[k].flags & IPC_NOWAIT) ? blocks(a) : a, queue,
		 wants[k].size, wants[k].type, wants[k].flags);
	is_asleep[k] = !has_answered(a);
	if (i < 0 || (messages[i].size > wants[k].size &&
		      !(wants[k].flags & MSG_NOERROR)))
		return;
	nr_messages--;
	memmove(&messages[i], &messages[i + 1],
		(size_t)(nr_messages - i) * sizeof(messages[0]));
}

static void queues(unsigned seed)
{
	int queue = three_and_queue();

	begin(seed);
	nr_messages = 0;
	for (int i = 0; i < NR_STEPS; i++) {
		int k = someone();

		if (nr_asleep() > 0 && chance(12) == 0)
			interrupt();
		if (chance(10) == 0)
			a_msg_use(actors[k], queue);
		else if (chance(10) == 0)
			a_msgrcv(actors[k], queue, 20, chance(10),
				 MSG_COPY | IPC_NOWAIT);
		else if (chance(9) < 4)
			random_send(k, queue);
		else
			random_receive(k, queue, i);
	}
	a_msg_use(actors[someone()], queue);
	a_msg_rm(actors[someone()], queue);
	collect(0);
}

static void sem_1(void)
{
	semaphores(1);
}

static void sem_2(void)
{
	semaphores(2);
}

static void sem_3(void)
{
	semaphores(3);
}

static void sem_4(void)
{
	semaphores(4);
}

static void msg_1(void)
{
	queues(1);
}

static void msg_2(void)
{
	queues(2);
}

static void msg_3(void)
{
	queues(3);
}

/* A seed of one's own: CONFORMANCE_SEED=n. */
static unsigned own_seed(void)
{
	const char *seed = getenv("CONFORMANCE_SEED");

	return seed ? (unsigned)strtoul(seed, NULL, 0) : 5;
}

static void sem_seed(void)
{
	semaphores(own_seed());
}

static void msg_seed(void)
{
	queues(own_seed());
}

const struct conformance_case random_cases[] = {
	{"random.sem_1", sem_1},       {"random.sem_2", sem_2},
	{"random.sem_3", sem_3},       {"random.sem_4", sem_4},
	{"random.sem_seed", sem_seed}, {"random.msg_1", msg_1},
	{"random.msg_2", msg_2},       {"random.msg_3", msg_3},
	{"random.msg_seed", msg_seed}, {0},
};
