#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The page protocol's model: every state that these bounds allow is looked at,
# and mistakes 1 to 3 of runtime/protocol/seeded_bug.h are found.
#
#   sh tests/model/run.sh [NAME...]   names below; CHECKERS: at once (processors)
#
# What led to a mistake that should not be there is printed, its last steps.
set -u
cd "$(dirname "$0")" || exit 1
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM
export WORK
CHECKERS=${CHECKERS:-$(nproc)}

# name, what is expected, model, pan's compiler flags, pan's flags
configurations() {
	cat <<-END
		two_pages_crash clean -DPAGES=2 -DOPS=1 -DCRASHES=1|-DSAFETY|-w24
		one_page_crash clean -DOPS=2 -DTOTAL=5 -DCRASHES=1|-DSAFETY|-w24
		one_page clean -DOPS=2 -DCRASHES=0|-DSAFETY|-w22
		one_page_restart clean -DOPS=2 -DTOTAL=4 -DCRASHES=1 -DRESTART=1|-DSAFETY|-w22
		every_wait_ends clean -DOPS=2 -DTOTAL=3 -DCRASHES=1|-DNP|-l -w22
		finds_bug1 broken -DOPS=2 -DCRASHES=0 -DBUG=1|-DSAFETY|-w22
		finds_bug2 broken -DOPS=2 -DCRASHES=0 -DBUG=2|-DSAFETY|-w22
		finds_bug3 broken -DOPS=2 -DCRASHES=0 -DBUG=3|-DSAFETY|-w22
	END
}

check() { # NAME EXPECTED MODEL|COMPILER|PAN
	name=$1
	expected=$2
	shift 2
	model=$(echo "$*" | cut -d'|' -f1)
	compiler=$(echo "$*" | cut -d'|' -f2)
	flags=$(echo "$*" | cut -d'|' -f3)
	mkdir -p "$WORK/$name"
	cp pages.pml "$WORK/$name"
	cd "$WORK/$name" || exit 1
	# shellcheck disable=SC2086 # flags
	if ! { spin -a $model pages.pml &&
		cc -O2 -w -DMEMLIM=3500 -DNOREDUCE -DVECTORSZ=2048 $compiler -o pan pan.c; } \
		>build 2>&1; then
		sed 's/^/    /' build
		echo "FAIL model.$name: it does not build"
		return
	fi
	# shellcheck disable=SC2086
	./pan -m100000 $flags >out 2>&1
	states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' out)
	seconds=$(sed -n 's/.*elapsed time \([0-9.]*\) .*/\1/p' out)
	memory=$(sed -n 's/^ *\([0-9]*\)[0-9.]*\ttotal actual memory.*/\1/p' out)
	figures="$states states, $seconds s, $memory MB"
	if [ "$expected" = clean ] && grep -q 'errors: 0$' out &&
		! grep -Eq 'max search depth too small|not completed' out; then
		echo "ok model.$name: $figures"
	elif [ "$expected" = broken ] && grep -q 'assertion violated' out; then
		echo "ok model.$name: $figures"
	else
		echo "FAIL model.$name: $figures"
		grep -E '^pan|errors|acceptance|non-progress' out
		[ ! -f pages.pml.trail ] ||
			spin -t -p $model pages.pml 2>&1 | tail -n 60
	fi | tee result
}

if [ "${1:-}" = --one ]; then
	shift
	# shellcheck disable=SC2048,SC2086 # one line
	check $*
	exit
fi
for name in ${*:-.}; do
	configurations | sed 's/^[[:space:]]*//' | grep "^$name"
done | xargs -P "$CHECKERS" -I{} sh run.sh --one {} | tee "$WORK/all"
passed=$(grep -c '^ok ' "$WORK/all")
failed=$(grep -c '^FAIL ' "$WORK/all")
[ $((passed + failed)) -gt 0 ] || failed=1
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
