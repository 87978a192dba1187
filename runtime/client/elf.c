/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/elf.h"

#include <elf.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/sys.h"
#include "runtime/client/guard.h"

#define PAGE_SIZE 4096u

/* The symbol version's number is in the low bits of a versym entry. */
#define VERSYM_HIDDEN 0x8000u /* not the default version of its name */

struct object {
	uintptr_t base;
	uintptr_t start, end;
	uintptr_t relro, relro_end; /* read-only after relocation */
	const Elf64_Sym *symbols;
	const char *strings;
	const uint32_t *hash; /* DT_GNU_HASH; objects without are passed over */
	const uint16_t *versions;
	const Elf64_Rela *rela, *plt;
	size_t nr_rela, nr_plt;
	const char *soname;
};

/* ---- one object --------------------------------------------------------- */

/* ld.so has relocated the pointers of most objects, but not the vDSO's. */
static uintptr_t object_at(const struct object *o, const Elf64_Dyn *d)
{
	return d->d_un.d_ptr < o->base ? o->base + d->d_un.d_ptr
				       : d->d_un.d_ptr;
}

static void object_dynamic(struct object *o, const Elf64_Dyn *d)
{
	size_t soname = 0;

	for (; d->d_tag != DT_NULL; d++) {
		const void *at = (const void *)object_at(o, d);

		if (d->d_tag == DT_SYMTAB)
			o->symbols = at;
		else if (d->d_tag == DT_STRTAB)
			o->strings = at;
		else if (d->d_tag == DT_GNU_HASH)
			o->hash = at;
		else if (d->d_tag == DT_VERSYM)
			o->versions = at;
		else if (d->d_tag == DT_RELA)
			o->rela = at;
		else if (d->d_tag == DT_RELASZ)
			o->nr_rela = d->d_un.d_val / sizeof(Elf64_Rela);
		else if (d->d_tag == DT_JMPREL)
			o->plt = at;
		else if (d->d_tag == DT_PLTRELSZ)
			o->nr_plt = d->d_un.d_val / sizeof(Elf64_Rela);
		else if (d->d_tag == DT_SONAME)
			soname = d->d_un.d_val;
	}
	if (soname && o->strings)
		o->soname = o->strings + soname;
}

static void object_read(struct object *o, const struct dl_phdr_info *info)
{
	const Elf64_Dyn *dynamic = NULL;
	unsigned i;

	*o = (struct object){0};
	o->base = info->dlpi_addr;
	o->start = UINTPTR_MAX;
	for (i = 0; i < info->dlpi_phnum; i++) {
		const Elf64_Phdr *p = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + p->p_vaddr;

		if (p->p_type == PT_LOAD) {
			if (at < o->start)
				o->start = at;
			if (at + p->p_memsz > o->end)
				o->end = at + p->p_memsz;
		} else if (p->p_type == PT_DYNAMIC) {
			dynamic = (const Elf64_Dyn *)at;
		} else if (p->p_type == PT_GNU_RELRO) {
			o->relro = at;
			o->relro_end = at + p->p_memsz;
		}
	}
	if (dynamic)
		object_dynamic(o, dynamic);
}

static bool object_has(const struct object *o, const void *addr)
{
	return (uintptr_t)addr >= o->start && (uintptr_t)addr < o->end;
}

static uint32_t name_hash(const char *name)
{
	uint32_t h = 5381;

	for (; *name; name++)
		h = h * 33 + (unsigned char)*name;
	return h;
}

/*
 * Not strcmp: a sanitizer that stands in front of it asks for its address here,
 * and has it only afterwards.
 */
static bool names_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* Is symbol I of O the function NAME, in its default version? */
static bool symbol_is(const struct object *o, uint32_t i, const char *name)
{
	const Elf64_Sym *s = &o->symbols[i];

	return s->st_shndx != SHN_UNDEF && s->st_value &&
	       ELF64_ST_TYPE(s->st_info) == STT_FUNC &&
	       !(o->versions && o->versions[i] & VERSYM_HIDDEN) &&
	       names_equal(o->strings + s->st_name, name);
}

static void *object_find(const struct object *o, const char *name)
{
	uint32_t nr_buckets, first, words, h, i;
	const uint32_t *buckets, *chain;

	if (!o->hash || !o->symbols || !o->strings)
		return NULL;
	nr_buckets = o->hash[0];
	first = o->hash[1];
	words = o->hash[2]; /* of the filter, 8 bytes each */
	buckets = o->hash + 4 + 2 * words;
	chain = buckets + nr_buckets;
	h = name_hash(name);
	i = nr_buckets ? buckets[h % nr_buckets] : 0;
	if (i < first)
		return NULL;
	for (;; i++) {
		if ((chain[i - first] | 1) == (h | 1) && symbol_is(o, i, name))
			return (void *)(o->base + o->symbols[i].st_value);
		if (chain[i - first] & 1)
			return NULL;
	}
}

