#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs the tests of what we rely on in the kernel (tests/kernel) where rxe
# lives: each program kernel_* of a folder, one after the other; and what our
# pager does against the race among them (tests/unit/node/test_pager_cure.c).
#
#   tests/rxe/guest.sh run tests/rxe/kernel.sh DIR
#
# A program's exit status 77 means skipped; its own output says why.
# Emulation is slow: the programs get DIPC_TEST_SLOW=10 (if not set already)
# and DIPC_KERNEL_TIMEOUT seconds each (180).
set -u

dir=${1:?usage: kernel.sh DIR}
limit=${DIPC_KERNEL_TIMEOUT:-180}
export DIPC_TEST_SLOW=${DIPC_TEST_SLOW:-10}
passed=0 failed=0 skipped=0

for program in "$dir"/kernel_* "$dir"/tests/test_node_pager_{cure,bug4}; do
	if [ ! -f "$program" ] || [ ! -x "$program" ]; then
		continue
	fi
	name=${program##*/}
	began=$SECONDS
	timeout -k 5 "$limit" "$program"
	status=$?
	case $status in
	0) word=ok passed=$((passed + 1)) ;;
	77) word=skipped skipped=$((skipped + 1)) ;;
	124 | 137) word="FAILED (after $limit s)" failed=$((failed + 1)) ;;
	*) word="FAILED (exit $status)" failed=$((failed + 1)) ;;
	esac
	echo "$name: $word, $((SECONDS - began)) s"
done

if [ $((passed + failed + skipped)) -eq 0 ]; then
	echo "kernel.sh: no kernel_* program in $dir" >&2
	exit 1
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
