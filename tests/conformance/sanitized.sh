#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The conformance suite with library, daemons and the suite itself under
# sanitizers: the same output, and no report.
#
#   sh tests/conformance/sanitized.sh BUILD [CASE... | THEME...]
#
# BUILD: build-asan or build-tsan, see CMakePresets.json.
set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd)
case $1 in
/*) BUILD=$1 ;;
*) BUILD=$TOP/$1 ;;
esac
shift
REPORTS=$(mktemp -d)
chmod 1777 "$REPORTS" # actors of other users write there, too
trap 'rm -rf "$REPORTS"' EXIT
trap 'exit 1' INT TERM

# The library is preloaded, so it comes before the sanitizer's own, which is
# there all the same. Daemons end without freeing what the kernel frees, and
# cases without joining what exit ends.
ASAN_OPTIONS="suppressions=$TOP/tests/conformance/asan.supp:verify_asan_link_order=0:detect_leaks=0:log_exe_name=1:log_path=$REPORTS/asan"
UBSAN_OPTIONS="print_stacktrace=1:log_path=$REPORTS/ubsan"
TSAN_OPTIONS="log_path=$REPORTS/tsan:log_exe_name=1:die_after_fork=0:report_thread_leaks=0"
export BUILD ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS
export DIPC_TEST_SLOW="${DIPC_TEST_SLOW:-3}"

# mlockall would bring in terabytes of shadow memory. On the kernel, too, the
# thread sanitizer holds handlers back while a call sleeps, so that nobody jumps,
# and looks at all of a message of 2^63 bytes, and its build has no doors for raw
# calls (runtime/client/CMakeLists.txt); the address sanitizer knows
# nothing of a cancelled thread's stack.
case $(nm -D "$BUILD/lib/libdipc-rdma.so" | grep -o '__[at]san_init') in
__tsan_init) omit='locked_memory|handler.jump|msg_send.sizes|^raw' ;;
*) omit='locked_memory|handler.cancelled' ;;
esac

# cases WORD...: a theme stands for its cases; no word for all
cases() {
	for word in "${@:-.*}"; do
		"$BUILD/bin/tests/conformance" --list | grep -E "^$word(\.|$)"
	done | grep -Ev "$omit"
}

# shellcheck disable=SC2046 # no names with blanks
set -- $(cases "$@")
sh "$TOP/tests/conformance/run.sh" "$@" >"$REPORTS/output" 2>&1
grep -v ' passed, ' "$REPORTS/output"
counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed.*/\1 \2/p' "$REPORTS/output")
passed=${counts% *}
failed=${counts#* }
found=$(find "$REPORTS" -name '*san.*')
if [ -z "$found" ]; then
	echo "ok no_report"
	passed=$((passed + 1))
else
	echo "FAIL no_report"
	# shellcheck disable=SC2086
	for f in $found; do cat "$f"; done | sed 's/^/    /'
	failed=$((failed + 1))
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
