// SPDX-License-Identifier: BSD-2-Clause
// Shared memory calls: as the driver writes them, and as the actor makes them.
#include "tests/conformance/shm.h"

#include <setjmp.h>

#define HOLE_SIZE (64ul << 20)

/* ---- in the actor ---------------------------------------------------------*/

static char *regs[NR_REGS];
static char *hole;
static sigjmp_buf fault_jump;

static void on_fault(int sig)
{
	siglongjmp(fault_jump, sig);
}

/* What signal FN's access raises comes back as 1000 + its number. */
static long guarded(mem_fn *fn, char *addr, size_t len)
{
	struct sigaction sa = {.sa_handler = on_fault}, segv, bus;
	long ret;
	int sig;

	sigaction(SIGSEGV, &sa, &segv);
	sigaction(SIGBUS, &sa, &bus);
	sig = sigsetjmp(fault_jump, 1);
	if (sig == 0)
		ret = fn(addr, len);
	else
		ret = 1000 + sig;
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return ret;
}

static void show_result(long ret, const void *blob, size_t len)
{
	(void)blob;
	(void)len;
	if (ret >= 1000 && ret < 1065)
		out("SIG%s", sigabbrev_np((int)ret - 1000));
	else
		out("%ld", ret);
}

/* ---- shmget ---------------------------------------------------------------*/

struct get_arg {
	key_t key;
	int flags;
	size_t size;
};

static long op_shmget(void *blob, size_t len)
{
	struct get_arg *arg = blob;

	(void)len;
	return shmget(arg->key, arg->size, arg->flags);
}

static const char *get_name;

static void show_get(long ret, const void *blob, size_t len)
{
	(void)blob;
	(void)len;
	if (strcmp(object_name(OBJECT_SHM, (int)ret), get_name) != 0)
		name_object(OBJECT_SHM, (int)ret, get_name);
	out("%s", get_name);
}

int a_shmget(struct actor *a, key_t key, size_t size, int flags,
	     const char *name)
{
	struct get_arg arg = {key, flags, size};

	get_name = name;
	return (int)act(a, op_shmget, &arg, sizeof(arg), show_get,
			"shmget(%s, %zu, %s)", key_name(key), size,
			get_flags(flags));
}

/* ---- shmat, shmdt ---------------------------------------------------------*/

enum base { BASE_NUMBER, BASE_HOLE, BASE_REG };

struct at_arg {
	int id;
	int flags;
	int reg; /* for the result; shmdt: none */
	int base;
	int from;
	long offset;
};

static char *address(const struct at_arg *arg)
{
	if (arg->base == BASE_REG)
		return regs[arg->from] + arg->offset;
	if (arg->base == BASE_NUMBER)
		return (char *)(uintptr_t)arg->offset;
	if (!hole) {
		/* far from where whoever wants any address gets one */
		hole = mmap((void *)0x200000000000, HOLE_SIZE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (hole == MAP_FAILED)
			_exit(125);
		munmap(hole, HOLE_SIZE);
	}
	return hole + arg->offset;
}

/* The offset of where it was attached from where it was to be. */
static long op_shmat(void *blob, size_t len)
{
	struct at_arg *arg = blob;
	char *wanted = address(arg);
	char *got;

	(void)len;
	got = shmat(arg->id, wanted, arg->flags);
	if (got == (void *)-1)
		return -1;
	regs[arg->reg] = got;
	return wanted ? got - wanted : (long)((uintptr_t)got % PAGE);
}

static long op_shmdt(void *blob, size_t len)
{
	(void)len;
	return shmdt(address(blob));
}

static const char *shmat_flags(int flags)
{
	static const struct {
		int flag;
		const char *name;
	} table[] = {
		{SHM_RDONLY, "SHM_RDONLY"},
		{SHM_RND, "SHM_RND"},
		{SHM_REMAP, "SHM_REMAP"},
		{SHM_EXEC, "SHM_EXEC"},
	};
	static char text[80];
	size_t i;

	text[0] = 0;
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (!(flags & table[i].flag))
			continue;
		if (text[0])
			strcat(text, "|");
		strcat(text, table[i].name);
	}
	return text[0] ? text : "0";
}

