/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The real pager: one memfd a segment, mapped by the clients, never by dipcd,
 * which touches it by pread, pwrite and UFFDIO_COPY only.
 */
#ifndef DIPC_NODE_PAGER_UFFD_H
#define DIPC_NODE_PAGER_UFFD_H

#include "runtime/node/space.h"
#include "runtime/protocol/pages.h"

/*
 * A memfd (mode 0600) of SEG's size, all holes; the keeper is told (its id:
 * dipc_segment_id). Fit to be dipc_pages_events.pager_create's whole body.
 * 0 or -errno.
 */
int dipc_pager_uffd_create(struct dipc_spaces *spaces, struct dipc_segment *seg,
			   struct dipc_pager **pager_out);
/* Nothing maps it any more. Takes NULL. */
void dipc_pager_uffd_destroy(struct dipc_pager *pager);
/*
 * What a client maps: MAP_SHARED, or, read-only, MAP_PRIVATE | PROT_READ of a
 * descriptor that cannot be made writable. The pager's, do not close.
 */
int dipc_pager_uffd_fd(const struct dipc_pager *pager, bool is_readonly);
/* Pages in the memfd: what st_blocks says. For audits. */
uint64_t dipc_pager_uffd_resident(const struct dipc_pager *pager);

/*
 * What a home's chunks may take: memory available on this machine, in
 * bytes, and in the cgroup if that is less.
 */
uint64_t dipc_memory_available(void);

#endif
