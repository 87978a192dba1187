#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Inside one guest (or on a host with RDMA): dipc-bench on real verbs, all
# nodes on one device. Usage: bench.sh BUILD [ARGUMENT]..., by default the
# pages, in short rounds. Figures are for comparison within one boot.
set -u
BUILD=$1
shift
[ $# -gt 0 ] || set -- --rounds 3 --samples 100 'page.*_m*' 'page.up*' \
	'page.inv*' page.seq_read
export DIPC_TEST_SLOW="${DIPC_TEST_SLOW:-20}"
exec "$BUILD/bin/dipc-bench" --transport verbs "$@"
