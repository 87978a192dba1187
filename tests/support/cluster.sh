# SPDX-License-Identifier: BSD-2-Clause
# For the shell tests: cases that count, and a cluster of one's own.
#
#   BUILD          build folder (default: build beside the sources)
#   DIPC_TRANSPORT shm (default) or verbs
#   DIPC_TEST_SLOW how many times slower than a laptop this machine is
#
# shellcheck shell=sh

HERE=$(cd "$(dirname "$0")" && pwd)
TOP=${TOP:-$(cd "$HERE/../.." && pwd)}
BUILD=${BUILD:-$TOP/build}
DIPC_TRANSPORT=${DIPC_TRANSPORT:-shm}
DIPC_TEST_SLOW=${DIPC_TEST_SLOW:-1}
DIPC=$BUILD/bin/dipc
JOBS=$BUILD/bin/tests
passed=0
failed=0

say() {
	printf '%s\n' "$*"
}

# case NAME COMMAND...: run it; its output is shown only when it fails.
run_case() {
	case_name=$1
	shift
	case_log=$(mktemp)
	# not inside the `if`: there the shell would ignore -e
	(set -e; "$@") >"$case_log" 2>&1
	case_status=$?
	if [ $case_status -eq 0 ]; then
		passed=$((passed + 1))
		say "ok $DIPC_TRANSPORT.$case_name"
	else
		failed=$((failed + 1))
		say "FAIL $DIPC_TRANSPORT.$case_name"
		sed 's/^/    /' "$case_log"
		cluster_logs
	fi
	rm -f "$case_log"
}

# summary: the last line, and the exit status.
summary() {
	say "$passed passed, $failed failed"
	[ "$failed" -eq 0 ]
}

# scaled N: fewer on a slow machine.
scaled() {
	n=$(($1 / DIPC_TEST_SLOW))
	[ "$n" -gt 0 ] || n=1
	echo "$n"
}

cluster_up() { # NODES [ARGS...]
	CLUSTER=$(mktemp -d)
	nodes=$1
	shift
	"$DIPC" up --nodes "$nodes" --transport "$DIPC_TRANSPORT" \
		--dir "$CLUSTER" "$@"
}

cluster_down() {
	[ -n "${CLUSTER:-}" ] || return 0
	"$DIPC" down --dir "$CLUSTER" >/dev/null || true
	rm -rf "$CLUSTER"
	CLUSTER=
}

cluster_logs() {
	[ -n "${CLUSTER:-}" ] && [ -d "$CLUSTER" ] || return 0
	for log in "$CLUSTER"/*.log; do
		[ -s "$log" ] || continue
		say "    --- $(basename "$log")"
		tail -n 15 "$log" | sed 's/^/    /'
	done
}

# on NODE COMMAND...
on() {
	node=$1
	shift
	"$DIPC" run --dir "$CLUSTER" --node "$node" -- "$@"
}

# wait_all PID...: fails if any of them failed.
wait_all() {
	bad=0
	for pid in "$@"; do
		wait "$pid" || bad=1
	done
	return $bad
}
