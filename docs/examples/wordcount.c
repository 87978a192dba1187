/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wordcount.c - count the words of a text with many processes, which may run
 * on many nodes. It prints what this prints (a word is a run of letters):
 *
 *	export LC_ALL=C
 *	tr -cs A-Za-z '\n' <FILE | tr A-Z a-z | sed '/^$/d' | sort | uniq -c
 *
 * All of it is plain System V IPC; the flag IPC_DIPC, in job_flags(), is what
 * makes it work between nodes.
 *
 *	segment key	the text; only the parent writes it, with read(2)
 *	segment key+1	the table: how often each word occurs; see wordtable.h
 *	queue key	ranges of the text: to the workers, and back when done
 *	semaphores key	the locks of the table
 */
#include "common.h"
#include "wordtable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>

#include <dipc/dipc.h>

enum {
	MIN_RANGE = 16 * 1024,
	MAX_RANGE = 256 * 1024,
	MAX_READ = 1024 * 1024,
};

enum { MSG_TO_WORKER = 1, MSG_TO_PARENT = 2 };

/* An empty range tells one worker to end; it too comes back when obeyed. */
struct range {
	uint32_t begin; /* in the text */
	uint32_t end;
};

struct message {
	long type;
	struct range range;
};

/* What a process needs to reach the objects. */
struct shared {
	int queue;
	unsigned char *text; /* workers: attached read-only */
	struct wordtable table;
};

static int job_flags(const struct ex_job *job)
{
	return 0600 | (job->local ? 0 : IPC_DIPC);
}

/* --- a worker ----------------------------------------------------------- */

/* The words of one range, in memory of our own: nothing here is shared. */
struct batch {
	struct word *slot; /* owned; open addressing, free where at is NULL */
	size_t mask;
	uint32_t first[WORDTABLE_STRIPES]; /* list by word.next: index + 1 */
};

static void batch_count(struct batch *b, const unsigned char *at, size_t len,
			uint64_t hash)
{
	unsigned s = wordtable_stripe(hash);
	size_t i = (size_t)hash & b->mask;
	struct word *w;

	for (w = &b->slot[i]; w->at; w = &b->slot[i]) {
		if (w->hash == hash && w->len == len &&
		    same_word(w->at, at, len)) {
			w->count++;
			return;
		}
		i = (i + 1) & b->mask;
	}
	w->at = at;
	w->hash = hash;
	w->len = (uint32_t)len;
	w->count = 1;
	w->next = b->first[s];
	b->first[s] = (uint32_t)i + 1;
}

static void batch_fill(struct batch *b, const unsigned char *p,
		       const unsigned char *end)
{
	const unsigned char *at;
	size_t slots = 64;
	uint64_t hash;

	/* A word takes two bytes at least: there is always a free slot. */
	while (slots < (size_t)(end - p) / 2 + 2)
		slots *= 2;
	memset(b, 0, sizeof(*b));
	b->slot = calloc(slots, sizeof(*b->slot));
	if (!b->slot)
		ex_die("out of memory");
	b->mask = slots - 1;

	while (p < end) {
		hash = EX_FNV;
		for (at = p; p < end && is_letter(*p); p++)
			hash = ex_fnv(hash, lower(*p));
		if (p > at)
			batch_count(b, at, (size_t)(p - at), hash);
		else
			p++;
	}
}

/* Takes each stripe's lock once; starts at FIRST, so that workers spread. */
static void batch_merge(const struct batch *b, struct wordtable *table,
			unsigned first)
{
	unsigned i, s;
	uint32_t n;

	for (i = 0; i < WORDTABLE_STRIPES; i++) {
		s = (first + i) % WORDTABLE_STRIPES;
		if (!b->first[s])
			continue;
		wordtable_lock(table, s);
		for (n = b->first[s]; n; n = b->slot[n - 1].next)
			wordtable_add(table, &b->slot[n - 1]);
		wordtable_unlock(table, s);
	}
}

static void *segment_attach(int id, int flags)
{
	void *p = shmat(id, NULL, flags);

	if (p == (void *)-1)
		ex_die("shmat: %m");
	return p;
}

static void worker_open(const struct ex_job *job, struct shared *sh)
{
	int flags = job_flags(job);
	int text = shmget(job->key, 0, flags);
	int table = shmget(job->key + 1, 0, flags);
	int sems = semget(job->key, 0, flags);

	sh->queue = msgget(job->key, flags);
	if (text < 0 || table < 0 || sems < 0 || sh->queue < 0)
		ex_die("no job with key 0x%x here: %m", (unsigned)job->key);
	sh->text = segment_attach(text, SHM_RDONLY);
	wordtable_open(&sh->table, segment_attach(table, 0), sh->text, sems);
}

