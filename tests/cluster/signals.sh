#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Handlers, threads and blocked calls. Each case runs on the kernel's objects first: what
# fails there is a mistake in the test.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
trap 'cluster_down; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM

both() { # WHAT [ROUNDS]
	timeout $((60 * DIPC_TEST_SLOW)) "$JOBS/job_signals" 0x2201 "$@"
	on 1 timeout $((60 * DIPC_TEST_SLOW)) "$JOBS/job_signals" 0x2201 "$@"
}

# A timer goes off at whatever instant around the start of the call.
test_hammer() {
	both hammer "$(scaled 20000)"
}

# A process that others see waiting; what its handler gives is there after.
test_observed() {
	both observed "$(scaled 1000)"
}

# Handlers that do not return, more of them than there are request slots.
test_jumps() {
	both jumps "$(scaled 3000)"
}

test_nested() {
	both nested
}

test_fork() {
	both fork
}

test_forks() {
	both forks "$(scaled 1000)"
}

# What sigaction(2), signal(2) and sigset(3) say of the program's handlers.
test_promises() {
	both promises
}

test_timeouts() {
	both timeouts
}

# The one difference: deviations.md.
test_stopped() {
	both stopped >"$WORK/stopped"
	printf 'semop was interrupted\nsemop went on\n' | cmp - "$WORK/stopped"
}

threads() { # WHAT [ROUNDS]
	on 1 timeout $((60 * DIPC_TEST_SLOW)) "$JOBS/job_threads" 0x2202 "$@"
}

threads_both() {
	timeout $((60 * DIPC_TEST_SLOW)) "$JOBS/job_threads" 0x2202 "$@"
	threads "$@"
}

# msgsnd and msgrcv are cancellation points, semop is not.
test_cancelled() {
	threads_both cancelled
}

# No message goes with a cancelled thread; libc loses some.
test_cancel_hammer() {
	threads cancel_hammer "$(scaled 3000)"
	threads_both cancel_async "$(scaled 3000)"
}

# 64 threads in semop, with signals among them, woken from another node.
test_crowd() {
	n=$(scaled 200)
	on 2 timeout $((60 * DIPC_TEST_SLOW)) "$JOBS/job_threads" 0x2202 give \
		$((64 * n)) &
	giver=$!
	threads crowd "$n"
	wait_all $giver
}

# exit, exec, SIGKILL, and main's pthread_exit, while threads are blocked.
test_ends() {
	threads_both ends
}

test_vforks() {
	threads_both vforks "$(scaled 500)"
}

cluster_up 3 >"$WORK/up.log" 2>&1 || {
	cat "$WORK/up.log"
	exit 1
}
for name in ${*:-promises hammer observed jumps nested fork forks timeouts stopped \
	cancelled cancel_hammer crowd ends vforks}; do
	run_case "$name" "test_$name"
done
summary
