#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Inside each of three guests on a private link: one cluster over soft-RoCE,
# the same programs with their processes in different guests, found by key
# alone. The referee and node 1 are in guest 1, node 2 in guest 2, nodes 3 and 4
# in guest 3. During the data phase eth0 is recorded: RoCE and ARP, no TCP.
# Usage: many.sh BUILD
set -u
BUILD=$1
JOBS=$BUILD/bin/tests
DIPC=$BUILD/bin/dipc
SLOW=${DIPC_TEST_SLOW:-50}
# shellcheck source=tests/rxe/guest-lib.sh
. "$GUEST_LIB"
W=$GUEST_SHARED
PORT=7341
passed=0
failed=0
trap 'for d in /tmp/n* /tmp/ref; do [ -d "$d" ] && "$DIPC" down --dir "$d"; done' EXIT

scaled() {
	local n=$(($1 / SLOW))

	echo $((n > 0 ? n : 1))
}

# on NODE COMMAND...: a node of this guest.
on() {
	local node=$1

	shift
	"$DIPC" run --dir "/tmp/n$node" --node "$node" -- "$@"
}

result() { # NAME STATUS
	if [ "$2" -eq 0 ]; then
		passed=$((passed + 1))
		echo "ok between.$1"
	else
		failed=$((failed + 1))
		echo "FAIL between.$1"
		tail -n 20 /tmp/n*/*.log /tmp/ref/*.log 2>/dev/null
	fi
}

give_up() {
	echo "FAIL between.$1"
	tail -n 20 /tmp/n*/*.log /tmp/ref/*.log 2>/dev/null
	exit 1
}

node_up() { # NODE
	"$DIPC" up --join "10.77.0.1:$PORT" --node "$1" --address "$GUEST_IP" \
		--transport verbs --key "$W/cluster.key" --dir "/tmp/n$1" \
		--timeout 60 || give_up up
}

start_cluster() {
	if [ "$GUEST_ID" = 1 ]; then
		(umask 077 && "$DIPC" key "$W/cluster.key") || give_up key
		"$DIPC" up --referee-only --address "$GUEST_IP" --port $PORT \
			--transport verbs --key "$W/cluster.key" \
			--dir /tmp/ref --timeout 60 || give_up referee
	fi
	barrier referee || give_up barrier
	node_up "$GUEST_ID"
	[ "$GUEST_ID" = 3 ] && node_up 4
	barrier nodes || give_up barrier
}

# ---- the data phase: all three kinds at once --------------------------------

PIDS=()
RECEIVERS=()

start_jobs() {
	local i

	export JOB_GO=$W/go
	on "$GUEST_ID" "$JOBS/job_grow" 0x4001 $((GUEST_ID - 1)) 3 "$(scaled 100000)" &
	PIDS+=($!)
	if [ "$GUEST_ID" != 3 ]; then
		for i in 1 2 3 4; do
			on "$GUEST_ID" "$JOBS/job_pv" 0x4002 work "$(scaled 5000)" &
			PIDS+=($!)
		done
		for i in 0 2; do
			on "$GUEST_ID" "$JOBS/job_stream" 0x4003 send \
				$((i + GUEST_ID - 1)) "$(scaled 12500)" &
			PIDS+=($!)
		done
	else
		for i in 1 2 3 4; do
			on $((3 + i % 2)) "$JOBS/job_stream" 0x4003 receive \
				>"$W/received.$i" &
			RECEIVERS+=($!)
		done
	fi
}

# 3 of grow, 8 of pv, 4 senders, 4 receivers
jobs_are_ready() {
	[ "$(find "$W" -name 'go.*' | wc -l)" -eq 19 ]
}

finish_jobs() {
	local pid status=0

	for pid in "${PIDS[@]}"; do
		wait "$pid" || status=1
	done
	return $status
}

data_phase() {
	local status=0

	if [ "$GUEST_ID" = 1 ]; then
		on 1 "$JOBS/job_pv" 0x4002 setup || give_up setup
		on 1 "$JOBS/job_stream" 0x4003 setup || give_up setup
	fi
	barrier set_up || give_up barrier
	start_jobs
	shared_wait "jobs" 120 jobs_are_ready || give_up ready
	capture_start "$GUEST_OUT/data.pcap" || give_up capture
	barrier recorded || give_up barrier
	[ "$GUEST_ID" = 1 ] && : >"$W/go"
	finish_jobs || status=1
	barrier worked 600 || give_up barrier
	capture_stop || status=1
	barrier unrecorded || give_up barrier
	unset JOB_GO
	if [ "$GUEST_ID" = 1 ]; then
		on 1 "$JOBS/job_stream" 0x4003 stop 4 || status=1
	fi
	if [ "$GUEST_ID" = 3 ]; then
		PIDS=("${RECEIVERS[@]}")
		finish_jobs || status=1
	fi
	result "shm_sem_msg_at_once.$GUEST_ID" $status
	capture_check "$GUEST_OUT/data.pcap"
	result "only_roce_on_the_wire.$GUEST_ID" $?
	barrier received || give_up barrier
	[ "$GUEST_ID" = 2 ] && check_results
	barrier checked || give_up barrier
}

check_results() {
	local n

	on 2 "$JOBS/job_pv" 0x4002 check $((8 * $(scaled 5000)))
	result counter_exact $?
	n=$((4 * $(scaled 12500)))
	[ "$(cat "$W"/received.* | wc -l)" -eq $n ] &&
		[ "$(sort "$W"/received.* | uniq | wc -l)" -eq $n ]
	result each_message_once $?
	"$DIPC" rm --dir /tmp/n2 --key 0x4001
	"$DIPC" rm --dir /tmp/n2 --key 0x4003
}

# ---- one after the other ----------------------------------------------------

test_files() {
	local size=$((16 * 4096 + 1000))

	if [ "$GUEST_ID" = 1 ]; then
		head -c $size /dev/urandom >"$W/in"
		on 1 "$JOBS/job_files" 0x4004 $size dirty || give_up files
	fi
	barrier dirty || give_up barrier
	if [ "$GUEST_ID" = 2 ]; then
		on 2 "$JOBS/job_files" 0x4004 $size load "$W/in" || give_up files
	fi
	barrier loaded || give_up barrier
	if [ "$GUEST_ID" = 3 ]; then
		on 3 "$JOBS/job_files" 0x4004 $size save /tmp/out &&
			cmp "$W/in" /tmp/out
		result read_and_write_calls $?
		on 3 "$JOBS/job_files" 0x4004 $size remove
	fi
}

test_perl() {
	if [ "$GUEST_ID" = 1 ]; then
		"$DIPC" run --dir /tmp/n1 --node 1 --all-keys -- \
			perl -MIPC::SysV=IPC_CREAT -e '
			$q = msgget(0x4005, IPC_CREAT | 0600) // die "msgget: $!";
			msgsnd($q, pack("l! a*", 1, chr(0)), 0) or die "msgsnd: $!";
			msgsnd($q, pack("l! a*", 1000, ""), 0) or die "msgsnd: $!";
			$s = shmget(0x4006, 8192, IPC_CREAT | 0600) // die "shmget: $!";
			shmwrite($s, "written in Perl", 4090, 15) or die "shmwrite: $!";' ||
			give_up perl
	fi
	barrier perl_wrote || give_up barrier
	if [ "$GUEST_ID" = 2 ]; then
		[ "$(on 2 "$JOBS/job_stream" 0x4005 receive)" = "0 0" ]
		result perl_to_c $?
		on 2 "$JOBS/job_stream" 0x4005 remove
	fi
	if [ "$GUEST_ID" = 3 ]; then
		on 3 "$JOBS/job_files" 0x4006 8192 save /tmp/perl &&
			[ "$(dd if=/tmp/perl bs=1 skip=4090 count=15 2>/dev/null)" = "written in Perl" ]
		result perl_segment $?
		on 3 "$JOBS/job_files" 0x4006 8192 remove
	fi
}

# The example, its workers started by hand on the other machines.
test_heat() {
	local heat=$BUILD/bin/examples/heat want got

	if [ "$GUEST_ID" = 1 ]; then
		want=$("$heat" --local --workers 1 --size 64 --steps 20)
		on 1 "$heat" --wait --workers 3 --key 0x5000 --size 64 --steps 20 \
			--timeout 300 >/tmp/heat.out 2>/tmp/heat.err &
		until grep -q worker=3 /tmp/heat.out /tmp/heat.err; do
			kill -0 $! 2>/dev/null || break
			sleep 0.2
		done
		put heat_ready
		on 1 "$heat" --worker=1 --key 0x5000 || true
		wait $!
		got=$(grep checksum /tmp/heat.out)
		echo "want $want, got $got"
		[ -n "$got" ] && [ "$want" = "$got" ]
		result heat $?
	else
		wait_for heat_ready || give_up heat
		on "$GUEST_ID" "$heat" --worker="$GUEST_ID" --key 0x5000
	fi
	barrier heat 300 || give_up barrier
}

start_cluster
data_phase
test_files
barrier files 120 || give_up barrier
test_perl
barrier perl 120 || give_up barrier
test_heat
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
