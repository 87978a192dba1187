/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * heat.c - heat spreads over a plate, computed by many processes, which may
 * run on many nodes. It prints a checksum of the final temperatures; the
 * number of workers and where they ran does not change a bit of it, because
 * each cell is computed from the same four numbers in the same order.
 *
 * All of it is plain System V IPC; the flag IPC_DIPC, in job_flags(), is what
 * makes it work between nodes.
 *
 *	segment key	a constant header page, then the plate twice: a step
 *			reads the one and writes the other
 *	semaphores key	the barrier (three), and ticks for the progress bar
 *
 * Each worker owns a block of rows, which starts on a page of its own. So
 * only the pages with a block's first and last row travel, to the neighbour
 * that reads them, and back when they are written again.
 */
#include "common.h"
#include "picture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include <dipc/dipc.h>

enum { SEM_TICK = 3, NR_SEMS, MAX_TICKS = 50 };

struct header { /* constant once the workers run: a page any node may keep */
	uint32_t size; /* rows, and cells in a row */
	uint32_t steps;
	uint32_t workers;
	uint32_t ticks; /* that worker 1 gives while it computes */
};

/* The plate, as a process sees it. */
struct plate {
	struct header *hdr; /* in the segment, as are the rows */
	double **row[2];    /* owned array of row pointers; by step modulo 2 */
	int sems;
};

static int job_flags(const struct ex_job *job)
{
	return 0600 | (job->local ? 0 : IPC_DIPC);
}

/* --- the plate ---------------------------------------------------------- */

/* The first row of worker K, from 1; that of K + 1 ends the block of K. */
static size_t block_first(const struct header *hdr, unsigned k)
{
	return (size_t)hdr->size * (k - 1) / hdr->workers;
}

static size_t block_bytes(const struct header *hdr, unsigned k)
{
	size_t rows = block_first(hdr, k + 1) - block_first(hdr, k);
	size_t bytes = rows * hdr->size * sizeof(double);

	return (bytes + EX_PAGE - 1) / EX_PAGE * EX_PAGE;
}

static size_t segment_bytes(const struct header *hdr)
{
	size_t bytes = 0;
	unsigned k;

	for (k = 1; k <= hdr->workers; k++)
		bytes += block_bytes(hdr, k);
	return EX_PAGE + 2 * bytes;
}

/* Finds the rows of both plates: block after block, each on new pages. */
static void plate_map(struct plate *pl, int id)
{
	const struct header *hdr;
	char *block;
	size_t r;
	unsigned i, k;

	pl->hdr = shmat(id, NULL, 0);
	if (pl->hdr == (void *)-1)
		ex_die("shmat: %m");

	hdr = pl->hdr;
	block = (char *)pl->hdr + EX_PAGE;
	for (i = 0; i < 2; i++) {
		pl->row[i] = calloc(hdr->size, sizeof(*pl->row[i]));
		if (!pl->row[i])
			ex_die("out of memory");
		for (k = 1; k <= hdr->workers; k++) {
			double *cell = (void *)block;

			r = block_first(hdr, k);
			for (; r < block_first(hdr, k + 1); r++) {
				pl->row[i][r] = cell;
				cell += hdr->size;
			}
			block += block_bytes(hdr, k);
		}
	}
}

static void plate_unmap(struct plate *pl)
{
	free(pl->row[0]);
	free(pl->row[1]);
	shmdt(pl->hdr);
}

/* --- what is on it ------------------------------------------------------ */

static const double AMBIENT = 25.0;

/* Round places of constant temperature, in thousandths of the plate's size. */
static const struct source {
	int x, y, radius;
	double temp;
} sources[] = {
	{240, 300, 70, 100.0}, {700, 200, 40, 0.0},   {610, 660, 110, 90.0},
	{280, 750, 50, 5.0},   {850, 430, 30, 100.0}, {450, 120, 20, 85.0},
};
#define NR_SOURCES (sizeof(sources) / sizeof(sources[0]))

