#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What pages cost and where they go, as the nodes' counters say. See
# tests/support/cluster.sh for the variables.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
trap 'players_stop; cluster_down; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM
KEY=0x2001
SIZE=8388608

# ---- players: a process on each of nodes 1 to 3, which does as it is told ----

# player NODE [ARG...]: asked through descriptor NODE + 3, answers in a file.
player() {
	p=$1
	shift
	rm -f "$WORK/in.$p" "$WORK/out.$p"
	mkfifo "$WORK/in.$p"
	: >"$WORK/out.$p"
	on "$p" "$JOBS/job_touch" $KEY $SIZE "$@" <"$WORK/in.$p" >"$WORK/out.$p" &
	eval "exec $((p + 3))>\"$WORK/in.$p\""
	answer "$p" 1
}

# answer NODE N: its Nth line must be "ok"; some seconds at most.
answer() {
	tries=0
	while [ "$(wc -l <"$WORK/out.$1")" -lt "$2" ]; do
		tries=$((tries + 1))
		[ $tries -lt $((100 * (9 + DIPC_TEST_SLOW))) ] || {
			say "node $1 does not answer"
			return 1
		}
		sleep 0.02
	done
	said=$(sed -n "$2p" "$WORK/out.$1")
	[ "$said" = ok ] || {
		say "node $1: $said"
		return 1
	}
}

# ask NODE COMMAND...; step: and wait until it is done.
ask() {
	n=$1
	shift
	asked=$(($(wc -l <"$WORK/out.$n") + 1))
	echo "$*" >&$((n + 3))
}

step() {
	ask "$@"
	answer "$1" $asked
}

players_start() {
	for k in 1 2 3; do
		player $k
	done
}

players_stop() {
	exec 4>&- 5>&- 6>&-
	wait
	"$DIPC" rm --dir "$CLUSTER" --key $KEY >/dev/null 2>&1
	return 0
}

# ---- counters ----------------------------------------------------------------

snapshot() { # FILE
	"$DIPC" ls --dir "$CLUSTER" --json >"$1"
}

# changed NODE NAME...: by how much, since `before` was taken.
changed() {
	snapshot "$WORK/after"
	perl -MJSON::PP -e '
		sub counters { local (@ARGV, $/) = (shift); decode_json(<>)->{objects} }
		my ($before, $after, $node, @names) = @ARGV;
		sub of { my ($name, @o) = @_;
			my ($p) = map { grep { $_->{node} == $node } @{$_->{pages}} } @o;
			return $p ? $p->{$name} : 0 }
		my @b = @{counters($before)}; my @a = @{counters($after)};
		print join(" ", map { "$_=" . (of($_, @a) - of($_, @b)) } @names), "\n";
	' "$WORK/before" "$WORK/after" "$@"
}

# costs "NODE COMMAND..." WHAT...: WHAT is NAME=VALUE, exactly.
costs() {
	command=$1
	shift
	snapshot "$WORK/before"
	# shellcheck disable=SC2086
	step $command
	names=
	for w; do
		names="$names ${w%%=*}"
	done
	# shellcheck disable=SC2086
	got=$(changed "${command%% *}" $names)
	say "$command: $got"
	[ "$got" = "$*" ]
}

# ---- cases -------------------------------------------------------------------

# One round trip: atomic and READ in one doorbell; to upgrade, no data.
test_cost() {
	players_start
	# pages that are not neighbours: nothing is fetched ahead
	costs "2 read 400000" nr_read_misses=1 nr_doorbells=1 nr_ops=2 bytes_in=4096
	costs "2 read 400000" nr_read_misses=0 nr_doorbells=0
	costs "2 write 400000 7" nr_upgrades=1 nr_doorbells=1 nr_ops=1 bytes_in=0
	costs "3 write 2400000 8" nr_write_misses=1 nr_doorbells=1 nr_ops=2 \
		bytes_in=4096
	costs "3 value 400000 7" nr_read_misses=1 nr_recalls=1
	costs "2 value 2400000 8" nr_read_misses=1 nr_recalls=1
	# its node is also the home: no difference
	costs "1 read 6400000" nr_read_misses=1 nr_doorbells=1 nr_ops=2
	costs "1 write 400000 9" nr_write_misses=1 nr_invalidations=2 \
		nr_invalidations_at_once=2
	costs "2 value 400000 9" nr_read_misses=1
	players_stop
}

