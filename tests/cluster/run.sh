#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Ordinary System V programs on a cluster of three or four nodes on this
# machine. See tests/support/cluster.sh for the variables.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
trap 'cluster_down; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM

# A word of each node's in one page, all incremented at once.
test_grow() {
	n=$(scaled 100000)
	pids=
	for node in 1 2 3; do
		on $node "$JOBS/job_grow" 0x1001 $((node - 1)) 3 "$n" &
		pids="$pids $!"
	done
	wait_all $pids
	"$DIPC" rm --dir "$CLUSTER" --key 0x1001
}

# Eight processes on two nodes around one counter.
test_pv() {
	n=$(scaled 10000)
	on 1 "$JOBS/job_pv" 0x1002 setup
	pids=
	for i in 1 2 3 4; do
		for node in 1 2; do
			on $node "$JOBS/job_pv" 0x1002 work "$n" &
			pids="$pids $!"
		done
	done
	wait_all $pids
	on 3 "$JOBS/job_pv" 0x1002 check $((8 * n))
}

# Four senders on two nodes, four receivers on two others.
test_stream() {
	n=$(scaled 25000)
	on 1 "$JOBS/job_stream" 0x1003 setup
	receivers=
	for i in 1 2 3 4; do
		on $((3 + i % 2)) "$JOBS/job_stream" 0x1003 receive \
			>"$WORK/received.$i" &
		receivers="$receivers $!"
	done
	senders=
	for i in 0 1 2 3; do
		on $((1 + i % 2)) "$JOBS/job_stream" 0x1003 send "$i" "$n" &
		senders="$senders $!"
	done
	wait_all $senders
	on 1 "$JOBS/job_stream" 0x1003 stop 4
	wait_all $receivers
	sort "$WORK"/received.* | uniq >"$WORK/once"
	[ "$(cat "$WORK"/received.* | wc -l)" -eq $((4 * n)) ]
	[ "$(wc -l <"$WORK/once")" -eq $((4 * n)) ]
	on 2 "$JOBS/job_stream" 0x1003 remove
}

# read(2) into pages that another node has modified, write(2) out of them.
test_files() {
	size=$(($(scaled 1024) * 4096 + 1000))
	head -c "$size" /dev/urandom >"$WORK/in"
	on 1 "$JOBS/job_files" 0x1004 "$size" dirty
	on 2 "$JOBS/job_files" 0x1004 "$size" load "$WORK/in"
	on 3 "$JOBS/job_files" 0x1004 "$size" save "$WORK/out"
	cmp "$WORK/in" "$WORK/out"
	on 1 "$JOBS/job_files" 0x1004 "$size" save "$WORK/out"
	cmp "$WORK/in" "$WORK/out"
	on 1 "$JOBS/job_files" 0x1004 "$size" remove
}

# Perl on node 1 and C on node 2, neither knows of the other.
test_perl_to_c() {
	"$DIPC" run --dir "$CLUSTER" --node 1 --all-keys -- perl -MIPC::SysV=IPC_CREAT -e '
		$q = msgget(0x1005, IPC_CREAT | 0600) // die "msgget: $!";
		msgsnd($q, pack("l! a*", 1, chr(0)), 0) or die "msgsnd: $!";
		msgsnd($q, pack("l! a*", 1000, ""), 0) or die "msgsnd: $!";'
	[ "$(on 2 "$JOBS/job_stream" 0x1005 receive)" = "0 0" ]
	on 2 "$JOBS/job_stream" 0x1005 remove
}

# A segment that Perl wrote on node 1 is read by Perl and by C on node 3.
test_perl_segment() {
	"$DIPC" run --dir "$CLUSTER" --node 1 --all-keys -- perl -MIPC::SysV=IPC_CREAT -e '
		$s = shmget(0x1006, 8192, IPC_CREAT | 0600) // die "shmget: $!";
		shmwrite($s, "written in Perl", 4090, 15) or die "shmwrite: $!";'
	"$DIPC" run --dir "$CLUSTER" --node 3 --all-keys -- perl -MIPC::SysV -e '
		$s = shmget(0x1006, 0, 0) // die "shmget: $!";
		shmread($s, $text, 4090, 15) or die "shmread: $!";
		die "read: $text" if $text ne "written in Perl";'
	on 3 "$JOBS/job_files" 0x1006 8192 save "$WORK/perl"
	[ "$(dd if="$WORK/perl" bs=1 skip=4090 count=15 2>/dev/null)" = "written in Perl" ]
	on 3 "$JOBS/job_files" 0x1006 8192 remove
}

