#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# smoke.sh PROGRAM: dipc-bench runs and has a line for each benchmark. How
# fast anything was is no test.
set -u
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$1" --smoke >"$out"
status=$?
cat "$out"
for name in $("$1" --list | cut -d' ' -f1); do
	if ! grep -q "^$name .*[0-9]" "$out"; then
		echo "no line for $name"
		status=1
	fi
done
exit $status
