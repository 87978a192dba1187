#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Each case on the kernel, on one node and spread over three: the outputs must
# be the same. On verbs (a small guest) on the kernel and on three nodes.
#
#   sh tests/conformance/run.sh [quick | CASE... | THEME...]
#
# See tests/support/cluster.sh for the variables. Cases in known-failures are
# run too: one that passes must leave the list.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
PROGRAM=$JOBS/conformance
KNOWN=$HERE/known-failures
# so quick that nobody leaves them out
QUICK="sem_get sem_op msg_receive random.sem_1 random.msg_1 shm_get"
export DIPC_TEST_SLOW
KEYS=$(printf '0x1%04x' $(($$ % 65536)))
WORK=$(mktemp -d)
chmod 755 "$WORK"
PLACES="1 3"
if [ "$DIPC_TRANSPORT" = verbs ]; then
	PLACES=3
	QUICK="sem_get.create sem_get.modes sem_op.wait_and_wake sem_op.counts
		msg_receive.any msg_receive.several"
fi

all_down() {
	for place in $PLACES; do
		CLUSTER=$WORK/$place
		cluster_down
	done
	rm -rf "$WORK"
}
trap all_down EXIT
trap 'exit 1' INT TERM

# keys SLOT: a case has 256
keys() {
	echo "$KEYS${1}00"
}

# spawn PLACE: what starts an actor there; other users must get in.
spawn() {
	[ "$1" = kernel ] && return
	node=%k
	[ "$1" = 1 ] && node=1
	# a program less to load: that counts in an emulated guest
	[ "$DIPC_TRANSPORT" = verbs ] && {
		echo "env LD_PRELOAD=$BUILD/lib/libdipc-rdma.so DIPC_KEYS=all" \
			"DIPC_CONF=$WORK/$1/node$node.conf" \
			"DIPC_SOCKET=$WORK/$1/node$node.sock"
		return
	}
	echo "$DIPC run --dir $WORK/$1 --node $node --all-keys --"
}

# daemons PLACE: what has to rest before a sleeper counts as one.
daemons() {
	[ "$1" = kernel ] && return
	for file in "$WORK/$1"/*.pid; do
		pid=$(cat "$file")
		echo "$pid $(cat "/proc/$pid/task"/*/children 2>/dev/null)"
	done
}

# run_at PLACE CASE SLOT: all places at once, most of a case is waiting.
run_at() {
	CONFORMANCE_KEYS=$(keys "$3") CONFORMANCE_SPAWN=$(spawn "$1") \
		CONFORMANCE_DAEMONS=$(daemons "$1" | tr '\n' ' ') \
		timeout -k 5 $((50 * DIPC_TEST_SLOW)) "$PROGRAM" "$2" \
		>"$WORK/$2.$1" 2>&1
	status=$?
	[ $status -eq 0 ] || echo "(status $status)" >>"$WORK/$2.$1"
}

# known CASE.PLACE: why it fails, if that is known; "sometimes" may pass.
known() {
	sed -n "s/^$1[[:space:]][[:space:]]*//p" "$KNOWN"
}

compare() { # PLACE CASE
	if [ ! -s "$WORK/$2.kernel" ] || grep -q '^(status' "$WORK/$2.kernel"; then
		echo "on the kernel:"
		cat "$WORK/$2.kernel"
		return 1
	fi
	diff -U 100 --label kernel "$WORK/$2.kernel" --label "$1" "$WORK/$2.$1"
}

judge() { # PLACE CASE
	reason=$(known "$2.$1")
	[ -n "$reason" ] || reason=$(known "$2")
	if compare "$1" "$2" >"$WORK/diff"; then
		case $reason in
		"" | sometimes*)
			passed=$((passed + 1))
			say "ok $DIPC_TRANSPORT.$2.$1"
			return
			;;
		esac
		echo "passes: take it out of known-failures" >"$WORK/diff"
	elif [ -n "$reason" ]; then
		say "skip $DIPC_TRANSPORT.$2.$1: known: $reason"
		[ -n "${VERBOSE:-}" ] && sed 's/^/    /' "$WORK/diff"
		return
	fi
	failed=$((failed + 1))
	say "FAIL $DIPC_TRANSPORT.$2.$1"
	sed 's/^/    /' "$WORK/diff"
	CLUSTER=$WORK/$1
	cluster_logs
}

# conformance CASE...: side by side, each with keys of its own.
conformance() {
	slot=0
	for case in "$@"; do
		for place in kernel $PLACES; do
			run_at "$place" "$case" $slot &
		done
		slot=$((slot + 1))
	done
	wait
	for case in "$@"; do
		for place in $PLACES; do
			judge "$place" "$case"
		done
		rm -f "$WORK/$case".*
	done
}

# run_cases CASE...: what counts all there is runs alone, the others by twos
# (but not on a slow machine).
run_cases() {
	first=
	for case in "$@"; do
		case $case in
		info.*) conformance "$case" ;;
		*)
			if [ "$DIPC_TEST_SLOW" -gt 1 ]; then
				conformance "$case"
			elif [ -n "$first" ]; then
				conformance "$first" "$case"
				first=
			else
				first=$case
			fi
			;;
		esac
	done
	[ -z "$first" ] || conformance "$first"
}

nothing_left() {
	! ipcs | grep -i "^$KEYS"
	for place in $PLACES; do
		"$DIPC" ls --dir "$WORK/$place" --json >"$WORK/left"
		perl -MJSON::PP -e 'local $/; $s = decode_json(<STDIN>);
			@o = @{$s->{objects}}; print "on the cluster: ", encode_json($_), "\n" for @o;
			exit(@o > 0)' <"$WORK/left"
	done
}

# Equal output proves nothing if the kernel made all of it.
all_distributed() {
	for place in $PLACES; do
		CONFORMANCE_SPAWN=$(spawn "$place") "$PROGRAM" sem_get.everywhere
		"$DIPC" status --dir "$WORK/$place" --json >"$WORK/status"
		perl -MJSON::PP -e 'local $/; $s = decode_json(<STDIN>);
			print "node $_->{node}: no operation\n" for
				@idle = grep { !$_->{nr_atomics} } @$s;
			exit(@idle > 0)' <"$WORK/status"
	done
}

# What is let pass as different has its row.
deviations_documented() {
	sed -n 's/.*deviates("\(.*\)").*/\1/p' "$HERE"/*.c | sort -u |
		while read -r text; do
			grep -F "$text" "$TOP/docs/deviations.md" || exit 1
		done
}

# cases WORD...: a theme stands for its cases
cases() {
	for word in "$@"; do
		"$PROGRAM" --list | grep -E "^$word(\.|$)" || echo "$word"
	done
}

for place in $PLACES; do
	"$DIPC" up --nodes "$place" --transport "$DIPC_TRANSPORT" \
		--dir "$WORK/$place" ${CONFORMANCE_UP:-} >"$WORK/up" 2>&1 || {
		cat "$WORK/up"
		say "0 passed, 1 failed"
		exit 1
	}
done
case ${1:-} in
"") list=$("$PROGRAM" --list) ;;
# shellcheck disable=SC2086
quick) list=$(cases $QUICK) ;;
*) list=$(cases "$@") ;;
esac
# shellcheck disable=SC2086
run_cases $list
run_case all_distributed all_distributed
run_case nothing_left nothing_left
run_case deviations_documented deviations_documented
summary
