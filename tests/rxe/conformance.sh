#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Inside one guest (or on a host with RDMA): the conformance cases in which
# nodes meet, on three nodes over real verbs. Usage: conformance.sh BUILD
set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$1
export BUILD TOP
export DIPC_TRANSPORT=verbs
export DIPC_TEST_SLOW="${DIPC_TEST_SLOW:-20}"
# Not here: what one node does alone (arguments, limits, addresses), and what
# differs only in detail from a case that is: an emulated guest is slow. All of
# it: tests/conformance/run.sh without a word.
exec sh "$TOP/tests/conformance/run.sh" cred.user sem_get.largest \
	sem_op.wait_and_wake sem_op.all_or_nothing sem_op.wait_for_zero \
	sem_op.many sem_op.counts sem_order.amounts sem_order.chain \
	sem_order.zero_passes sem_undo.at_kill sem_undo.at_exec \
	sem_undo.setval_clears sem_undo.clamped sem_undo.done_while_asleep \
	sem_perm.owner sem_perm.mode_at_once sem_crash \
	sem_thread.three_processes msg_send.sender_waits \
	msg_send.two_senders msg_send.removed msg_receive.waits \
	msg_receive.several msg_receive.removed msg_receive.copies \
	msg_perm.mode_at_once random.sem_1 random.msg_1 shm_get.raced \
	shm_attach.many shm_attach.removed_while_attached shm_ctl.fields \
	shm_life shm_map.protection shm_map.something_else_over_it \
	shm_map.moving shm_map.removing_pages shm_map.buffers \
	shm_map.reached_into shm_map.large