/* ---- ourselves and libc, which stay where they are ---------------------- */

static struct object us, libc;
static struct dipc_once known_once = DIPC_ONCE_INIT;

static int known_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct object o;

	(void)size;
	(void)arg;
	object_read(&o, info);
	if (object_has(&o, (const void *)dipc_elf_own))
		us = o;
	else if (o.soname && names_equal(o.soname, "libc.so.6"))
		libc = o;
	return 0;
}

static void known_find(void)
{
	dl_iterate_phdr(known_object, NULL);
}

void *dipc_elf_own(const char *name)
{
	dipc_once(&known_once, known_find);
	return object_find(&us, name);
}

bool dipc_elf_is_libc(const void *addr)
{
	dipc_once(&known_once, known_find);
	return object_has(&libc, addr);
}

/* ---- all of them -------------------------------------------------------- */

struct search {
	const char *name;
	const void *addr;
	bool is_past_us;
	void *next;
	bool is_behind;
};

static int search_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct search *s = arg;
	struct object o;
	void *found;

	(void)size;
	object_read(&o, info);
	if (o.start == us.start) {
		s->is_past_us = true;
		return 0;
	}
	if (!s->is_past_us)
		return 0;
	found = object_find(&o, s->name);
	if (found && !s->next)
		s->next = found;
	if (found && o.start != libc.start && object_has(&o, s->addr))
		s->is_behind = true;
	return 0;
}

void *dipc_elf_next(const char *name)
{
	struct search s = {.name = name};

	dipc_once(&known_once, known_find);
	dl_iterate_phdr(search_object, &s);
	return s.next ? s.next : object_find(&libc, name);
}

bool dipc_elf_is_behind(const void *addr, const char *name)
{
	struct search s = {.name = name, .addr = addr};

	dipc_once(&known_once, known_find);
	dl_iterate_phdr(search_object, &s);
	return s.is_behind;
}

/* ---- binding anew ------------------------------------------------------- */

struct rebind {
	struct dipc_elf_count since;
	unsigned long long index;
};

static void slot_write(const struct object *o, void **slot, void *value)
{
	uintptr_t page = (uintptr_t)slot & ~(uintptr_t)(PAGE_SIZE - 1);
	bool is_relro =
		(uintptr_t)slot >= o->relro && (uintptr_t)slot < o->relro_end;

	if (is_relro &&
	    dipc_sys_mprotect((void *)page, PAGE_SIZE, PROT_READ | PROT_WRITE))
		return;
	__atomic_store_n(slot, value, __ATOMIC_RELEASE);
	if (is_relro)
		dipc_sys_mprotect((void *)page, PAGE_SIZE, PROT_READ);
}

static void rebind_table(const struct object *o, const Elf64_Rela *rela,
			 size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++) {
		uint64_t type = ELF64_R_TYPE(rela[i].r_info);
		const Elf64_Sym *s = &o->symbols[ELF64_R_SYM(rela[i].r_info)];
		void **slot = (void **)(o->base + rela[i].r_offset);
		void *now, *own;

		if ((type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT &&
		     type != R_X86_64_64) ||
		    s->st_shndx != SHN_UNDEF)
			continue;
		own = object_find(&us, o->strings + s->st_name);
		if (!own)
			continue;
		now = *slot;
		/* libc's, or still the way to the loader */
		if (object_has(&libc, now) ||
		    (type == R_X86_64_JUMP_SLOT && object_has(o, now)))
			slot_write(o, slot, own);
	}
}

static int rebind_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct rebind *r = arg;
	struct object o;

	(void)size;
	/* what was closed since left a gap: then from the first one on */
	if (r->index++ < r->since.loaded && info->dlpi_subs == r->since.closed)
		return 0;
	object_read(&o, info);
	if (o.start == us.start || o.start == libc.start || !o.symbols ||
	    !o.strings)
		return 0;
	rebind_table(&o, o.rela, o.nr_rela);
	rebind_table(&o, o.plt, o.nr_plt);
	return 0;
}

void dipc_elf_rebind(const struct dipc_elf_count *count)
{
	struct rebind r = {.since = *count};

	dipc_once(&known_once, known_find);
	dl_iterate_phdr(rebind_object, &r);
}

static int count_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct dipc_elf_count *count = arg;

	(void)size;
	count->loaded++;
	count->closed = info->dlpi_subs;
	return 0;
}

void dipc_elf_count(struct dipc_elf_count *count_out)
{
	count_out->loaded = 0;
	dl_iterate_phdr(count_object, count_out);
}
