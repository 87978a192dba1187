#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# All tests, on a fresh Debian machine: installs what is missing, builds, runs.
#
#   sh tests/run.sh          everything: both compilers, sanitizers, clusters on
#                            this machine, soft-RoCE (a guest if need be)
#   sh tests/run.sh quick    unit, contract and kernel tests and one cluster
#   sh tests/run.sh rxe      soft-RoCE alone
#
# As root or with sudo. Ends with "N passed, N failed"; 0 if none failed.
set -u
cd "$(dirname "$0")/.." || exit 1
TOP=$(pwd)
MODE=${1:-all}
LOGS=$(mktemp -d)
passed=0
failed=0
trap 'rm -rf "$LOGS"' EXIT
trap 'exit 1' INT TERM

# shellcheck source=docs/packages.sh
. docs/packages.sh

say() {
	printf '%s\n' "$*"
}

# counts_of LOG: "PASSED FAILED" as the last summary says, ctest's or ours, or
# the last of each guest's added up.
counts_of() {
	sed -n -e 's/^guest\([0-9]\): \([0-9]*\) passed, \([0-9]*\) failed.*/\1 \2 \3/p' \
		-e 's/^\([0-9]*\) passed, \([0-9]*\) failed.*/0 \1 \2/p' \
		-e 's/.* \([0-9]*\) tests failed out of \([0-9]*\).*/ctest \2 \1/p' \
		"$1" | awk '{ ok[$1] = $1 == "ctest" ? $2 - $3 : $2; bad[$1] = $3 }
			END { for (k in ok) { p += ok[k]; f += bad[k]; n++ }
				if (n) print p, f }'
}

