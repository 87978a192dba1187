#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# DIPC_FAULTS=signal: threads ask for their pages in a SIGBUS handler. See
# tests/support/cluster.sh for the variables.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
trap 'cluster_down; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM

# job NODE KEY WHAT: in the one mode, or in the other.
job() {
	on "$1" env DIPC_FAULTS=signal timeout $((30 * DIPC_TEST_SLOW)) \
		"$JOBS/job_bysignal" "$2" "$3"
}

plainly() {
	on "$1" timeout $((30 * DIPC_TEST_SLOW)) "$JOBS/job_bysignal" "$2" "$3"
}

# The program's own handlers, before us and after us.
test_handlers() {
	job 1 0x3001 handlers
	plainly 1 0x3001 finish
}

# SIGBUS blocked by whatever means, errno.
test_masks() {
	job 2 0x3002 masks
	plainly 1 0x3002 finish
}

# 64 threads on each of two nodes, one in each mode; the third looks.
test_threads() {
	plainly 3 0x3003 threads &
	first=$!
	job 1 0x3003 threads
	wait $first
	job 2 0x3003 count
	plainly 2 0x3003 count
	plainly 1 0x3003 finish
}

# A word of each node's in one page, all incremented at once, in mixed modes.
test_grow() {
	n=$(scaled 30000)
	pids=
	for node in 1 2 3; do
		mode=signal
		[ $node -ne 2 ] || mode=transparent
		on $node env DIPC_FAULTS=$mode "$JOBS/job_grow" 0x3004 \
			$((node - 1)) 3 "$n" &
		pids="$pids $!"
	done
	wait_all $pids
	"$DIPC" rm --dir "$CLUSTER" --key 0x3004
}

# Children of fork, of fork past libc, of vfork, and theirs.
test_forks() {
	job 1 0x3005 forks
	job 2 0x3005 forks
	plainly 1 0x3005 finish
}

# msgsnd, msgrcv, semop and msgctl with absent pages.
test_calls() {
	plainly 1 0x3006 home >"$WORK/home" &
	home=$!
	await "$WORK/home"
	job 2 0x3006 calls
	kill $home
	plainly 1 0x3006 finish
}

# What differs, and only with this mode.
test_efault() {
	job 1 0x3007 efault
	! plainly 2 0x3007 efault || return 1
	plainly 1 0x3007 finish
}

await() { # FILE
	tries=0
	until grep -q ready "$1"; do
		tries=$((tries + 1))
		[ $tries -lt $((200 * DIPC_TEST_SLOW)) ]
		sleep 0.05
	done
}

# The home of a segment dies: SIGBUS, for a handler or for good.
test_dead_home() {
	plainly 3 0x3008 home >"$WORK/home" &
	await "$WORK/home"
	mkfifo "$WORK/go.1" "$WORK/go.2"
	job 1 0x3008 orphan_handled <"$WORK/go.1" >"$WORK/handled" &
	handled=$!
	exec 8>"$WORK/go.1"
	job 2 0x3008 orphan <"$WORK/go.2" >"$WORK/killed" &
	killed=$!
	exec 9>"$WORK/go.2"
	await "$WORK/handled"
	await "$WORK/killed"
	kill -9 "$(pgrep -P "$(cat "$CLUSTER/node3.pid")")"
	echo >&8
	echo >&9
	wait $handled
	status=0
	wait $killed || status=$?
	[ $status -eq $((128 + 7)) ] # SIGBUS
}

cluster_up 3
for name in ${*:-handlers masks threads grow forks calls efault dead_home}; do
	run_case "bysignal_$name" "test_$name"
done
summary
