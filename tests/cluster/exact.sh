#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What System V promises about semaphores and queues, where a node must know
# what happened on another.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
trap 'cluster_down; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM

at() { # NODE KEY WHAT [ARG...]
	node=$1
	shift
	on "$node" timeout $((20 * DIPC_TEST_SLOW)) "$JOBS/job_exact" "$@"
}

# A process id is told with its node, whoever completed the call.
test_pid_node() {
	at 2 0x2101 make
	at 1 0x2101 who creator 0 2
	at 1 0x2101 who last 0 2
	at 1 0x2101 who sender 0 0
	at 1 0x2101 who sem 0 0
	at 1 0x2101 who_errors
	at 3 0x2101 send
	at 1 0x2101 who sender 0 3
	at 1 0x2101 receive
	at 2 0x2101 who receiver 0 1
	at 3 0x2101 op 1 2 0
	at 1 0x2101 who sem 1 3
	# blocked here, completed by node 2
	at 1 0x2101 op 2 -1 0 &
	sleeper=$!
	at 3 0x2101 receive &
	receiver=$!
	sleep 1
	at 2 0x2101 op 2 1 0
	at 2 0x2101 send
	wait_all $sleeper $receiver
	at 3 0x2101 who sem 2 1
	at 1 0x2101 who receiver 0 3
	at 1 0x2101 who sender 0 2
	at 1 0x2101 destroy
}

cluster_up 3 >"$WORK/up.log" 2>&1 || {
	cat "$WORK/up.log"
	exit 1
}
for name in ${*:-pid_node}; do
	run_case "$name" "test_$name"
done
summary
