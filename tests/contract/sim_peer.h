/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The back end `sim` has one process and its own time: a peer "process" is an
 * actor, a fiber that goes on whenever this side polls, and time passes while
 * somebody polls. Nothing here is used for other back ends.
 */
#ifndef DIPC_TESTS_CONTRACT_SIM_PEER_H
#define DIPC_TESTS_CONTRACT_SIM_PEER_H

#include "harness.h"

/* A new world for each test. */
void ct_sim_setup(void);
/* Every node of this side is destroyed by now. */
void ct_sim_teardown(void);
uint64_t ct_sim_now_ms(void);
/* The nodes of whoever runs: MAINS, or the actor's own. */
struct dipc_list *ct_sim_nodes(struct dipc_list *mains);
/* Let the others go on; called after own nodes were polled. */
void ct_sim_pass(void);
/* Time passes though nobody polls. */
void ct_sim_step(void);
/* An actor does nothing for US microseconds. */
void ct_sim_pause(unsigned us);

pid_t ct_sim_spawn(const char *role, unsigned arg, const char *address);
/* SIGKILL, SIGSTOP, SIGCONT. */
void ct_sim_signal(pid_t pid, int sig);
bool ct_sim_has_ended(pid_t pid);

#endif