static void worker_main(const struct ex_job *job)
{
	unsigned first = (unsigned)getpid();
	struct shared sh;
	struct message msg;
	struct batch batch;

	worker_open(job, &sh);
	do {
		while (msgrcv(sh.queue, &msg, sizeof(msg.range), MSG_TO_WORKER,
			      0) < 0)
			if (errno != EINTR)
				ex_lost("msgrcv");
		if (msg.range.begin > msg.range.end ||
		    msg.range.end > wordtable_text_size(&sh.table))
			ex_die("a range outside the text");

		batch_fill(&batch, sh.text + msg.range.begin,
			   sh.text + msg.range.end);
		batch_merge(&batch, &sh.table, first);
		free(batch.slot);

		msg.type = MSG_TO_PARENT;
		while (msgsnd(sh.queue, &msg, sizeof(msg.range), 0) != 0)
			if (errno != EINTR)
				ex_lost("msgsnd");
	} while (msg.range.begin < msg.range.end);
}

/* --- the parent --------------------------------------------------------- */

static int locks_create(const struct ex_job *job, int flags)
{
	union semun {
		int val;
		struct semid_ds *buf;
		unsigned short *array;
	} arg;
	unsigned short one[WORDTABLE_SEMS];
	int id = semget(job->key, WORDTABLE_SEMS, flags);
	unsigned i;

	if (id < 0)
		ex_die("semget 0x%x: %m", (unsigned)job->key);
	ex_own(EX_SEM, id);
	for (i = 0; i < WORDTABLE_SEMS; i++)
		one[i] = 1;
	arg.array = one;
	if (semctl(id, 0, SETALL, arg) != 0)
		ex_die("semctl: %m");
	return id;
}

static void *segment_create(key_t key, size_t size, int flags)
{
	int id = shmget(key, size, flags);

	if (id < 0)
		ex_die("shmget 0x%x, %zu bytes: %m", (unsigned)key, size);
	ex_own(EX_SHM, id);
	return segment_attach(id, 0);
}

static void shared_create(const struct ex_job *job, struct shared *sh,
			  uint32_t size)
{
	int flags = job_flags(job) | IPC_CREAT | IPC_EXCL;
	void *table;

	sh->text = segment_create(job->key, size ? size : 1, flags);
	table = segment_create(job->key + 1, wordtable_bytes(size), flags);
	wordtable_format(table, size);
	wordtable_open(&sh->table, table, sh->text, locks_create(job, flags));

	sh->queue = msgget(job->key, flags);
	if (sh->queue < 0)
		ex_die("msgget 0x%x: %m", (unsigned)job->key);
	ex_own(EX_MSG, sh->queue);
}

static uint32_t text_size(int fd, const char *file)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		ex_die("%s: %m", file);
	if (!S_ISREG(st.st_mode))
		ex_die("%s is not a regular file", file);
	if ((uint64_t)st.st_size > UINT32_MAX)
		ex_die("%s is larger than 4 GiB", file);
	return (uint32_t)st.st_size;
}

/* The kernel writes into the segment: no buffer, no copy. */
static void text_read(const struct ex_job *job, struct shared *sh, int fd,
		      const char *file)
{
	size_t size = wordtable_text_size(&sh->table), done = 0;

	while (done < size) {
		size_t part = size - done < MAX_READ ? size - done : MAX_READ;
		ssize_t n = read(fd, sh->text + done, part);

		if (n == 0)
			ex_die("%s shrank while it was read", file);
		if (n < 0 && errno != EINTR)
			ex_die("%s: %m", file);
		if (n > 0)
			done += (size_t)n;
		ex_heard();
		ex_watch(job);
	}
}

/*
 * Sends the range that begins at *NEXT, cut at the end of a word; once the
 * text is through, an empty range to each worker; after that, nothing.
 */
static void range_send(const struct shared *sh, uint32_t max, uint32_t *next,
		       unsigned *ends)
{
	uint32_t size = wordtable_text_size(&sh->table);
	struct message msg = {MSG_TO_WORKER, {*next, size}};

	if (*next == size && *ends == 0)
		return;
	if (*next == size)
		(*ends)--;
	if (size - *next > max) {
		msg.range.end = *next + max;
		while (msg.range.end < size &&
		       is_letter(sh->text[msg.range.end]))
			msg.range.end++;
	}
	*next = msg.range.end;

	/* Never blocks: so few ranges are out that they always have room. */
	if (msgsnd(sh->queue, &msg, sizeof(msg.range), IPC_NOWAIT) != 0)
		ex_die("msgsnd: %m");
}

