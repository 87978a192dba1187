#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A working set twice what a node may keep (cache-size): two nodes change the
# same pages, in order, backwards and at random, and each knows what it wrote.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
trap 'cluster_down; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM

PAGES=${PAGES:-1024}
ROUNDS=${ROUNDS:-6}

job() { # NODE ARGUMENT...
	node=$1
	shift
	timeout $((60 * DIPC_TEST_SLOW)) "$DIPC" run --dir "$CLUSTER" --node "$node" --all-keys -- \
		"$JOBS/job_cache" 0x4a01 "$PAGES" "$@"
}

test_twice_the_cache() {
	job 1 work 1 "$ROUNDS" >"$WORK/1" &
	other=$!
	job 2 work 2 "$ROUNDS" >"$WORK/2" || return 1
	wait $other || return 1
	job 2 sum >"$WORK/sum" || return 1
	if [ $(($(cat "$WORK/1") + $(cat "$WORK/2"))) -ne "$(cat "$WORK/sum")" ]; then
		echo "added $(cat "$WORK/1") and $(cat "$WORK/2"), found $(cat "$WORK/sum")"
		return 1
	fi
}

# At no time much more than that is here, and something had to go.
test_limit_holds() {
	job 2 work 3 $((ROUNDS * 2)) >/dev/null &
	busy=$!
	seen=0
	while kill -0 $busy 2>/dev/null; do
		"$DIPC" ls -v --dir "$CLUSTER" >"$WORK/ls" || return 1
		awk -v limit=$((PAGES / 2 * 9 / 8)) '/node 2: .* here/ {
			if ($4 == "MiB" && $3 * 256 > limit) { print; exit 1 }
		}' "$WORK/ls" || return 1
		grep -q 'evicted: [1-9].* clean, [1-9]' "$WORK/ls" && seen=1
		sleep 0.1
	done
	wait $busy || return 1
	[ $seen -eq 1 ] || { cat "$WORK/ls"; return 1; }
}

if ! cluster_up 2 --set node.cache-size=$((PAGES / 2 * 4096)); then
	failed=$((failed + 1))
	summary
	exit 1
fi
run_case twice_the_cache test_twice_the_cache
run_case limit_holds test_limit_holds
job 1 remove
run_case down cluster_down
summary
