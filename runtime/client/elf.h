/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loaded objects' symbols and relocations, read where they are. dlsym()
 * cannot be asked: it is one of the calls that we stand in front of, and others
 * may stand there too.
 *
 * Takes the loader's lock, which a thread in dlopen() may hold: no signal
 * handlers. Nothing is allocated.
 */
#ifndef DIPC_CLIENT_ELF_H
#define DIPC_CLIENT_ELF_H

#include <stdbool.h>

/*
 * The function NAME that comes after ours in the order of search, or libc's if
 * none does (we were loaded late); NULL: there is none.
 */
void *dipc_elf_next(const char *name);
/* What we export as NAME, or NULL. */
void *dipc_elf_own(const char *name);
/* Is ADDR in libc? */
bool dipc_elf_is_libc(const void *addr);
/*
 * Does the object that ADDR is in stand in front of NAME too, behind us? What
 * it finds has to be the next one, or it would call itself.
 */
bool dipc_elf_is_behind(const void *addr, const char *name);

/* How many objects are loaded, for dipc_elf_rebind(); with closed ones. */
struct dipc_elf_count {
	unsigned long long loaded, closed;
};
void dipc_elf_count(struct dipc_elf_count *count_out);
/*
 * In objects that were loaded after COUNT was taken: what is bound to a
 * function of libc's that we export, or not bound yet, is bound to ours.
 */
void dipc_elf_rebind(const struct dipc_elf_count *count);

#endif