/* Keeps two ranges per worker in the queue, so that none ever waits. */
static void text_count(const struct ex_job *job, const struct shared *sh)
{
	uint32_t size = wordtable_text_size(&sh->table), next = 0, done = 0;
	uint32_t max = size / (4 * job->workers);
	unsigned running = job->workers, ends = job->workers, i;
	struct ex_bar bar = {.label = "counting", .total = size};
	struct message msg;

	if (max < MIN_RANGE)
		max = MIN_RANGE;
	if (max > MAX_RANGE)
		max = MAX_RANGE;
	for (i = 0; i < 2 * job->workers; i++)
		range_send(sh, max, &next, &ends);

	while (running) {
		ex_watch(job);
		if (msgrcv(sh->queue, &msg, sizeof(msg.range), MSG_TO_PARENT,
			   0) < 0) {
			if (errno != EINTR)
				ex_die("msgrcv: %m");
			continue;
		}
		ex_heard();
		range_send(sh, max, &next, &ends);
		if (msg.range.begin == msg.range.end) {
			running--;
		} else {
			done += msg.range.end - msg.range.begin;
			ex_bar_show(&bar, done);
		}
	}
}

struct result {
	uint64_t count;
	char *word; /* owned */
};

static int by_word(const void *a, const void *b)
{
	const struct result *x = a, *y = b;

	return strcmp(x->word, y->word);
}

static int by_count(const void *a, const void *b)
{
	const struct result *x = a, *y = b;

	if (x->count != y->count)
		return x->count < y->count ? 1 : -1;
	return by_word(a, b);
}

static char *word_copy(const unsigned char *at, uint32_t len)
{
	char *copy = malloc((size_t)len + 1);
	uint32_t i;

	if (!copy)
		ex_die("out of memory");
	for (i = 0; i < len; i++)
		copy[i] = (char)lower(at[i]);
	copy[len] = '\0';
	return copy;
}

/* Copies the table into our own memory, which the caller frees. */
static size_t results_take(const struct wordtable *table, struct result **out)
{
	struct result *res = NULL;
	size_t nr = 0, room = 0;
	const unsigned char *at;
	uint32_t pos = 0, len;
	uint64_t count;

	while ((count = wordtable_next(table, &pos, &at, &len))) {
		if (nr == room) {
			room = room ? 2 * room : 1024;
			res = reallocarray(res, room, sizeof(*res));
			if (!res)
				ex_die("out of memory");
		}
		res[nr].count = count;
		res[nr++].word = word_copy(at, len);
	}
	*out = res;
	return nr;
}

static void results_print(struct result *res, size_t nr, size_t top)
{
	size_t i;

	if (nr)
		qsort(res, nr, sizeof(*res), top ? by_count : by_word);
	for (i = 0; i < nr && (!top || i < top); i++)
		printf("%7ju %s\n", (uintmax_t)res[i].count, res[i].word);
	if (fflush(stdout) != 0)
		ex_die("cannot write the result: %m");
}

static void parent_main(const struct ex_job *job, const char *file, size_t top)
{
	double start = ex_now();
	uint64_t words = 0;
	struct result *res;
	struct shared sh;
	size_t nr, i;
	int fd;

	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		ex_die("%s: %m", file);

	ex_guard();
	shared_create(job, &sh, text_size(fd, file));
	text_read(job, &sh, fd, file);
	close(fd);
	ex_spawn(job);
	text_count(job, &sh);
	nr = results_take(&sh.table, &res);
	ex_finish(job);

	results_print(res, nr, top);
	for (i = 0; i < nr; i++) {
		words += res[i].count;
		free(res[i].word);
	}
	free(res);
	fprintf(stderr, "%ju words, %zu different, %u workers, %.2f s\n",
		(uintmax_t)words, nr, job->workers, ex_now() - start);
}

static void usage(FILE *out)
{
	fputs("usage: wordcount [options] FILE\n"
	      "       wordcount --worker --key KEY\n"
	      "Count the words of FILE by several processes.\n"
	      "  --top N        only the N most frequent words, by frequency\n",
	      out);
	fputs(ex_help, out);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		EX_LONG_OPTIONS,
		{"top", required_argument, NULL, 'T'},
		{NULL, 0, NULL, 0},
	};
	struct ex_job job = EX_JOB_DEFAULT;
	size_t top = 0;
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'T') {
			top = ex_number("top", optarg, 1, UINT32_MAX);
		} else if (opt == 'h') {
			usage(stdout);
			return 0;
		} else if (!ex_option(&job, opt, optarg)) {
			usage(stderr);
			return 2;
		}
	}
	if (argc - optind != (job.is_worker ? 0 : 1)) {
		usage(stderr);
		return 2;
	}
	ex_job_check(&job);

	if (job.is_worker)
		worker_main(&job);
	else
		parent_main(&job, argv[optind], top);
	return 0;
}
