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
	"$DIPC" ls --dir "$CLUSTER" -v | grep -E 'sent by pid [0-9]+@2, received by pid [0-9]+@3'
	at 1 0x2101 destroy
}

await() {
	tries=0
	until [ -e "$1" ]; do
		tries=$((tries + 1))
		[ $tries -lt $((200 * DIPC_TEST_SLOW)) ] || return 1
		sleep 0.05
	done
}

# SETVAL takes SEM_UNDO off processes of other nodes.
test_setval_clears() {
	at 2 0x2102 make
	at 1 0x2102 hold "$WORK/one" 0 5 &
	one=$!
	at 3 0x2102 hold "$WORK/three" 1 6 &
	three=$!
	await "$WORK/one"
	await "$WORK/three"
	at 2 0x2102 set 0 50
	at 2 0x2102 is 1 6
	: >"$WORK/one.go"
	: >"$WORK/three.go"
	wait_all $one $three
	at 2 0x2102 is 0 50
	at 2 0x2102 is 1 0
	at 2 0x2102 destroy
}

# ... and who was of a node that is gone keeps nobody waiting.
test_setval_after_death() {
	at 1 0x2103 make
	at 3 0x2103 hold "$WORK/dead" 0 5 &
	dead=$!
	await "$WORK/dead"
	keeper=$(cat "$CLUSTER/node3.pid")
	kill -9 "$(pgrep -P "$keeper")"
	at 1 0x2103 set 0 50
	at 2 0x2103 is 0 50
	: >"$WORK/dead.go"
	wait $dead || true # it lost its dipcd
	at 1 0x2103 is 0 50
	at 1 0x2103 destroy
}

# A new mode holds everywhere when IPC_SET returns.
test_ipc_set_at_once() {
	chmod 777 "$WORK"
	at 1 0x2104 make
	at 3 0x2104 shut_out "$WORK/allowed" &
	other=$!
	await "$WORK/allowed"
	at 2 0x2104 mode 0600
	: >"$WORK/allowed.go"
	wait $other
	at 1 0x2104 destroy
}

# What a process is to undo is undone when its parent has waited for it.
test_undo_before_wait() {
	at 2 0x2105 make
	at 2 0x2105 children 60
	at 2 0x2105 keeps_undo
	at 2 0x2105 destroy
}

cluster_up 3 >"$WORK/up.log" 2>&1 || {
	cat "$WORK/up.log"
	exit 1
}
for name in ${*:-pid_node setval_clears ipc_set_at_once undo_before_wait setval_after_death}; do
	run_case "$name" "test_$name"
done
summary
