/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/node/uffd.h"

#include <errno.h>
#include <sys/ioctl.h>

#include "runtime/protocol/pager.h"

#ifndef UFFDIO_POISON
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON _IOWR(0xAA, 0x08, struct uffdio_poison)
#endif

/* Page aligned, above any mmap_min_addr, and nothing registered is there. */
#define PROBE_ADDR 0x10000u

static int uffd_ioctl(int uffd, unsigned long request, void *arg)
{
	return ioctl(uffd, request, arg) ? -errno : 0;
}

int dipc_uffd_api(int uffd, uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};

	return uffd_ioctl(uffd, UFFDIO_API, &api);
}

int dipc_uffd_register(int uffd, uint64_t addr, uint64_t len, bool wp)
{
	struct uffdio_register reg = {.range = {addr, len},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};

	if (wp)
		reg.mode |= UFFDIO_REGISTER_MODE_WP;
	return uffd_ioctl(uffd, UFFDIO_REGISTER, &reg);
}

int dipc_uffd_register_protect(int uffd, uint64_t addr, uint64_t len)
{
	struct uffdio_register reg = {.range = {addr, len},
				      .mode = UFFDIO_REGISTER_MODE_WP};

	return uffd_ioctl(uffd, UFFDIO_REGISTER, &reg);
}

int dipc_uffd_unregister(int uffd, uint64_t addr, uint64_t len)
{
	struct uffdio_range range = {addr, len};

	return uffd_ioctl(uffd, UFFDIO_UNREGISTER, &range);
}

int dipc_uffd_copy(int uffd, uint64_t addr, uint64_t len, const void *src,
		   bool wp)
{
	struct uffdio_copy copy = {.dst = addr,
				   .src = (uintptr_t)src,
				   .len = len,
				   .mode = wp ? UFFDIO_COPY_MODE_WP : 0};
	int ret = uffd_ioctl(uffd, UFFDIO_COPY, &copy);

	/* cut short it says EAGAIN, whatever the cause */
	return copy.copy > 0 ? (int)copy.copy : ret;
}

int dipc_uffd_protect(int uffd, uint64_t addr, uint64_t len)
{
	struct uffdio_writeprotect wp = {.range = {addr, len},
					 .mode = UFFDIO_WRITEPROTECT_MODE_WP};

	return uffd_ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

int dipc_uffd_unprotect(int uffd, uint64_t addr, uint64_t len)
{
	struct uffdio_writeprotect wp = {.range = {addr, len}};

	return uffd_ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

int dipc_uffd_wake(int uffd, uint64_t addr, uint64_t len)
{
	struct uffdio_range range = {addr, len};

	return uffd_ioctl(uffd, UFFDIO_WAKE, &range);
}

int dipc_uffd_poison(int uffd, uint64_t addr, uint64_t len)
{
	struct uffdio_poison poison = {.range = {addr, len}};

	return uffd_ioctl(uffd, UFFDIO_POISON, &poison);
}

int dipc_uffd_probe(int uffd)
{
	int ret = dipc_uffd_protect(uffd, PROBE_ADDR, DIPC_PAGE_SIZE);

	return ret == -ESRCH ? ret : 0;
}