struct span { /* where a row crosses a source */
	size_t begin;
	size_t end;
};

static struct span source_span(const struct source *s, size_t row, size_t size)
{
	long n = (long)size;
	long radius = s->radius * n / 1000, x = s->x * n / 1000;
	long dy = (long)row - s->y * n / 1000, half = 0;
	struct span none = {0, 0};

	if (dy > radius || dy < -radius)
		return none;
	while ((half + 1) * (half + 1) + dy * dy <= radius * radius)
		half++;
	return (struct span){(size_t)(x - half), (size_t)(x + half + 1)};
}

static void sources_draw(double *row, const struct span *span)
{
	size_t i, c;

	for (i = 0; i < NR_SOURCES; i++)
		for (c = span[i].begin; c < span[i].end; c++)
			row[c] = sources[i].temp;
}

/* The border never changes: hot on the left, cold at the upper right. */
static double border_temp(size_t row, size_t col, size_t size)
{
	if (col == 0 && row >= size * 2 / 5 && row < size * 3 / 5)
		return 80.0;
	if (row == 0 && col >= size * 4 / 5)
		return 0.0;
	return AMBIENT;
}

static void row_init(double *row, size_t r, size_t size)
{
	size_t c;

	for (c = 0; c < size; c++)
		row[c] = AMBIENT;
	if (r == 0 || r == size - 1)
		for (c = 0; c < size; c++)
			row[c] = border_temp(r, c, size);
	row[0] = border_temp(r, 0, size);
	row[size - 1] = border_temp(r, size - 1, size);
}

/* --- the barrier -------------------------------------------------------- */

/*
 * A barrier for W processes that can be used again and again, of three
 * semaphores and nothing but semop. The Nth use takes semaphore S = N mod 3,
 * whose value is W: each process subtracts one and waits for zero.
 *
 * Somebody must bring S back to W, but not before all have left the wait. All
 * have when they have arrived at the next use. So worker 1, as it leaves use
 * N, adds W to the semaphore of use N - 1; that is the one of use N + 2, which
 * none can reach before worker 1 has arrived at N + 1. At the start the values
 * are W, W, 0: the third is added when worker 1 leaves the first use.
 *
 * Two operations per process and use, on one word, and the waiters sleep. No
 * SEM_UNDO: who dies has still arrived. The parent sees the death and removes
 * the set, and the wait of all others ends with EIDRM.
 */
struct barrier {
	int sems;
	unsigned workers;
	bool first;    /* we are worker 1 */
	unsigned turn; /* the next use, modulo 3 */
};

static void sem_add(int sems, unsigned sem, int n)
{
	struct sembuf op = {(unsigned short)sem, (short)n, 0};

	ex_semop(sems, &op, 1);
}

static void barrier_wait(struct barrier *b)
{
	sem_add(b->sems, b->turn, -1);
	sem_add(b->sems, b->turn, 0); /* wait for zero */
	if (b->first)
		sem_add(b->sems, (b->turn + 2) % 3, (int)b->workers);
	b->turn = (b->turn + 1) % 3;
}

/* --- a worker ----------------------------------------------------------- */

/*
 * No product is added to anything, so that no compiler fuses two roundings
 * into one; and a quarter of a number is exact.
 */
static void row_step(double *restrict out, const double *up, const double *mid,
		     const double *down, size_t size)
{
	size_t c;

	for (c = 1; c < size - 1; c++)
		out[c] = 0.25 * ((up[c] + down[c]) + (mid[c - 1] + mid[c + 1]));
}

static void worker_open(const struct ex_job *job, struct plate *pl)
{
	int flags = job_flags(job);
	int id = shmget(job->key, 0, flags);

	pl->sems = semget(job->key, 0, flags);
	if (id < 0 || pl->sems < 0)
		ex_die("no job with key 0x%x here: %m", (unsigned)job->key);
	plate_map(pl, id);
	if (job->number < 1 || job->number > pl->hdr->workers)
		ex_die("--worker must be from 1 to %u", pl->hdr->workers);
}

