/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Input that the kernel or a device writes to memory by itself, into a segment
 * whose pages another node reads all the time.
 *
 * job_pinned KEY reader | bounced | past_libc FILE | refused FILE
 *
 * past_libc makes the same reads by system calls that nobody sees: it tells
 * whether this machine's disks would lose data at all, and never fails.
 */
#include <aio.h>
#include <dlfcn.h>
#include <linux/aio_abi.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "tests/cluster/job.h"

#define PAGE   4096u
#define PAGES  64u
#define BYTES  (PAGES * PAGE)
#define ROUNDS 100u

#define MUST(cond)                                                             \
	do {                                                                   \
		if (!(cond))                                                   \
			die("%s, line %d: %s", __FILE__, __LINE__, #cond);     \
	} while (0)

/* In the page behind the others. */
struct control {
	_Atomic unsigned must_end;
	_Atomic unsigned is_reading;
	_Atomic unsigned asked; /* round + 1 whose bytes should be there */
	_Atomic unsigned answered;
	_Atomic unsigned nr_wrong; /* pages */
};

static int id;
static char *at;
static struct control *control;

static unsigned char byte_of(unsigned round)
{
	return (unsigned char)(1 + round % 200);
}

static unsigned count_wrong(unsigned char want)
{
	unsigned i, nr = 0;

	for (i = 0; i < PAGES; i++)
		nr += ((volatile unsigned char *)at)[i * PAGE + i] != want;
	return nr;
}

static int reader(void)
{
	while (!control->must_end) {
		control->is_reading = 1;
		(void)count_wrong(0);
		if (control->asked == control->answered)
			continue;
		control->nr_wrong = count_wrong(byte_of(control->asked - 1));
		control->answered = control->asked;
	}
	return 0;
}

static int file_open(const char *path, int flags)
{
	int fd = open(path, O_DIRECT | O_RDWR | O_CREAT | flags, 0600);

	if (fd >= 0)
		return fd;
	if (errno != EINVAL)
		die("%s", path);
	printf("no O_DIRECT here: not tried\n");
	control->must_end = 1;
	MUST(shmctl(id, IPC_RMID, NULL) == 0);
	exit(0);
}

static void file_fill(int fd, unsigned char byte)
{
	char *buf = aligned_alloc(PAGE, BYTES);

	MUST(buf);
	memset(buf, byte, BYTES);
	MUST(pwrite(fd, buf, BYTES, 0) == BYTES);
	free(buf);
}

/* ---- ways to read ----------------------------------------------------------- */

static ssize_t by_read(int fd)
{
	MUST(lseek(fd, 0, SEEK_SET) == 0);
	return read(fd, at, BYTES);
}

static ssize_t by_pread(int fd)
{
	return pread(fd, at, BYTES, 0);
}

static ssize_t by_pread64(int fd)
{
	return pread64(fd, at, BYTES, 0);
}

static void halves(struct iovec *iov)
{
	iov[0].iov_base = at;
	iov[0].iov_len = BYTES / 2;
	iov[1].iov_base = at + BYTES / 2;
	iov[1].iov_len = BYTES / 2;
}

static ssize_t by_readv(int fd)
{
	struct iovec iov[2];

	halves(iov);
	MUST(lseek(fd, 0, SEEK_SET) == 0);
	return readv(fd, iov, 2);
}

static ssize_t by_preadv(int fd)
{
	struct iovec iov[2];

	halves(iov);
	return preadv(fd, iov, 2, 0);
}

static ssize_t by_preadv2(int fd)
{
	struct iovec iov[2];

	halves(iov);
	return preadv2(fd, iov, 2, 0, RWF_HIPRI);
}

static ssize_t past_libc(int fd)
{
	register long r10 __asm__("r10") = 0;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(SYS_pread64), "D"((long)fd), "S"(at),
			   "d"((long)BYTES), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}

/* How many of ROUNDS reads the other node saw wrongly. */
static unsigned try_it(int fd, ssize_t (*way)(int))
{
	unsigned round, nr_wrong = 0;

	for (round = 0; round < ROUNDS / 5; round++) {
		static unsigned nr;
		unsigned me = nr++;

		file_fill(fd, byte_of(me));
		MUST(way(fd) == BYTES);
		control->asked = me + 1;
		while (control->answered != me + 1)
			usleep(100);
		nr_wrong += control->nr_wrong || count_wrong(byte_of(me));
	}
	return nr_wrong;
}

static void await_reader(void)
{
	while (!control->is_reading)
		usleep(1000);
}

static int bounced(const char *path)
{
	static ssize_t (*const ways[])(int) = {by_read,  by_pread,  by_pread64,
					       by_readv, by_preadv, by_preadv2};
	unsigned i, nr_wrong = 0;
	int fd = file_open(path, 0);

	await_reader();
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		nr_wrong += try_it(fd, ways[i]);
	/* the end of the file, and a bad buffer behind a good one */
	MUST(ftruncate(fd, PAGE + 512) == 0);
	MUST(pread(fd, at, BYTES, 0) == PAGE + 512);
	MUST(pread(fd, at, BYTES, 2 * PAGE) == 0);
	{
		struct iovec iov[2] = {{at, PAGE}, {NULL, PAGE}};

		MUST(preadv(fd, iov, 2, 0) == -1 && errno == EFAULT);
	}
	control->must_end = 1;
	MUST(shmctl(id, IPC_RMID, NULL) == 0);
	if (nr_wrong)
		die("%u reads lost data", nr_wrong);
	return 0;
}

static int seen_past_libc(const char *path)
{
	int fd = file_open(path, 0);

	await_reader();
	printf("%u of %u reads past libc lost data\n", try_it(fd, past_libc),
	       ROUNDS / 5);
	control->must_end = 1;
	MUST(shmctl(id, IPC_RMID, NULL) == 0);
	return 0;
}

/* ---- refusals ---------------------------------------------------------------- */

typedef int io_submit_fn(aio_context_t, long, struct iocb **);
typedef void *reg_mr_fn(void *, void *, size_t, int);
typedef int register_fn(void *, const struct iovec *, unsigned);

/* As a program that is linked with such a library would find it. */
#define FIND(type, name)                                                       \
	({                                                                     \
		void *sym_ = dlsym(RTLD_DEFAULT, name);                        \
		type *fn_;                                                     \
		MUST(sym_);                                                    \
		__builtin_memcpy(&fn_, &sym_, sizeof(fn_));                    \
		fn_;                                                           \
	})

static int refused(const char *path)
{
	int direct = file_open(path, 0), plain = open(path, O_RDONLY);
	struct aiocb cb = {.aio_fildes = direct,
			   .aio_buf = at,
			   .aio_nbytes = PAGE,
			   .aio_lio_opcode = LIO_READ};
	struct aiocb *list[] = {NULL, &cb};
	const struct aiocb *wait[] = {&cb};
	struct iocb io = {.aio_lio_opcode = IOCB_CMD_PREAD,
			  .aio_fildes = (uint32_t)direct,
			  .aio_buf = (uintptr_t)at,
			  .aio_nbytes = PAGE};
	struct iocb *ios[] = {&io};
	struct iovec iov = {at, PAGE};
	struct io_event event;
	aio_context_t ctx = 0;

	file_fill(direct, 9);
	errno = 0;
	MUST(aio_read(&cb) == -1 && errno == EOPNOTSUPP);
	errno = 0;
	MUST(lio_listio(LIO_WAIT, list, 2, NULL) == -1 && errno == EOPNOTSUPP);
	/* copied by the kernel: that is seen */
	cb.aio_fildes = plain;
	MUST(aio_read(&cb) == 0);
	while (aio_error(&cb) == EINPROGRESS)
		aio_suspend(wait, 1, NULL);
	MUST(aio_return(&cb) == PAGE && at[0] == 9);
	MUST(syscall(SYS_io_setup, 4, &ctx) == 0);
	MUST(FIND(io_submit_fn, "io_submit")(ctx, 1, ios) == -EOPNOTSUPP);
	at[0] = 0;
	io.aio_fildes = (uint32_t)plain;
	MUST(FIND(io_submit_fn, "io_submit")(ctx, 1, ios) == 1);
	MUST(syscall(SYS_io_getevents, ctx, 1, 1, &event, NULL) == 1);
	MUST(event.res == PAGE && at[0] == 9);
	errno = 0;
	MUST(!FIND(reg_mr_fn, "ibv_reg_mr")(NULL, at, PAGE, 0));
	MUST(errno == EOPNOTSUPP);
	MUST(FIND(register_fn, "io_uring_register_buffers")(NULL, &iov, 1) ==
	     -EOPNOTSUPP);
	MUST(shmctl(id, IPC_RMID, NULL) == 0);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		die("usage: pinned KEY WHAT [FILE]");
	id = shmget((key_t)number(argv[1]), BYTES + PAGE, IPC_CREAT | 0600);
	if (id < 0)
		die("shmget");
	at = shmat(id, NULL, 0);
	if (at == (void *)-1)
		die("shmat");
	control = (void *)(at + BYTES);
	if (!strcmp(argv[2], "reader"))
		return reader();
	if (!strcmp(argv[2], "bounced") && argc == 4)
		return bounced(argv[3]);
	if (!strcmp(argv[2], "past_libc") && argc == 4)
		return seen_past_libc(argv[3]);
	if (!strcmp(argv[2], "refused") && argc == 4)
		return refused(argv[3]);
	die("unknown: %s", argv[2]);
}
