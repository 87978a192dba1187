#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Litmus tests over four nodes: what sequential consistency forbids is never
# seen, and is seen at once when the protocol has a mistake (tests/seeded).
# Variables: tests/support/cluster.sh, and
#
#   LITMUS_ROUNDS  of each test (8000; a lock: a 32nd part)
#
#   sh tests/litmus/run.sh [held | unheld | bug1 | bug2 | bug3]...
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
trap 'cluster_down; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM
NODES=4
ROUNDS=${LITMUS_ROUNDS:-$(scaled 8000)}
LIMIT=$((20 + 2 * DIPC_TEST_SLOW))

# litmus ROUNDS [TEST...]: on all nodes; the status of node 1's, which is 3
# when something forbidden was seen.
litmus() {
	rounds=$1
	shift
	rm -f "$WORK/notebook"
	pids=
	for node in $(seq 2 $NODES); do
		on "$node" "$JOBS/job_litmus" "$WORK/notebook" \
			$((node - 1)) $NODES 0x7101 "$rounds" $LIMIT "$@" &
		pids="$pids $!"
	done
	status=0
	on 1 "$JOBS/job_litmus" "$WORK/notebook" \
		0 $NODES 0x7101 "$rounds" $LIMIT "$@" || status=$?
	# shellcheck disable=SC2086 # many
	wait $pids
	return $status
}

# clean NAME SETTING: each test counts by itself.
clean() {
	if ! cluster_up $NODES --set "$2" >"$WORK/up" 2>&1; then
		cat "$WORK/up"
		failed=$((failed + 1))
		return
	fi
	litmus "$ROUNDS" >"$WORK/out" 2>&1
	status=$?
	sed "s/ litmus\./ $DIPC_TRANSPORT.$1./" "$WORK/out"
	passed=$((passed + $(grep -c '^ok ' "$WORK/out")))
	bad=$(grep -c '^FAIL ' "$WORK/out")
	[ $status -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
	failed=$((failed + bad))
	[ "$bad" -eq 0 ] || cluster_logs
	cluster_down
}

# broken N: with mistake N the tests fail, by what they see.
test_broken() {
	started=$(date +%s)
	status=0
	BUILD=$BUILD/bin/tests/bug$1
	DIPC=$BUILD/bin/dipc
	cluster_up $NODES
	grep -q "seeded bug $1" "$CLUSTER"/*.log
	litmus "$ROUNDS" || status=$?
	cluster_down
	[ $status -eq 3 ] || {
		say "the tests ended with $status, not 3"
		return 1
	}
	say "found after $(($(date +%s) - started)) s"
}

for name in ${*:-held unheld bug1 bug2 bug3}; do
	case $name in
	held) clean held "node.hold-us=50" ;;
	unheld) clean unheld "node.hold-us=0" ;;
	bug?)
		cmake --build "$BUILD" --target dipc_seeded \
			>"$WORK/build" 2>&1 || cat "$WORK/build"
		run_case "litmus_finds_$name" test_broken "${name#bug}"
		;;
	esac
done
summary
