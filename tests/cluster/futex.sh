#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Futexes in a segment, waited for on all nodes: a lock, the order of wake-ups,
# what becomes of them when processes and nodes die. See
# tests/support/cluster.sh for the variables.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
trap 'cluster_down; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM
LIMIT=$((30 * DIPC_TEST_SLOW))

# job NODE ARGS...
job() {
	node=$1
	shift
	on "$node" timeout "$LIMIT" "$JOBS/job_futex" "$@"
}

# sleepers NODE KEY N NAME: in the background; returns when all N are queued.
sleepers() {
	rm -f "$WORK/$4"
	job "$1" "$2" sleep "$3" "$WORK/$4" >"$WORK/$4.out" 2>"$WORK/$4.err" &
	until [ -s "$WORK/$4" ]; do sleep 0.05; done
}

# Six processes on three nodes, one counter.
test_lock() {
	n=$(scaled 10000)
	pids=
	for node in 1 2 3 1 2 3; do
		job $node 0x3001 count "$n" &
		pids="$pids $!"
	done
	wait_all $pids
	job 2 0x3001 check $((6 * n))
	job 3 0x3001 remove
}

# First come first served, over nodes.
test_order() {
	job 1 0x3002 wake 1 0
	sleepers 2 0x3002 4 a
	a=$!
	sleepers 1 0x3002 3 b
	b=$!
	sleepers 3 0x3002 4 c
	c=$!
	job 3 0x3002 each 11
	wait_all $a $b $c
	seq 0 10 >"$WORK/want"
	cat "$WORK/a.out" "$WORK/b.out" "$WORK/c.out" | tee "$WORK/got"
	cmp "$WORK/want" "$WORK/got"
	job 1 0x3002 remove
}

test_wake_all() {
	job 3 0x3003 wake 1 0
	pids=
	for node in 1 2 3; do
		sleepers $node 0x3003 5 "all$node"
		pids="$pids $!"
	done
	job 2 0x3003 wake 2 2
	job 2 0x3003 wake 1000000 13
	wait_all $pids
	pids=
	for node in 1 2 3; do
		sleepers $node 0x3003 2 "move$node"
		pids="$pids $!"
	done
	job 1 0x3003 requeue 6
	wait_all $pids
	job 1 0x3003 remove
}

# 1,024 calls of a process are under way at most.
test_crowd() {
	job 1 0x3008 wake 1 0
	job 2 0x3008 crowd 1200
	job 1 0x3008 remove
}

# Timeouts, signals, the other operations, errno; at home and not.
test_ops() {
	job 2 0x3004 ops
	job 1 0x3004 ops
	job 1 0x3004 remove
}

# Waiters in the middle of the line are killed: the wake-ups go on to others.
test_waiters_killed() {
	job 1 0x3005 wake 1 0
	sleepers 2 0x3005 4 first
	first=$!
	sleepers 3 0x3005 4 killed
	sleepers 2 0x3005 4 last
	last=$!
	kill -9 "$(cat "$WORK/killed")"
	job 2 0x3005 wake 8 8
	wait_all $first $last
	job 2 0x3005 wake 8 0
	# the same, and one wake-up each
	sleepers 1 0x3005 2 killed2
	sleepers 3 0x3005 2 last2
	last=$!
	kill -9 "$(cat "$WORK/killed2")"
	job 1 0x3005 wake 1 1
	job 1 0x3005 wake 1 1
	wait_all $last
	job 1 0x3005 remove
}

# An engine dies with its waiters: the others are woken, all of them.
test_node_killed() {
	job 1 0x3006 wake 1 0
	sleepers 3 0x3006 3 gone
	sleepers 2 0x3006 3 left2
	left=$!
	sleepers 1 0x3006 3 left1
	left="$left $!"
	kill -9 "$(pgrep -P "$(cat "$CLUSTER/node3.pid")")"
	job 2 0x3006 wake 6 6
	wait_all $left
	job 1 0x3006 wake 6 0
	job 1 0x3006 remove
}

# The home dies: who waits looks, and meets SIGBUS.
test_home_killed() {
	job 4 0x3007 wake 1 0
	sleepers 1 0x3007 2 lost
	lost=$!
	kill -9 "$(pgrep -P "$(cat "$CLUSTER/node4.pid")")"
	status=0
	wait $lost || status=$?
	say "the process that waited ended with $status"
	[ "$status" -eq 135 ]
}

if ! cluster_up 4; then
	failed=$((failed + 1))
	summary
	exit 1
fi
for name in ${*:-lock order wake_all ops crowd waiters_killed node_killed home_killed}; do
	run_case "futex_$name" "test_$name"
done
summary
