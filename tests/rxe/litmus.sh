#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Inside one guest (or on a host with RDMA): the litmus tests on real verbs.
# Usage: litmus.sh BUILD
set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$1
export BUILD TOP
export DIPC_TRANSPORT=verbs
export DIPC_TEST_SLOW="${DIPC_TEST_SLOW:-20}"
export LITMUS_ROUNDS="${LITMUS_ROUNDS:-320}"
exec sh "$TOP/tests/litmus/run.sh" held
