#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Process-shared pthread objects and POSIX semaphores in a segment: the same
# answers as libc's on a kernel segment, and the same guarantees on three nodes.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
trap 'cluster_down; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM

# a job that hangs is a failure, not a test that never ends
job() { # NODE MODE...
	node=$1
	shift
	on "$node" timeout $((60 * DIPC_TEST_SLOW)) "$JOBS/job_sync" 0x3001 "$@"
}

fresh() { # [PROCESSES]
	job 1 setup "$@"
}

gone() {
	job 2 remove
}

# one of each node's, all at once
everywhere() { # MODE...
	pids=
	for each in 1 2 3; do
		job $each "$@" &
		pids="$pids $!"
	done
	wait_all $pids
}

same() { # PROGRAM
	"$JOBS/$1" 0x3002 >"$WORK/kernel"
	on 1 timeout $((60 * DIPC_TEST_SLOW)) "$JOBS/$1" 0x3002 >"$WORK/dipc"
	[ -s "$WORK/kernel" ]
	diff "$WORK/kernel" "$WORK/dipc"
}

test_same_locks() {
	same job_samelock
}

test_same_waiting() {
	same job_samewait
}

exclusion() { # N KIND...
	n=$(scaled "$1")
	shift
	fresh
	for kind; do
		say "$kind"
		everywhere count "$kind" "$n"
		job 1 total $((3 * n))
	done
	gone
}

test_mutexes() {
	exclusion 10000 normal errorcheck recursive adaptive robust zero
}

test_other_locks() {
	exclusion 5000 c11 spin wrlock sem try
}

# one producer, two consumers, a buffer of eight
test_buffer() {
	n=$(scaled 10000)
	fresh
	pids=
	for each in 2 3; do
		job $each consume &
		pids="$pids $!"
	done
	job 1 produce "$n" & one=$!
	job 2 produce "$n" & two=$!
	wait_all $one $two
	job 1 stop 2
	wait_all $pids
	job 3 consumed 2 "$n"
	gone
}

test_semaphores() {
	n=$(scaled 5000)
	fresh
	job 2 take "$n" & taker=$!
	job 3 post "$n"
	wait_all $taker
	gone
}

test_barrier() {
	n=$(scaled 500)
	fresh 6
	pids=
	for me in 0 1 2 3 4 5; do
		job $((1 + me % 3)) meet $me "$n" &
		pids="$pids $!"
	done
	wait_all $pids
	gone
}

test_rwlock() {
	n=$(scaled 2000)
	fresh
	pids=
	for each in 1 2 3; do
		job $each read "$n" &
		pids="$pids $!"
		job $each write "$n" &
		pids="$pids $!"
	done
	wait_all $pids
	gone
}

# hold NODE: a process there has the robust mutex; its pid is in $WORK/held
hold() {
	rm -f "$WORK/held"
	job "$1" hold "$WORK/held" 2>/dev/null &
	holder=$!
	until [ -s "$WORK/held" ]; do sleep 0.05; done
}

kill_holder() {
	kill -9 "$(cat "$WORK/held")"
	wait $holder || true
}

# The owner is killed: the next one, on the same node and on another, is told.
test_owner_killed() {
	fresh
	for heir in 1 2; do
		hold 1
		job $heir inherit & waiter=$!
		sleep 0.3
		kill_holder
		wait_all $waiter
		hold 1
		kill_holder
		job $heir inherit
	done
	gone
}

# Many owners are killed, wherever in the protocol they are.
test_owners_killed_often() {
	fresh
	everywhere mend "$(scaled 3000)" & steady=$!
	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
		# not through timeout: the shell's child is to die itself
		env LD_PRELOAD="$BUILD/lib/libdipc-rdma.so" \
			DIPC_SOCKET="$CLUSTER/node$((1 + i % 3)).sock" \
			"$JOBS/job_sync" 0x3001 mend 1000000000 & victim=$!
		sleep 0.2
		kill -9 $victim
		wait $victim || true
	done
	wait_all $steady
	job 1 mend 1
	gone
}

# A waiter whose segment, or whose dipcd, is lost does not wait for ever.
test_home_killed() {
	fresh # lives on node 1
	hold 1
	job 2 inherit & waiter=$!
	sleep 0.5
	keeper=$(cat "$CLUSTER/node1.pid")
	kill -9 "$(pgrep -P "$keeper")"
	status=0
	wait $waiter || status=$?
	say "the waiter ended with $status"
	kill_holder
	[ $status -eq 135 ] # SIGBUS
}

test_not_recoverable() {
	fresh
	hold 1
	kill_holder
	job 2 spoil
	job 3 spoiled
	gone
}

# Waiters that are killed take a signal with them, but not for ever.
test_sleeper_killed() {
	fresh
	pids=
	for each in 1 2 3; do
		rm -f "$WORK/asleep"
		job $each sleep "$WORK/asleep" 2>/dev/null &
		pid=$!
		until [ -s "$WORK/asleep" ]; do sleep 0.05; done
		if [ $each -lt 3 ]; then
			victims="${victims:-} $(cat "$WORK/asleep")"
			killed="${killed:-} $pid"
		else
			survivor=$pid
		fi
	done
	sleep 0.3
	for pid in $victims; do kill -9 "$pid"; done
	job 1 wake
	wait_all $survivor
	for pid in $killed; do wait "$pid" || true; done
	gone
}

# The node of the owner dies: as for a process, once it is evicted. The page is
# on the waiter's node by then; had nobody waited, it would be lost.
test_owner_node_killed() {
	fresh
	hold 3
	job 1 inherit & waiter=$!
	sleep 1
	keeper=$(cat "$CLUSTER/node3.pid")
	engine=$(pgrep -P "$keeper")
	kill -9 "$keeper" "$engine"
	wait_all $waiter
	kill_holder
	job 2 count robust 10
	gone
}

if ! cluster_up 3; then
	failed=$((failed + 1))
	summary
	exit 1
fi
for name in ${*:-same_locks same_waiting mutexes other_locks buffer semaphores barrier rwlock owner_killed owners_killed_often not_recoverable sleeper_killed owner_node_killed home_killed}; do
	run_case "$name" "test_$name"
done
summary
