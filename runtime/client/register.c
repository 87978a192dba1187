/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that a program registers with a device or with io_uring is pinned: what
 * is written there later passes by the protocol, and the pages may be another
 * node's by then. In an attachment it is refused with EOPNOTSUPP, where it goes
 * through liburing or libibverbs. Their types are theirs; we need none of them.
 */
#include "runtime/client/client.h"

#include <errno.h>
#include <sys/uio.h>

#include "runtime/client/copy.h"
#include "runtime/client/next.h"
#include "runtime/client/range.h"

struct ibv_pd;
struct ibv_mr;
struct io_uring;

DIPC_EXPORT struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t len,
				      int access);
DIPC_EXPORT struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr,
					   size_t len, uint64_t iova,
					   int access);
DIPC_EXPORT struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr,
					    size_t len, uint64_t iova,
					    unsigned int access);
DIPC_EXPORT int io_uring_register_buffers(struct io_uring *ring,
					  const struct iovec *iov, unsigned nr);
DIPC_EXPORT int io_uring_register_buffers_tags(struct io_uring *ring,
					       const struct iovec *iov,
					       const uint64_t *tags,
					       unsigned nr);

static struct ibv_mr *reg_refused(int error)
{
	errno = error;
	return NULL;
}

DIPC_EXPORT struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t len,
				      int access)
{
	static struct dipc_next next = {.name = "ibv_reg_mr",
					.library = "libibverbs.so.1"};
	__typeof__(&ibv_reg_mr) fn = DIPC_NEXT(&next, __typeof__(&ibv_reg_mr));

	if (dipc_range_overlaps(addr, len))
		return reg_refused(EOPNOTSUPP);
	return fn ? fn(pd, addr, len, access) : reg_refused(ENOSYS);
}

DIPC_EXPORT struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr,
					   size_t len, uint64_t iova,
					   int access)
{
	static struct dipc_next next = {.name = "ibv_reg_mr_iova",
					.library = "libibverbs.so.1"};
	__typeof__(&ibv_reg_mr_iova) fn =
		DIPC_NEXT(&next, __typeof__(&ibv_reg_mr_iova));

	if (dipc_range_overlaps(addr, len))
		return reg_refused(EOPNOTSUPP);
	return fn ? fn(pd, addr, len, iova, access) : reg_refused(ENOSYS);
}

DIPC_EXPORT struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr,
					    size_t len, uint64_t iova,
					    unsigned int access)
{
	static struct dipc_next next = {.name = "ibv_reg_mr_iova2",
					.library = "libibverbs.so.1"};
	__typeof__(&ibv_reg_mr_iova2) fn =
		DIPC_NEXT(&next, __typeof__(&ibv_reg_mr_iova2));

	if (dipc_range_overlaps(addr, len))
		return reg_refused(EOPNOTSUPP);
	return fn ? fn(pd, addr, len, iova, access) : reg_refused(ENOSYS);
}

static bool any_is_ours(const struct iovec *iov, unsigned nr)
{
	struct iovec part;
	unsigned i;

	for (i = 0; dipc_range_any() && i < nr; i++)
		if (dipc_copy_in(&part, &iov[i], sizeof(part)) == 0 &&
		    dipc_range_overlaps(part.iov_base, part.iov_len))
			return true;
	return false;
}

DIPC_EXPORT int io_uring_register_buffers(struct io_uring *ring,
					  const struct iovec *iov, unsigned nr)
{
	static struct dipc_next next = {.name = "io_uring_register_buffers",
					.library = "liburing.so.2"};
	__typeof__(&io_uring_register_buffers) fn =
		DIPC_NEXT(&next, __typeof__(&io_uring_register_buffers));

	if (any_is_ours(iov, nr))
		return -EOPNOTSUPP;
	return fn ? fn(ring, iov, nr) : -ENOSYS;
}

DIPC_EXPORT int io_uring_register_buffers_tags(struct io_uring *ring,
					       const struct iovec *iov,
					       const uint64_t *tags,
					       unsigned nr)
{
	static struct dipc_next next = {
		.name = "io_uring_register_buffers_tags",
		.library = "liburing.so.2"};
	__typeof__(&io_uring_register_buffers_tags) fn =
		DIPC_NEXT(&next, __typeof__(&io_uring_register_buffers_tags));

	if (any_is_ours(iov, nr))
		return -EOPNOTSUPP;
	return fn ? fn(ring, iov, tags, nr) : -ENOSYS;
}