static const char *address_text(const struct at_arg *arg)
{
	static char text[64];

	if (arg->base == BASE_NUMBER && arg->offset == 0)
		return "NULL";
	if (arg->base == BASE_NUMBER)
		snprintf(text, sizeof(text), "%#lx",
			 (unsigned long)arg->offset);
	else if (arg->base == BASE_HOLE)
		snprintf(text, sizeof(text), "hole%+ld", arg->offset);
	else
		snprintf(text, sizeof(text), "a%d%+ld", arg->from, arg->offset);
	return text;
}

static long run_shmat(struct actor *a, const struct at_arg *given)
{
	struct at_arg arg = *given;

	return act(a, op_shmat, &arg, sizeof(arg), NULL,
		   "a%d: shmat(%s, %s, %s)", arg.reg,
		   object_name(OBJECT_SHM, arg.id), address_text(&arg),
		   shmat_flags(arg.flags));
}

long a_shmat(struct actor *a, int id, int r, int flags)
{
	return a_shmat_number(a, id, r, 0, flags);
}

long a_shmat_hole(struct actor *a, int id, int r, long offset, int flags)
{
	struct at_arg arg = {.id = id,
			     .flags = flags,
			     .reg = r,
			     .base = BASE_HOLE,
			     .offset = offset};

	return run_shmat(a, &arg);
}

long a_shmat_over(struct actor *a, int id, int r, int from, long offset,
		  int flags)
{
	struct at_arg arg = {.id = id,
			     .flags = flags,
			     .reg = r,
			     .base = BASE_REG,
			     .from = from,
			     .offset = offset};

	return run_shmat(a, &arg);
}

long a_shmat_number(struct actor *a, int id, int r, unsigned long addr,
		    int flags)
{
	struct at_arg arg = {.id = id,
			     .flags = flags,
			     .reg = r,
			     .base = BASE_NUMBER,
			     .offset = (long)addr};

	return run_shmat(a, &arg);
}

static long run_shmdt(struct actor *a, const struct at_arg *given)
{
	struct at_arg arg = *given;

	return act(a, op_shmdt, &arg, sizeof(arg), NULL, "shmdt(%s)",
		   address_text(&arg));
}

long a_shmdt(struct actor *a, int r, long offset)
{
	struct at_arg arg = {.base = BASE_REG, .from = r, .offset = offset};

	return run_shmdt(a, &arg);
}

long a_shmdt_number(struct actor *a, unsigned long addr)
{
	struct at_arg arg = {.base = BASE_NUMBER, .offset = (long)addr};

	return run_shmdt(a, &arg);
}

/* ---- the memory -----------------------------------------------------------*/

struct run_arg {
	int64_t fn; /* as its distance from op_run, see internal.h */
	int reg;
	int to;
	long offset;
	size_t len;
	int number;
};

static long op_run(void *blob, size_t len)
{
	struct run_arg *arg = blob;
	mem_fn *fn = (mem_fn *)((intptr_t)op_run + (intptr_t)arg->fn);

	(void)len;
	return guarded(fn, regs[arg->reg] + arg->offset, arg->len);
}

long a_run(struct actor *a, mem_fn *fn, int r, long offset, size_t len,
	   const char *name)
{
	struct run_arg arg = {.fn = (intptr_t)fn - (intptr_t)op_run,
			      .reg = r,
			      .offset = offset,
			      .len = len};

	return act(a, op_run, &arg, sizeof(arg), show_result,
		   "%s(a%d%+ld, %zu)", name, r, offset, len);
}

static long peek(char *addr, size_t len)
{
	(void)len;
	return *(volatile unsigned char *)addr;
}

/* LEN carries the value. */
static long poke(char *addr, size_t len)
{
	*(volatile unsigned char *)addr = (unsigned char)len;
	return 0;
}

static long sum(char *addr, size_t len)
{
	volatile unsigned char *at = (volatile unsigned char *)addr;
	long total = 0;
	size_t i;

	for (i = 0; i < len; i++)
		total += at[i];
	return total;
}

long a_peek(struct actor *a, int r, long offset)
{
	return a_run(a, peek, r, offset, 1, "peek");
}

