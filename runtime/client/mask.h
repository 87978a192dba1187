/* SPDX-License-Identifier: BSD-2-Clause */
/* Keeping SIGBUS unblocked where faults come by it: mask.c. */
#ifndef DIPC_CLIENT_MASK_H
#define DIPC_CLIENT_MASK_H

struct sigaction;

/* ACT of SIG is on its way to the kernel: its mask as it should be. */
void dipc_mask_of_action(int sig, struct sigaction *act);

#endif