# Two processes of one node: once each has read and written a page, nobody is
# told of what they do to it.
test_neighbours() {
	players_start
	mkfifo "$WORK/in.next"
	: >"$WORK/out.next"
	on 2 "$JOBS/job_touch" $KEY $SIZE <"$WORK/in.next" >"$WORK/out.next" &
	exec 7>"$WORK/in.next"
	answer next 1
	step 2 write 400000 1
	echo value 400000 1 >&7
	answer next 2
	echo write 400000 2 >&7
	answer next 3
	snapshot "$WORK/before"
	echo fight 400000 1 >&7
	step 2 fight 400000 1
	answer next 4
	got=$(changed 2 nr_faults nr_upgrades nr_doorbells)
	say "$got"
	[ "$got" = "nr_faults=0 nr_upgrades=0 nr_doorbells=0" ]
	exec 7>&-
	players_stop
}

# What a person sees.
test_ls() {
	players_start
	step 2 write 4096 1
	step 3 write 4096 2
	step 2 write 4096 3
	"$DIPC" ls -v --dir "$CLUSTER" | tee "$WORK/ls"
	grep -q '^     node 2: 4.0 KiB here; misses: 0 read, 2 write; ' "$WORK/ls"
	grep -q '^     node 3: 0 bytes here; ' "$WORK/ls"
	grep -q '^       taken away: 0 copies, 1 modified; ' "$WORK/ls"
	grep -q '^       hottest offsets (misses): 0x1000 (2)$' "$WORK/ls"
	grep -q '^       most fought-over offsets (times taken away): 0x1000 (1)$' \
		"$WORK/ls"
	# the node's sum goes on counting when a segment is gone
	"$DIPC" status --json --dir "$CLUSTER" >"$WORK/status"
	players_stop
	"$DIPC" status --json --dir "$CLUSTER" >"$WORK/status2"
	for f in status status2; do
		perl -MJSON::PP -e 'local $/; my ($n) = grep { $_->{node} == 2 }
			@{decode_json(<STDIN>)};
			exit($n->{pages}{nr_write_misses} >= 2 ? 0 : 1)' <"$WORK/$f"
	done
}