static bool is_tick(const struct header *hdr, uint32_t step)
{
	uint64_t t = hdr->ticks;

	return step * t / hdr->steps != (step - 1) * t / hdr->steps;
}

/*
 * Each worker fills its own rows, so that they start life on its node. The
 * waits of the barrier are all the order there is: who leaves it sees what
 * the others wrote before they arrived.
 */
static void worker_main(const struct ex_job *job)
{
	struct span(*spans)[NR_SOURCES];
	size_t size, begin, end, r, i;
	struct barrier barrier;
	struct plate pl;
	uint32_t steps, s;

	worker_open(job, &pl);
	size = pl.hdr->size;
	steps = pl.hdr->steps;
	begin = block_first(pl.hdr, job->number);
	end = block_first(pl.hdr, job->number + 1);
	spans = calloc(size, sizeof(*spans));
	if (!spans)
		ex_die("out of memory");
	for (r = begin; r < end; r++) {
		for (i = 0; i < NR_SOURCES; i++)
			spans[r][i] = source_span(&sources[i], r, size);
		row_init(pl.row[0][r], r, size);
		sources_draw(pl.row[0][r], spans[r]);
		row_init(pl.row[1][r], r, size);
	}

	barrier = (struct barrier){.sems = pl.sems,
				   .workers = pl.hdr->workers,
				   .first = job->number == 1};
	if (begin == 0)
		begin = 1; /* the border stays */
	if (end == size)
		end = size - 1;
	barrier_wait(&barrier);
	if (barrier.first)
		sem_add(pl.sems, SEM_TICK, 1); /* all are here */

	for (s = 1; s <= steps; s++) {
		double **old = pl.row[(s - 1) % 2], **new = pl.row[s % 2];

		for (r = begin; r < end; r++) {
			row_step(new[r], old[r - 1], old[r], old[r + 1], size);
			sources_draw(new[r], spans[r]);
		}
		barrier_wait(&barrier);
		if (barrier.first && is_tick(pl.hdr, s))
			sem_add(pl.sems, SEM_TICK, 1);
	}
	free(spans);
	plate_unmap(&pl);
}

/* --- the parent --------------------------------------------------------- */

static void plate_create(const struct ex_job *job, const struct header *hdr,
			 struct plate *pl)
{
	int flags = job_flags(job) | IPC_CREAT | IPC_EXCL;
	unsigned short w = (unsigned short)hdr->workers;
	unsigned short values[NR_SEMS] = {w, w, 0, 0}; /* see barrier */
	union semun {
		int val;
		struct semid_ds *buf;
		unsigned short *array;
	} arg = {.array = values};
	struct header *shared;
	int id;

	id = shmget(job->key, segment_bytes(hdr), flags);
	if (id < 0)
		ex_die("shmget 0x%x, %zu bytes: %m", (unsigned)job->key,
		       segment_bytes(hdr));
	ex_own(EX_SHM, id);
	shared = shmat(id, NULL, 0);
	if (shared == (void *)-1)
		ex_die("shmat: %m");
	*shared = *hdr;
	shmdt(shared);
	plate_map(pl, id);

	pl->sems = semget(job->key, NR_SEMS, flags);
	if (pl->sems < 0)
		ex_die("semget 0x%x: %m", (unsigned)job->key);
	ex_own(EX_SEM, pl->sems);
	if (semctl(pl->sems, 0, SETALL, arg) != 0)
		ex_die("semctl: %m");
}

static void tick_wait(const struct ex_job *job, const struct plate *pl)
{
	struct sembuf op = {SEM_TICK, -1, 0};

	while (semop(pl->sems, &op, 1) != 0) {
		if (errno != EINTR)
			ex_die("semop: %m");
		ex_watch(job);
	}
	ex_heard();
	ex_watch(job);
}