# part NAME SECONDS COMMAND...: counts what its output says, or its exit
# status as one test.
part() {
	name=$1
	limit=$2
	shift 2
	log=$LOGS/part
	say "== $name"
	timeout -k 10 "$limit" "$@" >"$log" 2>&1
	status=$?
	counts=$(counts_of "$log")
	if [ -z "$counts" ]; then
		counts="$([ $status -eq 0 ] && echo 1 0 || echo 0 1)"
	elif [ $status -ne 0 ] && [ "${counts#* }" -eq 0 ]; then
		counts="${counts% *} 1" # it counted no failure, and yet it failed
	fi
	grep -E '^(guest[0-9]: )?(ok|FAIL|skip|==) ' "$log"
	if [ "${counts#* }" -ne 0 ]; then
		say "-- $name failed (status $status); the end of its output:"
		tail -n 60 "$log"
	fi
	passed=$((passed + ${counts% *}))
	failed=$((failed + ${counts#* }))
}

# build PRESET FOLDER
build() {
	say "== build $1"
	werror=
	[ "${CI:-}" = true ] && werror=-DDIPC_WERROR=ON
	if cmake --preset "$1" -B "$2" $werror >"$LOGS/build" 2>&1 &&
		cmake --build "$2" -j"$(nproc)" >>"$LOGS/build" 2>&1; then
		passed=$((passed + 1))
		return 0
	fi
	failed=$((failed + 1))
	say "FAIL build $1"
	grep -E 'error|warning' -A3 "$LOGS/build" | head -n 40
	tail -n 5 "$LOGS/build"
	return 1
}

quick() {
	build dev build || return
	part "unit, contract, kernel, some simulation" 260 ctest \
		--test-dir build --output-on-failure \
		-L 'unit|contract|kernel|sim'
	part "cluster on shm" 200 sh tests/cluster/run.sh
	part "conformance, a few" 60 sh tests/conformance/run.sh quick
}

# Programs that know nothing of us, and so are not in docs/packages.sh.
OTHERS="fakeroot php-cli postgresql python3 python3-sysv-ipc stress-ng"

install_others() {
	# a server for one test; no database of this machine's is begun
	if ! [ -d /etc/postgresql-common ]; then
		as_root=
		[ "$(id -u)" -eq 0 ] || as_root=sudo
		$as_root mkdir -p /etc/postgresql-common
		echo 'create_main_cluster = false' | $as_root tee \
			/etc/postgresql-common/createcluster.conf >/dev/null
	fi
	# shellcheck disable=SC2086
	install_packages $OTHERS
}

# Where threads, handlers and processes meet. All of it takes twice as long:
# sh tests/conformance/sanitized.sh build-tsan
TSAN_CASES="cred handler.calls_in_handler handler.masked sem_op sem_order
sem_undo sem_crash sem_thread msg_receive msg_child shm_life storm"

everything() {
	install_others || {
		say "FAIL packages of other programs"
		failed=$((failed + 1))
	}
	quick
	part "simulation, 10000 worlds" 400 \
		build/bin/tests/sim_pages --seeds 1-10000
	part "exact over nodes" 120 sh tests/cluster/exact.sh
	part "signals" 300 sh tests/cluster/signals.sh
	part "faults by signal" 120 sh tests/cluster/bysignal.sh
	part "conformance by signal" 120 env DIPC_FAULTS=signal \
		sh tests/conformance/run.sh shm_attach shm_life shm_map.removing_pages
	part "what pages cost" 120 sh tests/cluster/pages.sh
	part "where pages live" 120 sh tests/cluster/homes.sh
	part "a cluster's life" 120 sh tests/cluster/life.sh
	part "futexes in segments" 120 sh tests/cluster/futex.sh
	part "locks in segments" 300 sh tests/cluster/sync.sh
	part "model" 600 sh tests/model/run.sh
	part "litmus" 500 sh tests/litmus/run.sh
	part "conformance" 600 sh tests/conformance/run.sh
	part "the whole system and its limits" 300 sh tests/cluster/system.sh
	part "mappings as people use them" 300 sh tests/cluster/mapping.sh
	part "more pages than a node keeps" 120 sh tests/cluster/cache.sh
	part "bad input" 120 sh tests/cluster/badinput.sh
	part "the boundary to programs" 200 sh tests/cluster/boundary.sh
	part "install and link" 120 sh tests/cluster/install.sh
	part "benchmarks run" 100 ctest --test-dir build --output-on-failure \
		-L bench
	part "static checks" 120 sh tests/checks.sh
	part "programs of others" 400 sh tests/conformance/thirdparty.sh
	build clang build-clang
	build asan build-asan &&
		part "unit and contract, address and undefined" 400 \
			ctest --test-dir build-asan --output-on-failure \
			-L 'unit|contract' &&
		part "conformance, address and undefined" 900 \
			sh tests/conformance/sanitized.sh build-asan
	build tsan build-tsan &&
		# shellcheck disable=SC2086
		part "conformance, threads" 900 \
			sh tests/conformance/sanitized.sh build-tsan $TSAN_CASES
	rxe
}

rxe() {
	[ -x build/bin/dipcd ] || build dev build || return
	part "soft-RoCE: packages and kernel" 600 tests/rxe/guest.sh install
	part "soft-RoCE: the kernel's behaviour in the guest" 600 \
		tests/rxe/guest.sh run --timeout 540 tests/rxe/kernel.sh "$TOP/build/bin"
	part "soft-RoCE: one machine, four nodes" 1300 \
		tests/rxe/guest.sh run --timeout 1200 tests/rxe/one.sh "$TOP/build"
	part "soft-RoCE: litmus" 700 \
		tests/rxe/guest.sh run --timeout 660 tests/rxe/litmus.sh "$TOP/build"
	part "soft-RoCE: conformance over nodes" 1300 \
		tests/rxe/guest.sh run --timeout 1200 tests/rxe/conformance.sh \
		"$TOP/build"
	part "soft-RoCE: machines on a private link" 900 \
		tests/rxe/guest.sh run --guests 3 --timeout 800 \
		tests/rxe/many.sh "$TOP/build"
}

say "== packages"
# shellcheck disable=SC2086
if ! install_packages $DIPC_PACKAGES clang procps fakeroot spin; then
	say "0 passed, 1 failed"
	exit 1
fi
case $MODE in
all) everything ;;
quick) quick ;;
rxe) rxe ;;
*)
	say "usage: sh tests/run.sh [quick|rxe]"
	exit 2
	;;
esac
say "$passed passed, $failed failed"
[ $failed -eq 0 ]
