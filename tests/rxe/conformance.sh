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
# not here: what one node does alone (arguments, limits, addresses)
exec sh "$TOP/tests/conformance/run.sh" cred sem_get.everywhere sem_get.largest sem_op \
	sem_order sem_undo sem_perm sem_crash sem_thread.three_processes \
	msg_send msg_receive msg_perm msg_child random.sem_1 random.msg_1 \
	shm_get.raced shm_attach.many shm_attach.removed_while_attached \
	shm_ctl.fields shm_life shm_map