long a_poke(struct actor *a, int r, long offset, int value)
{
	return a_run(a, poke, r, offset, (size_t)value, "poke");
}

long a_sum(struct actor *a, int r, long offset, size_t nr)
{
	return a_run(a, sum, r, offset, nr, "sum");
}

/* ---- system calls on it ---------------------------------------------------*/

static long fn_munmap(char *addr, size_t len)
{
	return munmap(addr, len);
}

long a_munmap(struct actor *a, int r, long offset, size_t len)
{
	return a_run(a, fn_munmap, r, offset, len, "munmap");
}

static long op_number(void *blob, size_t len)
{
	struct run_arg *arg = blob;
	char *addr = regs[arg->reg] + arg->offset;

	(void)len;
	if (arg->fn == 'p')
		return mprotect(addr, arg->len, arg->number);
	return madvise(addr, arg->len, arg->number);
}

long a_mprotect(struct actor *a, int r, long offset, size_t len, int prot)
{
	struct run_arg arg = {.fn = 'p',
			      .reg = r,
			      .offset = offset,
			      .len = len,
			      .number = prot};

	return act(a, op_number, &arg, sizeof(arg), NULL,
		   "mprotect(a%d%+ld, %zu, %s%s%s)", r, offset, len,
		   prot & PROT_READ ? "r" : "-", prot & PROT_WRITE ? "w" : "-",
		   prot & PROT_EXEC ? "x" : "-");
}

long a_madvise(struct actor *a, int r, long offset, size_t len, int advice,
	       const char *name)
{
	struct run_arg arg = {.fn = 'a',
			      .reg = r,
			      .offset = offset,
			      .len = len,
			      .number = advice};

	return act(a, op_number, &arg, sizeof(arg), NULL,
		   "madvise(a%d%+ld, %zu, %s)", r, offset, len, name);
}

static long op_mremap(void *blob, size_t len)
{
	struct run_arg *arg = blob;
	char *addr = regs[arg->reg] + arg->offset;

	(void)len;
	addr = mremap(addr, arg->len, (size_t)arg->fn, MREMAP_MAYMOVE);
	if (addr == MAP_FAILED)
		return -1;
	regs[arg->to] = addr;
	return 0;
}

long a_mremap(struct actor *a, int r, long offset, size_t len, size_t new_len,
	      int to)
{
	struct run_arg arg = {.fn = (int64_t)new_len,
			      .reg = r,
			      .to = to,
			      .offset = offset,
			      .len = len};

	return act(a, op_mremap, &arg, sizeof(arg), NULL,
		   "a%d: mremap(a%d%+ld, %zu, %zu)", to, r, offset, len,
		   new_len);
}

