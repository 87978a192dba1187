/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Handlers of the program are entered through us, so that a blocked call is
 * withdrawn before they run. See signal.c.
 */
#ifndef DIPC_CLIENT_SIGNAL_H
#define DIPC_CLIENT_SIGNAL_H

/* Stubs in signal_entry.S, of 16 bytes each. */
#define DIPC_SIGNAL_STUBS      512
#define DIPC_SIGNAL_STUB_SHIFT 4

#ifndef __ASSEMBLER__
#include <stdint.h>

extern const char dipc_signal_stubs[];

/* A handler is about to run: the handler behind stub number INDEX. */
uintptr_t dipc_signal_enter(uint32_t index);
struct sigaction;

/* sigaction() past us: ACT is the kernel's as it is; OLD the program's. 0 or
   -errno. */
int dipc_signal_real(int sig, const struct sigaction *act,
		     struct sigaction *old);
/* End this thread's call, if it is in one (slot.c). Leaves errno alone. */
void dipc_slot_signalled(void);
#endif

#endif