/* Waits for the last tick. Returns the seconds that the steps took. */
static double plate_watch(const struct ex_job *job, const struct plate *pl)
{
	uint32_t ticks = pl->hdr->ticks, t;
	struct ex_bar bar = {.label = "heating", .total = ticks};
	double start;

	tick_wait(job, pl); /* the workers are complete */
	start = ex_now();
	for (t = 1; t <= ticks; t++) {
		tick_wait(job, pl);
		ex_bar_show(&bar, t);
	}
	return ex_now() - start;
}

/* Reads the final plate once: checksum, and the picture if RGB is wanted. */
static uint64_t plate_read(const struct plate *pl, unsigned char *rgb)
{
	double **row = pl->row[pl->hdr->steps % 2];
	size_t size = pl->hdr->size, r, i;
	uint64_t hash = EX_FNV;

	for (r = 0; r < size; r++) {
		const unsigned char *byte = (const unsigned char *)row[r];

		for (i = 0; i < size * sizeof(double); i++)
			hash = ex_fnv(hash, byte[i]);
		if (rgb)
			picture_paint(row[r], row[r ? r - 1 : 0], size,
				      &rgb[3 * size * r]);
	}
	return hash;
}

static void parent_main(const struct ex_job *job, const struct header *hdr,
			const char *png, bool report)
{
	unsigned char *rgb = NULL;
	FILE *file = NULL;
	struct plate pl;
	double seconds;
	uint64_t hash;

	if (png) {
		file = fopen(png, "wbe");
		if (!file)
			ex_die("%s: %m", png);
		rgb = calloc(3 * (size_t)hdr->size, hdr->size);
		if (!rgb)
			ex_die("out of memory");
	}

	ex_guard();
	plate_create(job, hdr, &pl);
	ex_spawn(job);
	seconds = plate_watch(job, &pl);
	hash = plate_read(&pl, rgb);
	ex_finish(job);
	plate_unmap(&pl);

	if (file)
		picture_write(file, png, rgb, hdr->size);
	free(rgb);
	printf("checksum %016jx\n", (uintmax_t)hash);
	if (report)
		printf("time per step %.3f ms (%u x %u cells, %u workers)\n",
		       seconds * 1e3 / hdr->steps, hdr->size, hdr->size,
		       hdr->workers);
}

static void usage(FILE *out)
{
	fputs("usage: heat [options]\n"
	      "       heat --worker=K --key KEY\n"
	      "Let heat spread over a plate, computed by several processes.\n"
	      "  --size N       rows and columns, 16 to 16384 (default 512)\n"
	      "  --steps S      how many steps (default 1000)\n"
	      "  --png FILE     write a picture of the end\n"
	      "  --report       print the time per step\n",
	      out);
	fputs(ex_help, out);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		EX_LONG_OPTIONS,
		{"size", required_argument, NULL, 'S'},
		{"steps", required_argument, NULL, 'T'},
		{"png", required_argument, NULL, 'P'},
		{"report", no_argument, NULL, 'R'},
		{NULL, 0, NULL, 0},
	};
	struct header hdr = {.size = 512, .steps = 1000};
	struct ex_job job = EX_JOB_DEFAULT;
	const char *png = NULL;
	bool report = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'S') {
			hdr.size =
				(uint32_t)ex_number("size", optarg, 16, 16384);
		} else if (opt == 'T') {
			hdr.steps = (uint32_t)ex_number("steps", optarg, 1,
							1000000000);
		} else if (opt == 'P') {
			png = optarg;
		} else if (opt == 'R') {
			report = true;
		} else if (opt == 'h') {
			usage(stdout);
			return 0;
		} else if (!ex_option(&job, opt, optarg)) {
			usage(stderr);
			return 2;
		}
	}
	if (optind != argc) {
		usage(stderr);
		return 2;
	}
	ex_job_check(&job);

	if (job.is_worker) {
		worker_main(&job);
		return 0;
	}
	if (job.workers > hdr.size)
		ex_die("more workers than rows");
	hdr.workers = job.workers;
	hdr.ticks = hdr.steps < MAX_TICKS ? hdr.steps : MAX_TICKS;
	parent_main(&job, &hdr, png, report);
	return 0;
}
