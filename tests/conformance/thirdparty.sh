#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Programs that know nothing of us, under the preload: each prints on one node
# what it prints on the kernel. See tests/support/cluster.sh for the variables.
#
#   sh tests/conformance/thirdparty.sh [CASE...]
#
# What is not installed is skipped; tests/run.sh installs it.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
SCRIPTS=$TOP/tests/conformance/thirdparty
WORK=$(mktemp -d)
chmod 755 "$WORK"
trap 'finish' EXIT
trap 'exit 1' INT TERM

finish() {
	[ ! -e "$WORK/pg/postmaster.pid" ] ||
		as_postgres "$(pg_bin)/pg_ctl" -D "$WORK/pg" stop -m immediate
	cluster_down
	rm -rf "$WORK"
}

all_keys() { # NODE COMMAND...
	node=$1
	shift
	"$DIPC" run --dir "$CLUSTER" --node "$node" --all-keys -- "$@"
}

# same COMMAND...: the kernel, then node 1 and node 2, one output.
same() {
	timeout $((30 * DIPC_TEST_SLOW)) "$@" >"$WORK/kernel" 2>&1
	for node in 1 2; do
		all_keys $node timeout $((30 * DIPC_TEST_SLOW)) "$@" \
			>"$WORK/dipc" 2>&1 || :
		diff "$WORK/kernel" "$WORK/dipc"
	done
	[ -s "$WORK/kernel" ]
}

# One program needs what the next must find gone.
nothing_left() {
	[ "$("$DIPC" ls --dir "$CLUSTER" --json |
		perl -MJSON::PP -e 'local $/; print scalar @{decode_json(<STDIN>)->{objects}}')" = 0 ]
}

test_perl_core() {
	same perl "$SCRIPTS/core.pl"
	nothing_left
}

test_perl_sysv() {
	same perl "$SCRIPTS/sysv.pl"
	nothing_left
}

# Its extensions are opened with RTLD_DEEPBIND.
test_php() {
	same php "$SCRIPTS/sysv.php"
	nothing_left
}

# The module, libc's functions by ctypes, and a system call by its number.
test_python() {
	same /usr/bin/python3 "$SCRIPTS/sysv.py"
	nothing_left
}

# stress NAME SECONDS: on all nodes at once; it checks what it reads.
stress() {
	pids=
	for node in 1 2 3; do
		all_keys $node timeout $((60 * DIPC_TEST_SLOW)) \
			stress-ng "--$1" 2 --verify --timeout "$2" \
			>"$WORK/stress.$node" 2>&1 &
		pids="$pids $!"
	done
	wait_all $pids || bad=1
	cat "$WORK"/stress.*
	! grep -E ' fail: | error: |finished prematurely' "$WORK"/stress.*
	grep -q 'successful run completed' "$WORK/stress.1"
	[ "$bad" = 0 ]
}

test_stress_shm() {
	stress shm-sysv 5
}

test_stress_sem() {
	stress sem-sysv 5
}

test_stress_msg() {
	stress msg 5
}

# ---- PostgreSQL -------------------------------------------------------------

pg_bin() {
	find /usr/lib/postgresql -name bin 2>/dev/null | sort | tail -n 1
}

# as_postgres COMMAND...
as_postgres() {
	setpriv --reuid postgres --regid postgres --init-groups "$@"
}

sql() {
	as_postgres psql -h "$WORK" -d postgres -Atc "$1"
}

# A whole database server with all its shared memory and its semaphores, which
# are sem_t in that memory, in a segment of node 1.
test_postgresql() {
	bin=$(pg_bin)
	# a copy that another user may read
	mkdir -p "$WORK/build/bin" "$WORK/build/lib" "$WORK/pg"
	cp "$DIPC" "$WORK/build/bin"
	cp -d "$BUILD"/lib/libdipc-rdma.so* "$WORK/build/lib"
	chown postgres "$WORK" "$WORK/pg"
	chmod 755 "$CLUSTER"
	as_postgres "$bin/initdb" -D "$WORK/pg" -A trust --no-sync >"$WORK/initdb"
	cat >>"$WORK/pg/postgresql.conf" <<-END
		shared_memory_type = sysv
		dynamic_shared_memory_type = sysv
		shared_buffers = 16MB
		listen_addresses = ''
		unix_socket_directories = '$WORK'
		fsync = off
		max_connections = 20
		max_parallel_workers_per_gather = 2
		min_parallel_table_scan_size = 0
		parallel_setup_cost = 0
		parallel_tuple_cost = 0
	END
	as_postgres "$WORK/build/bin/dipc" run --dir "$CLUSTER" --node 1 --all-keys -- \
		"$bin/postgres" -D "$WORK/pg" >"$WORK/pg.log" 2>&1 &
	server=$!
	for i in $(seq $((100 * DIPC_TEST_SLOW))); do
		as_postgres psql -h "$WORK" -d postgres -Atc 'select 1' >/dev/null 2>&1 && break
		kill -0 $server || { cat "$WORK/pg.log"; return 1; }
		sleep 0.1
	done
	"$DIPC" ls --dir "$CLUSTER"
	[ "$("$DIPC" ls --dir "$CLUSTER" | grep -c '^shm')" -ge 1 ]
	as_postgres pgbench -h "$WORK" -i -q postgres
	as_postgres timeout $((60 * DIPC_TEST_SLOW)) \
		pgbench -h "$WORK" -c 4 -j 2 -t "$(scaled 300)" postgres
	[ "$(sql 'select (select sum(abalance) from pgbench_accounts) =
		(select sum(delta) from pgbench_history)')" = t ]
	# a parallel query makes dynamic segments
	sql 'explain select count(*) from pgbench_accounts' | grep 'Workers Planned'
	[ "$(sql 'select count(*) from pgbench_accounts')" = 100000 ]
	as_postgres "$bin/pg_ctl" -D "$WORK/pg" stop -m fast -w
	wait $server
	nothing_left
}

# needs CASE COMMAND: skips it with the reason when COMMAND is not there.
needs() {
	command -v "$2" >/dev/null && return 0
	say "skip $DIPC_TRANSPORT.$1: $2 is not installed"
	return 1
}

program_of() {
	case $1 in
	perl_*) echo perl ;;
	php) echo php ;;
	python) echo /usr/bin/python3 ;;
	stress_*) echo stress-ng ;;
	postgresql) echo "$(pg_bin)/postgres" ;;
	esac
}

if ! cluster_up 3; then
	failed=$((failed + 1))
	summary
	exit 1
fi
bad=0
for name in ${*:-perl_core perl_sysv php python stress_shm stress_sem stress_msg postgresql}; do
	needs "$name" "$(program_of "$name")" || continue
	run_case "$name" "test_$name"
	"$DIPC" rm --dir "$CLUSTER" --all >/dev/null
done
summary
