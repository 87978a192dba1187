#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What people get wrong: each gives one line that names cause and setting, a
# non-zero exit, and leaves nothing running.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
trap 'cluster_down; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM
LIMIT=$((20 * DIPC_TEST_SLOW))

# refused PATTERN COMMAND...: fails, with one line on stderr that matches.
refused() {
	pattern=$1
	shift
	status=0
	timeout $LIMIT "$@" >"$WORK/out" 2>"$WORK/err" || status=$?
	say "exit $status: $(cat "$WORK/err")"
	[ "$status" -ne 0 ] && [ "$status" -ne 124 ]
	[ "$(wc -l <"$WORK/err")" -eq 1 ]
	grep -Eq "$pattern" "$WORK/err"
}

# conf NAME REFEREE KEY [LINE...]: a configuration of node 9.
conf() {
	conf_file=$WORK/$1.conf
	{
		printf '[cluster]\nreferee = %s\nkey-file = %s\n' "$2" "$3"
		printf 'transport = shm\n[node]\nnode = 9\n'
		printf 'socket = %s\naddress = %s\n' "$WORK/$1.sock" "$WORK/$1.shm"
		shift 3
		[ $# -eq 0 ] || printf '%s\n' "$@"
	} >"$conf_file"
}

nothing_left_of() { # NAME
	! pgrep -f "$WORK/$1.conf" && [ ! -e "$WORK/$1.sock" ]
}

referee_of() {
	sed -n 's/^referee *= *//p' "$CLUSTER/node1.conf"
}

test_no_referee() {
	conf noref 127.0.0.1:1 "$CLUSTER/cluster.key"
	refused 'referee.*127\.0\.0\.1:1.*(refused|running)' \
		"$BUILD/bin/dipcd" --config "$WORK/noref.conf"
	nothing_left_of noref
}

test_wrong_address() {
	conf wrongaddr no-such-host.invalid:7341 "$CLUSTER/cluster.key"
	refused 'referee.*no-such-host\.invalid' \
		"$BUILD/bin/dipcd" --config "$WORK/wrongaddr.conf"
	nothing_left_of wrongaddr
}

test_wrong_key() {
	"$DIPC" key "$WORK/other.key"
	conf wrongkey "$(referee_of)" "$WORK/other.key"
	refused 'refused the cluster key in key-file' \
		"$BUILD/bin/dipcd" --config "$WORK/wrongkey.conf"
	nothing_left_of wrongkey
}

test_key_missing() {
	conf nokey "$(referee_of)" "$WORK/none.key"
	refused 'key-file.*none\.key' \
		"$BUILD/bin/dipcd" --config "$WORK/nokey.conf"
}

test_key_readable() {
	"$DIPC" key "$WORK/open.key"
	chmod 644 "$WORK/open.key"
	conf openkey "$(referee_of)" "$WORK/open.key"
	refused 'open\.key.*mode 0600' "$BUILD/bin/dipcd" --config "$WORK/openkey.conf"
}

test_unknown_node() {
	refused 'node 7' "$DIPC" run --dir "$CLUSTER" --node 7 -- true
}

test_same_node_twice() {
	sed "s#^socket.*#socket = $WORK/twice.sock#; s#^address.*#address = $WORK/twice.shm#" \
		"$CLUSTER/node1.conf" >"$WORK/twice.conf"
	refused 'node 1' "$BUILD/bin/dipcd" --config "$WORK/twice.conf"
	nothing_left_of twice
}

test_socket_in_use() {
	conf sock "$(referee_of)" "$CLUSTER/cluster.key"
	sed -i "s#^socket.*#socket = $CLUSTER/node1.sock#" "$WORK/sock.conf"
	refused 'socket = .*another dipcd' \
		"$BUILD/bin/dipcd" --config "$WORK/sock.conf"
	[ -S "$CLUSTER/node1.sock" ]
}

test_port_in_use() {
	conf port "$(referee_of)" "$CLUSTER/cluster.key" \
		'[referee]' "referee-address = $WORK/port.ref"
	refused 'referee = .*in use' "$BUILD/bin/dipc-referee" --config "$WORK/port.conf"
	port=$(referee_of)
	refused 'in use' "$DIPC" up --nodes 1 --transport shm --dir "$WORK/up" \
		--port "${port#*:}"
	! pgrep -f "$WORK/up/"
}

test_already_up() {
	refused 'already' "$DIPC" up --nodes 1 --transport shm --dir "$CLUSTER"
}

test_corrupt_config() {
	conf corrupt 127.0.0.1:1 "$CLUSTER/cluster.key" 'this is no setting'
	refused 'corrupt\.conf:[0-9]+' "$BUILD/bin/dipcd" --config "$WORK/corrupt.conf"
	conf unknown 127.0.0.1:1 "$CLUSTER/cluster.key" 'colour = blue'
	refused 'unknown\.conf:[0-9]+.*colour' "$BUILD/bin/dipcd" --config "$WORK/unknown.conf"
	conf range 127.0.0.1:1 "$CLUSTER/cluster.key" 'hold-us = many'
	refused 'range\.conf:[0-9]+.*hold-us' "$BUILD/bin/dipcd" --config "$WORK/range.conf"
	refused 'none\.conf' "$BUILD/bin/dipcd" --config "$WORK/none.conf"
}

test_missing_device() {
	conf nodev "$(referee_of)" "$CLUSTER/cluster.key"
	sed -i 's/^transport.*/transport = verbs/; s/^address.*/address = 127.0.0.1/' \
		"$WORK/nodev.conf"
	refused 'transport = verbs.*rdma link add|127\.0\.0\.1.*rdma link add' \
		"$BUILD/bin/dipcd" --config "$WORK/nodev.conf"
	nothing_left_of nodev
}

# More than a segment can have: ENOMEM. More than the machine has is no mistake.
test_segment_too_large() {
	refused 'shmget.*Cannot allocate memory' \
		"$DIPC" run --dir "$CLUSTER" --node 1 -- \
		"$JOBS/job_files" 0x3001 $((16 << 40)) remove
	# and the key is free
	on 2 "$JOBS/job_files" 0x3001 $((4 << 40)) remove
}

test_bad_usage() {
	refused 'frobnicate' "$DIPC" frobnicate
	refused 'nodes' "$DIPC" up --nodes 0 --dir "$WORK/zero"
	refused 'nodes' "$DIPC" up --nodes 99 --dir "$WORK/many"
}

if ! cluster_up 2 --set limits.shmmax=64T >"$WORK/up.log"; then
	cat "$WORK/up.log"
	failed=$((failed + 1))
	summary
	exit 1
fi
for name in ${*:-no_referee wrong_address wrong_key key_missing key_readable unknown_node same_node_twice socket_in_use port_in_use already_up corrupt_config missing_device segment_too_large bad_usage}; do
	run_case "$name" "test_$name"
done
summary