# refused NODE COMMAND... WITH: the last word is what it says.
refused() {
	for said_to; do :; done
	n=$1
	shift
	command=
	while [ $# -gt 1 ]; do
		command="$command $1"
		shift
	done
	step "$n" "$command" && return 1
	[ "$said" = "$said_to" ]
}

# Brought before they are touched; given back before others ask.
test_hints() {
	players_start
	step 1 fill 0 1048576 11
	costs "2 prefetch 1 1048000 0" nr_recalled=0
	costs "2 value 409600 11" nr_read_misses=0 nr_doorbells=0
	costs "2 value 1044480 11" nr_read_misses=0 nr_doorbells=0
	# once ours to write, no other node is asked again
	step 2 prefetch 0 1048576 1
	costs "2 fill 0 1048576 12" nr_read_misses=0 nr_write_misses=0 \
		nr_upgrades=0 nr_doorbells=0
	# home before anybody asks: their write recalls nothing
	step 2 release 4096 1044480
	costs "3 write 409600 13" nr_write_misses=1 nr_recalls=0 \
		nr_invalidations=0
	costs "3 write 0 14" nr_write_misses=1 nr_recalls=1
	costs "2 value 409600 13" nr_read_misses=1
	step 2 value 413696 12
	step 2 value 0 14
	# system calls on what is not here
	step 2 release 0 1048576
	step 2 load 200 900000 77
	step 3 value 409600 5570193308531903821 # 0x4d4d...
	step 2 release 0 8388608 # twice, and what never was here
	step 2 release 0 8388608
	step 3 value 409600 5570193308531903821
	players_stop
}

# What plain programs say of their memory.
test_madvise() {
	players_start
	step 1 fill 0 262144 21
	step 2 advise 0 262144 22 # MADV_POPULATE_READ
	costs "2 value 131072 21" nr_read_misses=0
	step 2 advise 0 262144 23 # MADV_POPULATE_WRITE
	costs "2 fill 0 262144 22" nr_write_misses=0 nr_upgrades=0
	step 2 advise 0 262144 4 # MADV_DONTNEED
	costs "3 write 131072 23" nr_recalls=0
	step 2 value 0 22
	step 2 value 131072 23
	# begun, not waited for
	snapshot "$WORK/before"
	step 1 advise 0 262144 3 # MADV_WILLNEED
	tries=0
	until [ "$(changed 1 nr_fills)" = nr_fills=64 ]; do
		tries=$((tries + 1))
		[ $tries -lt 100 ]
		sleep 0.1
	done
	costs "1 value 258048 22" nr_read_misses=0
	players_stop
}

test_hints_refused() {
	player 1
	player 2 ro
	player 3
	step 1 fill 0 8192 31
	step 2 prefetch 0 8192 0
	refused 2 prefetch 0 8192 1 "Permission denied"
	refused 2 prefetch 0 8192 4 "Invalid argument"
	# not mapped at all, and the end of memory
	refused 2 hole "Cannot allocate memory"
	refused 2 release 0 -1 "Invalid argument"
	step 2 value 4096 31
	# nothing is no page
	costs "2 release 4196 0" nr_doorbells=0
	costs "2 value 4096 31" nr_read_misses=0
	step 2 release 0 4096 # only a reader: it may give up copies
	costs "2 value 0 31" nr_read_misses=1
	players_stop
}

# Handlers come in between, and make such calls; threads are cancelled in them;
# children make them.
test_hints_anywhere() {
	players_start
	step 1 fill 0 2097152 51
	step 2 storm 0 2097152 20
	step 3 value 2093056 51
	step 3 cancel 0 2097152
	step 3 child 4096 2000000 51
	step 1 value 1048576 51
	players_stop
}

# Two nodes, two words, one page: it is named, and nothing else is.
test_top() {
	players_start
	step 1 fill 0 1048576 41
	step 3 value 409600 41 # a quiet page
	ask 2 fight 20480 4
	ask 3 fight 20488 4
	"$DIPC" top --dir "$CLUSTER" --batch -n 2 -d 1 >"$WORK/top"
	"$DIPC" top --dir "$CLUSTER" --node 2 -n 1 -d 0.5 >"$WORK/top2"
	answer 2 2
	answer 3 3
	cat "$WORK/top" "$WORK/top2"
	[ "$(grep -c '^dipc top .* nodes 1, 2, 3, 1 segment attached' "$WORK/top")" -eq 2 ]
	[ "$(grep -c "^$(printf 0x%08x $KEY) " "$WORK/top")" -eq 2 ]
	# the first of its pages is the one that is fought over
	first=$(grep -A1 "^$(printf 0x%08x $KEY) " "$WORK/top" | tail -n 1)
	echo "$first" | grep -q '^    offset 0x5000: taken away [1-9][0-9]* times, '
	echo "$first" | grep -q '; nodes .*2, 3$'
	[ "$(echo "$first" | sed 's/.* times, \([0-9]*\)\/s; missed.*/\1/')" -gt 0 ]
	grep -q '^dipc top .* node 2, 1 segment' "$WORK/top2"
	players_stop
	# nothing attached, nobody there, nothing of that name
	"$DIPC" top --dir "$CLUSTER" -n 1 -d 0.1 | grep -q ' 0 segments attached'
	"$DIPC" top --dir "$CLUSTER" --node 9 -n 1 2>"$WORK/err" && return 1
	grep -q '^dipc: node 9 is not of this machine$' "$WORK/err"
	"$DIPC" top --dir "$WORK/nowhere" -n 1 2>"$WORK/err" && return 1
	[ "$(wc -l <"$WORK/err")" -eq 1 ]
}

# on_terminal SECONDS KEYS [SIGNAL]: a screen in a terminal of its own; keys, a
# second later a signal or SECONDS to end by itself; prints its exit status.
on_terminal() {
	rm -f "$WORK/pid"
	{
		sleep 1.2
		printf '%s' "$2"
		sleep 1
		[ -z "${3:-}" ] || kill "-$3" "$(cat "$WORK/pid")"
		sleep "$1"
	} | TERM=xterm script -q -e -c "stty rows 24 cols 100; echo \$\$ >$WORK/pid
		exec $DIPC top --dir $CLUSTER -d 0.3" "$WORK/screen" >/dev/null &&
		echo 0 || echo $?
}

# Starts, obeys, and leaves the terminal as it was.
test_top_screen() {
	players_start
	step 2 write 4096 1
	restored=$(printf '\033[?1049l')
	[ "$(on_terminal 0 mq)" -eq 0 ]
	grep -q 'dipc top .* nodes 1, 2, 3, 1 segment attached' "$WORK/screen"
	grep -q 'KEY .*MISS/s' "$WORK/screen"
	grep -q 'offset 0x1000' "$WORK/screen"
	grep -qF "$restored" "$WORK/screen"
	for sig in 1 2 15; do
		[ "$(on_terminal 0 '' $sig)" -eq $((128 + sig)) ]
		grep -qF "$restored" "$WORK/screen"
	done
	# a terminal nobody knows
	TERM=nonsense script -q -e -c "$DIPC top --dir $CLUSTER" "$WORK/screen" \
		</dev/null >/dev/null && return 1
	grep -q '^dipc: terminal of an unknown type (nonsense): use --batch' \
		"$WORK/screen"
	players_stop
}

if ! cluster_up 3; then
	failed=$((failed + 1))
	summary
	exit 1
fi
for name in ${*:-cost neighbours ls hints madvise hints_refused hints_anywhere top top_screen}; do
	run_case "$name" "test_$name"
done
summary