# After look-up not one TCP byte: the node counts what its session carries.
tcp_bytes() {
	"$DIPC" status --dir "$CLUSTER" --json |
		perl -MJSON::PP -e 'local $/; $s = decode_json(<STDIN>);
			print join " ", map { $_->{tcp_tx_bytes} + $_->{tcp_rx_bytes} }
				sort { $a->{node} <=> $b->{node} } @$s'
}

# await_jobs N: until N of them have looked up what they need.
await_jobs() {
	until [ "$(find "$WORK" -name 'go.*' | wc -l)" -eq "$1" ]; do
		sleep 0.1
	done
}

test_no_tcp() {
	n=$(scaled 2000)
	rm -f "$WORK"/go*
	on 1 "$JOBS/job_pv" 0x1007 setup
	export JOB_GO="$WORK/go"
	pids=
	for node in 1 2 3; do
		on $node "$JOBS/job_pv" 0x1007 work "$n" &
		pids="$pids $!"
		on $node "$JOBS/job_grow" 0x1008 $((node - 1)) 3 "$n" &
		pids="$pids $!"
	done
	on 2 "$JOBS/job_stream" 0x1009 receive >"$WORK/no_tcp" &
	receiver=$!
	on 1 "$JOBS/job_stream" 0x1009 send 0 "$n" &
	pids="$pids $!"
	await_jobs 8
	before=$(tcp_bytes)
	: >"$WORK/go"
	wait_all $pids
	after=$(tcp_bytes)
	unset JOB_GO
	on 1 "$JOBS/job_stream" 0x1009 stop 1
	wait $receiver
	say "before: $before; after: $after"
	[ -n "$before" ] && [ "$before" = "$after" ]
	on 3 "$JOBS/job_pv" 0x1007 check $((3 * n))
	"$DIPC" rm --dir "$CLUSTER" --key 0x1008
	"$DIPC" rm --dir "$CLUSTER" --key 0x1009
}

# The two examples over the nodes equal themselves on one.
test_wordcount() {
	cat /usr/share/common-licenses/* >"$WORK/text"
	head -c $(($(scaled 300) * 1000)) "$WORK/text" >"$WORK/some"
	LC_ALL=C tr -cs A-Za-z '\n' <"$WORK/some" | LC_ALL=C tr A-Z a-z |
		sed '/^$/d' | LC_ALL=C sort | LC_ALL=C uniq -c >"$WORK/want"
	on 1 "$BUILD/bin/examples/wordcount" --workers 3 --timeout $((60 * DIPC_TEST_SLOW)) \
		--spawn "$DIPC run --dir $CLUSTER --node %k -- %w" \
		"$WORK/some" >"$WORK/got"
	cmp "$WORK/want" "$WORK/got"
}

test_heat() {
	size=$((256 / (1 + DIPC_TEST_SLOW / 4)))
	steps=$(scaled 200)
	want=$("$BUILD/bin/examples/heat" --local --workers 1 --size $size --steps "$steps")
	got=$(on 1 "$BUILD/bin/examples/heat" --workers 3 --size $size --steps "$steps" \
		--timeout $((60 * DIPC_TEST_SLOW)) --png "$WORK/heat.png" \
		--spawn "$DIPC run --dir $CLUSTER --node %k -- %w")
	say "want $want, got $got"
	[ "$want" = "$got" ]
	[ -s "$WORK/heat.png" ]
}

# Nothing of what the cases made is left, and pages went home.
test_nothing_left() {
	"$DIPC" ls --dir "$CLUSTER" --json >"$WORK/ls"
	cat "$WORK/ls"
	perl -MJSON::PP -e 'local $/; $s = decode_json(<STDIN>);
		exit(@{$s->{objects}} ? 1 : 0)' <"$WORK/ls"
}

if ! cluster_up 4; then
	failed=$((failed + 1))
	summary
	exit 1
fi
for name in ${*:-grow pv stream files perl_to_c perl_segment no_tcp wordcount heat nothing_left}; do
	run_case "$name" "test_$name"
done
summary
