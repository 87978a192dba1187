#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A cluster's life on this machine: how fast it is up, what it costs idle, what
# programs see when processes, engines and nodes go.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
trap 'cluster_down; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM

now_ms() {
	date +%s%3N
}

test_up_in_time() {
	limit=$((2000 * DIPC_TEST_SLOW))
	start=$(now_ms)
	cluster_up 3 || return 1
	took=$(($(now_ms) - start))
	say "three nodes were ready after $took ms"
	[ "$took" -lt "$limit" ]
}

# CPU of the whole cluster while nothing happens, in 1/100 s.
cpu_ticks() {
	for pid in $(cat "$CLUSTER"/*.pid); do
		for p in $pid $(pgrep -P "$pid" || true); do
			awk '{ print $14 + $15 }' "/proc/$p/stat"
		done
	done | awk '{ sum += $1 } END { print sum }'
}

test_idle() {
	sleep 1
	before=$(cpu_ticks)
	sleep 5
	used=$(($(cpu_ticks) - before))
	say "an idle cluster used $used hundredths of a second in 5 s"
	[ "$used" -le $((5 * DIPC_TEST_SLOW)) ]
}

# A process that dies holding a semaphore gives it back.
test_undo_on_kill() {
	on 1 "$JOBS/job_life" 0x2001 hold "$WORK/held" &
	until [ -e "$WORK/held" ]; do sleep 0.05; done
	kill -9 "$(cat "$WORK/held")"
	on 2 timeout $((5 * DIPC_TEST_SLOW)) "$JOBS/job_life" 0x2001 take
	wait || true # the one that was killed
	on 2 "$JOBS/job_life" 0x2001 remove
}

# A handler ends a blocked semop with EINTR, SA_RESTART or not.
test_signal() {
	on 1 "$JOBS/job_life" 0x2002 interrupted
	on 1 "$JOBS/job_life" 0x2002 remove
}

# fork shares the segment, both ways, and nattch counts.
test_fork() {
	on 2 "$JOBS/job_life" 0x2003 fork
	on 2 "$JOBS/job_life" 0x2003 remove
}

# 64 threads of one process on one semaphore.
test_threads() {
	on 3 "$JOBS/job_life" 0x2004 threads "$(scaled 500)"
	on 3 "$JOBS/job_life" 0x2004 remove
}

# Programs as people write them: each had broken something once.
test_closes_all() {
	on 1 timeout $((20 * DIPC_TEST_SLOW)) "$JOBS/job_life" 0x200e closes_all
	on 1 "$JOBS/job_life" 0x200e remove
}

test_sleepers() {
	on 2 timeout $((20 * DIPC_TEST_SLOW)) "$JOBS/job_life" 0x200f sleepers
	on 1 "$JOBS/job_life" 0x200f remove
}

test_undo_after_setall() {
	on 2 timeout $((20 * DIPC_TEST_SLOW)) "$JOBS/job_life" 0x2010 undo_after_setall
	on 1 "$JOBS/job_life" 0x2010 remove
}

# IPC_RMID on one node ends who waits on another with EIDRM.
test_removed() {
	on 1 "$JOBS/job_life" 0x2005 until_removed "$WORK/waits" &
	waiter=$!
	until [ -e "$WORK/waits" ]; do sleep 0.05; done
	sleep 0.3
	on 2 "$JOBS/job_life" 0x2005 remove
	wait $waiter
}

# Objects without the flag are the kernel's.
test_kernel_untouched() {
	on 1 "$JOBS/job_life" 0x2006 plain
}

# The engine of a node is killed: SIGBUS or ENOLINK there, the others go on.
test_engine_killed() {
	on 3 "$JOBS/job_life" 0x2007 touch_for_ever "$WORK/touches" \
		2>"$WORK/touches.err" &
	victim=$!
	until [ -e "$WORK/touches" ]; do sleep 0.05; done
	keeper=$(cat "$CLUSTER/node3.pid")
	kill -9 "$(pgrep -P "$keeper")"
	status=0
	wait $victim || status=$?
	say "the process on the node ended with $status"
	# 128 + SIGBUS through the shell, or our own complaint about ENOLINK
	[ "$status" -eq 135 ] || [ "$status" -eq 3 ]
	# a new process there is told, not split off silently
	if LD_PRELOAD="$BUILD/lib/libdipc-rdma.so" \
		DIPC_SOCKET="$CLUSTER/node3.sock" \
		"$JOBS/job_pv" 0x2008 setup 2>"$WORK/err"; then
		say "a new process on the node went on as if nothing was"
		return 1
	fi
	cat "$WORK/err"
	grep -q 'dipcd does not answer' "$WORK/err"
	on 1 "$JOBS/job_pv" 0x2009 setup
	on 1 "$JOBS/job_pv" 0x2009 work 100
	on 2 "$JOBS/job_pv" 0x2009 check 100
}

test_down() {
	dir=$CLUSTER
	pids=$(cat "$dir"/*.pid)
	"$DIPC" down --dir "$dir"
	for pid in $pids; do
		# a zombie is gone: its parent, not ours to choose, may not look
		if grep -q '^State:.[^Z]' "/proc/$pid/status" 2>/dev/null; then
			say "process $pid is left"
			return 1
		fi
	done
	rm -rf "$dir"
	CLUSTER=
}

# The referee is killed: every node stops, nobody hangs, nobody reads zeros.
test_referee_killed() {
	cluster_up 2
	on 1 "$JOBS/job_life" 0x200c until_lost "$WORK/blocked" &
	blocked=$!
	on 2 "$JOBS/job_life" 0x200d touch_for_ever "$WORK/touches2" 2>/dev/null &
	toucher=$!
	until [ -e "$WORK/blocked" ] && [ -e "$WORK/touches2" ]; do
		sleep 0.05
	done
	kill -9 "$(cat "$CLUSTER/referee.pid")"
	status=0
	wait $blocked || status=$?
	say "the blocked process ended with $status"
	[ "$status" -eq 3 ]
	status=0
	wait $toucher || status=$?
	say "the attached process ended with $status"
	[ "$status" -eq 135 ] || [ "$status" -eq 3 ]
	cluster_down
}

# With no dipcd at all the same program uses the kernel.
test_no_dipcd() {
	LD_PRELOAD="$BUILD/lib/libdipc-rdma.so" DIPC_SOCKET="$WORK/none" \
		"$JOBS/job_pv" 0x200a setup
	LD_PRELOAD="$BUILD/lib/libdipc-rdma.so" DIPC_SOCKET="$WORK/none" \
		"$JOBS/job_pv" 0x200a check 0
	! LD_PRELOAD="$BUILD/lib/libdipc-rdma.so" DIPC_SOCKET="$WORK/none" \
		DIPC_FALLBACK=never "$JOBS/job_pv" 0x200b setup
}

# not through run_case's subshell: it sets CLUSTER
if test_up_in_time >"$WORK/up.log" 2>&1; then
	passed=$((passed + 1))
	say "ok $DIPC_TRANSPORT.up_in_time"
else
	failed=$((failed + 1))
	say "FAIL $DIPC_TRANSPORT.up_in_time"
	cat "$WORK/up.log"
	summary
	exit 1
fi
for name in ${*:-idle undo_on_kill signal fork threads closes_all sleepers undo_after_setall removed kernel_untouched engine_killed down referee_killed no_dipcd}; do
	run_case "$name" "test_$name"
done
summary
