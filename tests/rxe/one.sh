#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Inside one guest (or on a host with RDMA): everything on real verbs, three
# or four nodes on one device. Usage: one.sh BUILD
set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$1
export BUILD TOP
export DIPC_TRANSPORT=verbs
export DIPC_TEST_SLOW="${DIPC_TEST_SLOW:-20}"
passed=0
failed=0

# part NAME COMMAND...: its last line counts.
part() {
	name=$1
	shift
	echo "== $name"
	"$@" >"/tmp/part.$$" 2>&1
	status=$?
	cat "/tmp/part.$$"
	counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed.*/\1 \2/p' \
		"/tmp/part.$$" | tail -n 1)
	if [ -n "$counts" ]; then
		passed=$((passed + ${counts% *}))
		failed=$((failed + ${counts#* }))
	elif [ $status -eq 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
}

part contract "$BUILD/bin/contract_transport" verbs "$GUEST_IP"
part cluster sh "$TOP/tests/cluster/run.sh"
# what crosses the wire; the rest is the same code as on shm
part "faults by signal" sh "$TOP/tests/cluster/bysignal.sh" threads grow \
	forks calls
part exact sh "$TOP/tests/cluster/exact.sh"
part futexes sh "$TOP/tests/cluster/futex.sh" lock wake_all waiters_killed \
	node_killed
part signals sh "$TOP/tests/cluster/signals.sh" observed timeouts cancelled ends
part locks sh "$TOP/tests/cluster/sync.sh" mutexes buffer barrier \
	owner_killed owner_node_killed
part pages sh "$TOP/tests/cluster/pages.sh" cost hints madvise
part homes sh "$TOP/tests/cluster/homes.sh" large spread options_refused home_dies
part life sh "$TOP/tests/cluster/life.sh"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
