/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ways round an interposed symbol that go through libc: by number
 * (syscall), by address (dlsym, dlvsym), by a library that is bound to libc
 * before any preload (dlopen with RTLD_DEEPBIND).
 *
 * The real dlopen and dlsym look at who calls them: RUNPATH, $ORIGIN, the
 * namespace, RTLD_NEXT. And syscall has six arguments and may be anything. So
 * what is exported is a few instructions that keep all registers, ask a route
 * function where to go, and jump there: the callee never knows that we were
 * here.
 */
#include "runtime/client/door.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/client/elf.h"
#include "runtime/client/guard.h"

/* What the entry has pushed, lowest address first. A route may change it. */
struct door_regs {
	uint64_t r9, r8, rcx, rdx, rsi, rdi, rax;
	const void *caller;
};

#define DOOR(name, route)                                                      \
	__asm__(".text\n\t.p2align 4\n\t"                                      \
		".globl " #name "\n\t.type " #name ",@function\n" #name        \
		":\n\t.cfi_startproc\n\tendbr64\n\t"                           \
		"push %rax\n\tpush %rdi\n\tpush %rsi\n\tpush %rdx\n\t"         \
		"push %rcx\n\tpush %r8\n\tpush %r9\n\t"                        \
		".cfi_adjust_cfa_offset 56\n\t"                                \
		"mov %rsp,%rdi\n\tcall " #route "\n\tmov %rax,%r11\n\t"        \
		"pop %r9\n\tpop %r8\n\tpop %rcx\n\t"                           \
		"pop %rdx\n\tpop %rsi\n\tpop %rdi\n\tpop %rax\n\t"             \
		".cfi_adjust_cfa_offset -56\n\t"                               \
		"jmp *%r11\n\t.cfi_endproc\n\t.size " #name ",.-" #name)

/* Called from assembler only, with the stack aligned. */
#define ROUTE __attribute__((used, visibility("hidden")))

typedef void *(*dlsym_fn)(void *, const char *);
typedef void *(*dlvsym_fn)(void *, const char *, const char *);

static struct {
	void *dlopen, *syscall;
	dlsym_fn dlsym;
	dlvsym_fn dlvsym;
} real;
static struct dipc_once real_once = DIPC_ONCE_INIT;

static void real_find(void)
{
	real.dlopen = dipc_elf_next("dlopen");
	real.syscall = dipc_elf_next("syscall");
	*(void **)&real.dlsym = dipc_elf_next("dlsym");
	*(void **)&real.dlvsym = dipc_elf_next("dlvsym");
}

/* ---- RTLD_DEEPBIND ------------------------------------------------------ */

/*
 * Such a library finds libc's functions before ours. It is bound to ours
 * afterwards, when the program asks for the first address in it: a library
 * opened so has no other way of being called, but for its constructors.
 */
static struct dipc_lock deep_lock;
static struct dipc_elf_count deep_since; /* guarded by deep_lock */
static _Atomic bool is_deep_pending;

/* The loader's lock is never asked for with ours. */
static void deep_note(void)
{
	struct dipc_elf_count now;

	dipc_elf_count(&now);
	dipc_lock_take(&deep_lock);
	if (!atomic_load_explicit(&is_deep_pending, memory_order_relaxed))
		deep_since = now;
	atomic_store_explicit(&is_deep_pending, true, memory_order_release);
	dipc_lock_give(&deep_lock);
}

static void deep_bind(void)
{
	struct dipc_elf_count since;
	bool is_pending;

	if (!atomic_load_explicit(&is_deep_pending, memory_order_acquire))
		return;
	dipc_lock_take(&deep_lock);
	since = deep_since;
	is_pending = atomic_exchange_explicit(&is_deep_pending, false,
					      memory_order_relaxed);
	dipc_lock_give(&deep_lock);
	if (is_pending)
		dipc_elf_rebind(&since);
}

void *dipc_door_dlopen(struct door_regs *regs) ROUTE;
void *dipc_door_dlopen(struct door_regs *regs)
{
	dipc_once(&real_once, real_find);
	deep_bind();
	if (regs->rsi & RTLD_DEEPBIND)
		deep_note();
	return real.dlopen;
}

DOOR(dlopen, dipc_door_dlopen);

/* ---- addresses ---------------------------------------------------------- */

/*
 * libc's own becomes ours, but not for another preload behind us, which wants
 * what is behind it.
 */
static void *ours_for(void *found, const char *name, const void *caller)
{
	if (!found || !dipc_elf_is_libc(found) ||
	    dipc_elf_is_behind(caller, name))
		return found;
	return dipc_elf_own(name);
}

static void *dlsym_ours(void *handle, const char *name, const void *caller)
{
	return ours_for(real.dlsym(handle, name), name, caller);
}

static void *dlvsym_ours(void *handle, const char *name, const char *version,
			 const void *caller)
{
	return ours_for(real.dlvsym(handle, name, version), name, caller);
}

/* RTLD_NEXT is asked by interposers, who have their place in the order. */
static bool is_about_ours(const struct door_regs *regs)
{
	return (void *)regs->rdi != RTLD_NEXT && regs->rsi &&
	       dipc_elf_own((const char *)regs->rsi);
}

void *dipc_door_dlsym(struct door_regs *regs) ROUTE;
void *dipc_door_dlsym(struct door_regs *regs)
{
	dipc_once(&real_once, real_find);
	deep_bind();
	if (!is_about_ours(regs))
		return (void *)real.dlsym;
	regs->rdx = (uintptr_t)regs->caller;
	return (void *)dlsym_ours;
}

DOOR(dlsym, dipc_door_dlsym);

void *dipc_door_dlvsym(struct door_regs *regs) ROUTE;
void *dipc_door_dlvsym(struct door_regs *regs)
{
	dipc_once(&real_once, real_find);
	deep_bind();
	if (!is_about_ours(regs))
		return (void *)real.dlvsym;
	regs->rcx = (uintptr_t)regs->caller;
	return (void *)dlvsym_ours;
}

DOOR(dlvsym, dipc_door_dlvsym);

/* ---- numbers ------------------------------------------------------------ */

void *dipc_door_syscall(struct door_regs *regs) ROUTE;
void *dipc_door_syscall(struct door_regs *regs)
{
	if (dipc_call_is_ours((long)regs->rdi, regs->rsi, regs->rdx))
		return (void *)dipc_call_by_number;
	dipc_once(&real_once, real_find);
	return real.syscall;
}

DOOR(syscall, dipc_door_syscall);
