#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Proves the harness itself. One guest: the device is there, rping and
# perftest work against the guest's own address. Several: rping from each
# guest to the first, and nothing but RoCE and ARP on the wire.
#
#   tests/rxe/guest.sh run [--guests N] tests/rxe/smoke.sh
set -eu

# shellcheck source=tests/rxe/guest-lib.sh
. "$GUEST_LIB"

# perftest's server and client, both here. $1: the program.
perftest_pair()
{
	local tries

	"$1" -n 100 -F >"$GUEST_OUT/$1.server" 2>&1 &
	for ((tries = 0; tries < 50; tries++)); do
		"$1" -n 100 -F "$GUEST_IP" >"$GUEST_OUT/$1.client" 2>&1 && break
		sleep 0.2
	done
	wait $! || { cat "$GUEST_OUT/$1.server"; return 1; }
	awk -v name="$1" '$1 == 2 && $2 == 100 {
		print name ": 2 bytes, typical " $5 " us"; ok = 1
	} END { exit !ok }' "$GUEST_OUT/$1.client"
}

# rping's exit status says nothing about a broken connection: count.
rping_client()
{
	local pings

	pings=$(rping -c -a "$1" -S 4096 -C 10 -v | grep -c '^ping data')
	echo "rping with $1: $pings of 10"
	[ "$pings" -eq 10 ]
}

smoke_alone()
{
	rping -s -a "$GUEST_IP" -S 4096 -C 10 &
	sleep 1
	rping_client "$GUEST_IP"
	wait $!
	perftest_pair ib_send_lat
	perftest_pair ib_read_lat
}

# The first guest serves the others, one after the other.
smoke_together()
{
	local k

	capture_start "$GUEST_OUT/smoke.pcap"
	barrier start
	for ((k = 2; k <= GUEST_COUNT; k++)); do
		if [ "$GUEST_ID" -eq 1 ]; then
			rping -s -a "$GUEST_IP" -S 4096 -C 10 &
			sleep 1
			put "serve$k"
			wait $!
		elif [ "$GUEST_ID" -eq "$k" ]; then
			wait_for "serve$k"
			rping_client 10.77.0.1
		fi
		barrier "served$k"
	done
	capture_stop
	capture_check "$GUEST_OUT/smoke.pcap"
}

echo "up $(cut -d ' ' -f 1 /proc/uptime) s, $(uname -r), $(nproc) CPU," \
	"locked memory $(ulimit -l), $GUEST_IP"
ibv_devices
test -r /dev/userfaultfd || [ "$GUEST_HOW" = host ]
if [ "$GUEST_COUNT" -eq 1 ]; then
	smoke_alone
else
	smoke_together
fi