static long fn_mmap_over(char *addr, size_t len)
{
	char *got = mmap(addr, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (got == MAP_FAILED)
		return -1;
	got[0] = 'm';
	return 0;
}

long a_mmap_over(struct actor *a, int r, long offset, size_t len)
{
	return a_run(a, fn_mmap_over, r, offset, len, "mmap over");
}

/* A file of LEN bytes 'f' that is gone when it is closed. */
static int scratch_file(size_t len)
{
	char path[] = "/tmp/conformance-XXXXXX";
	int fd = mkstemp(path);
	size_t i;

	if (fd < 0)
		return -1;
	unlink(path);
	for (i = 0; i < len; i++)
		if (write(fd, "f", 1) != 1)
			break;
	return fd;
}

static long fn_pread(char *addr, size_t len)
{
	int fd = scratch_file(len);
	ssize_t n = pread(fd, addr, len, 0);
	int saved = errno;

	close(fd);
	errno = saved;
	return n;
}

long a_pread(struct actor *a, int r, long offset, size_t len)
{
	return a_run(a, fn_pread, r, offset, len, "pread");
}

/* The sum of what arrived in the file. */
static long fn_pwrite(char *addr, size_t len)
{
	int fd = scratch_file(0);
	ssize_t n = pwrite(fd, addr, len, 0);
	long total = -1;
	int saved = errno;
	ssize_t i;
	unsigned char c;

	for (i = 0; i < n && pread(fd, &c, 1, i) == 1; i++)
		total += c;
	close(fd);
	errno = saved;
	return n < 0 ? -1 : total + 1;
}

long a_pwrite(struct actor *a, int r, long offset, size_t len)
{
	return a_run(a, fn_pwrite, r, offset, len, "sum of pwrite");
}

/* ---- shmctl ---------------------------------------------------------------*/

struct ctl_arg {
	int id;
	int cmd;
	bool wants_nattch;
	struct pointer pointer;
	struct shmid_ds ds;
};

static long op_shmctl(void *blob, size_t len)
{
	struct ctl_arg *arg = blob;
	struct shmid_ds *ds;
	long ret;
	int err;

	(void)len;
	ds = pointer_place(arg->pointer, &arg->ds, sizeof(arg->ds));
	ret = shmctl(arg->id, arg->cmd, ds);
	err = errno;
	pointer_fetch(arg->pointer, ds, &arg->ds, sizeof(arg->ds));
	errno = err;
	return ret == 0 && arg->wants_nattch ? (long)arg->ds.shm_nattch : ret;
}

static void show_stat(long ret, const void *blob, size_t len)
{
	const struct ctl_arg *arg = blob;
	const struct shmid_ds *ds = &arg->ds;
	const struct ipc_perm *perm = &ds->shm_perm;

	(void)len;
	out("%ld: %s %u:%u of %u:%u %#o size %zu nattch %lu cpid %s lpid %s "
	    "atime %s dtime %s ctime %s",
	    ret, key_name(perm->__key), perm->uid, perm->gid, perm->cuid,
	    perm->cgid, perm->mode, ds->shm_segsz, ds->shm_nattch,
	    pid_name(ds->shm_cpid), pid_name(ds->shm_lpid),
	    time_name(ds->shm_atime), time_name(ds->shm_dtime),
	    time_name(ds->shm_ctime));
}

static void show_use(long ret, const void *blob, size_t len)
{
	const struct ctl_arg *arg = blob;

	(void)len;
	out("%ld: nattch %lu lpid %s mode %#o", ret, arg->ds.shm_nattch,
	    pid_name(arg->ds.shm_lpid), arg->ds.shm_perm.mode);
}

static long run_shmctl(struct actor *a, struct ctl_arg *arg, show_fn *show,
		       const char *text)
{
	const char *where;

	arg->pointer = take_pointer(a);
	where = pointer_text(arg->pointer);
	return act(a, op_shmctl, arg, sizeof(*arg), show, "shmctl(%s, %s%s%s)",
		   object_name(OBJECT_SHM, arg->id), text, where ? ", " : "",
		   where ? where : "");
}

long a_shm_stat(struct actor *a, int id)
{
	struct ctl_arg arg = {.id = id, .cmd = IPC_STAT};

	return run_shmctl(a, &arg, show_stat, "IPC_STAT");
}

long a_shm_use(struct actor *a, int id)
{
	struct ctl_arg arg = {.id = id, .cmd = IPC_STAT};

	return run_shmctl(a, &arg, show_use, "IPC_STAT");
}

long a_nattch(struct actor *a, int id)
{
	struct ctl_arg arg = {.id = id, .cmd = IPC_STAT, .wants_nattch = true};

	return run_shmctl(a, &arg, NULL, "nattch");
}

long a_shm_set(struct actor *a, int id, uid_t uid, gid_t gid, int mode)
{
	struct ctl_arg arg = {.id = id, .cmd = IPC_SET};
	char text[80];

	arg.ds.shm_perm.uid = uid;
	arg.ds.shm_perm.gid = gid;
	arg.ds.shm_perm.mode = (unsigned short)mode;
	snprintf(text, sizeof(text), "IPC_SET %u:%u %#o", uid, gid,
		 (unsigned)mode);
	return run_shmctl(a, &arg, NULL, text);
}

long a_shmctl(struct actor *a, int id, int cmd, const char *cmd_name)
{
	struct ctl_arg arg = {.id = id, .cmd = cmd};

	return run_shmctl(a, &arg, NULL, cmd_name);
}

long a_shm_rm(struct actor *a, int id)
{
	return a_shmctl(a, id, IPC_RMID, "IPC_RMID");
}
