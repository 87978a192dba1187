/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dipc.h - System V IPC whose keys mean the same on every node of a cluster.
 *
 * Add IPC_DIPC to the flags of shmget(2), semget(2) or msgget(2) and link
 * with -ldipc-rdma (or preload the library); every other call stays as it is.
 * See dipc(7).
 */
#ifndef DIPC_DIPC_H
#define DIPC_DIPC_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The bit that <linux/ipc.h> has reserved for DIPC since 1997. For shmget it
 * is also SHM_NORESERVE: an object asked for with that flag is distributed
 * while the node's daemon runs, unless dipc.conf says
 * "noreserve-is-dipc = no".
 */
#ifndef IPC_DIPC
#define IPC_DIPC 00010000
#endif

#ifdef __cplusplus
}
#endif

#endif
