/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mistakes in the page protocol and its pager, for tests that must find them.
 *
 *   1  an INVALIDATE is answered before the copy is dropped (INV-2)
 *   2  a writer forgets to invalidate the highest-numbered sharer (INV-4)
 *   3  a RECALL copies the page out without write-protecting it (INV-1)
 *   4  a page is dropped, and not write-protected after that (INV-7)
 *
 * Compiled in only where -DDIPC_SEEDED_BUG=n says so (tests/CMakeLists.txt);
 * in a product seeded_bug() is constant false and leaves no code behind.
 */
#ifndef DIPC_PROTOCOL_SEEDED_BUG_H
#define DIPC_PROTOCOL_SEEDED_BUG_H

#ifndef DIPC_SEEDED_BUG
#define DIPC_SEEDED_BUG 0
#endif

#define seeded_bug(n) (DIPC_SEEDED_BUG == (n))

#endif
