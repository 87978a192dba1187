# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# For scripts that guest.sh runs: source "$GUEST_LIB".
#
#   barrier NAME [SECONDS]     wait until every guest has come to NAME
#   put NAME [TEXT]            leave TEXT for the others
#   wait_for NAME [SECONDS]    wait for it and print it
#   capture_start FILE         tcpdump on eth0, returns once it captures
#   capture_stop
#   capture_check FILE         fails unless FILE holds RoCE and ARP only
#
# The first three go through a folder that the guests share with the host
# (not through the network, so captures stay clean). They give up after
# SECONDS (120), or at once when another guest has failed.

shared_wait()
{
	local what=$1 deadline=$((SECONDS + $2))
	shift 2

	until "$@"; do
		if compgen -G "$GUEST_SHARED/failed.*" >/dev/null; then
			echo "$what: another guest has failed" >&2
			return 1
		fi
		if [ "$SECONDS" -ge "$deadline" ]; then
			echo "$what: nothing came in time" >&2
			return 1
		fi
		sleep 0.2
	done
}

barrier_is_full()
{
	local k

	for ((k = 1; k <= GUEST_COUNT; k++)); do
		[ -e "$GUEST_SHARED/barrier.$1.$k" ] || return 1
	done
}

barrier()
{
	: >"$GUEST_SHARED/barrier.$1.$GUEST_ID" || return 1
	shared_wait "barrier $1" "${2:-120}" barrier_is_full "$1"
}

put()
{
	# Renamed into place: nobody may see half of it.
	printf '%s\n' "${2-}" >"$GUEST_SHARED/.put.$1.$GUEST_ID" &&
		mv "$GUEST_SHARED/.put.$1.$GUEST_ID" "$GUEST_SHARED/put.$1"
}

wait_for()
{
	shared_wait "wait_for $1" "${2:-120}" test -e "$GUEST_SHARED/put.$1" &&
		cat "$GUEST_SHARED/put.$1"
}

CAPTURE_PID=
CAPTURE_FILE=

capture_start()
{
	local tries

	# -Z root: tcpdump would otherwise drop to a user who cannot write.
	CAPTURE_FILE=$1
	tcpdump -i eth0 -n -s 128 -B 16384 -U --immediate-mode -Z root \
		-w "$1" 2>"$1.log" &
	CAPTURE_PID=$!
	for ((tries = 0; tries < 100; tries++)); do
		grep -q 'listening on' "$1.log" 2>/dev/null && return 0
		kill -0 "$CAPTURE_PID" 2>/dev/null || break
		sleep 0.1
	done
	echo "capture_start: tcpdump did not start:" >&2
	cat "$1.log" >&2
	return 1
}

# Fails if packets were lost to the capture: it would prove nothing.
capture_stop()
{
	local size before='' tries

	[ -n "$CAPTURE_PID" ] || return 1
	# What is on its way still belongs to the capture, and tcpdump drops
	# what it has not read yet when it is told to stop.
	for ((tries = 0; tries < 20; tries++)); do
		size=$(stat -c %s "$CAPTURE_FILE")
		[ "$size" != "$before" ] || break
		before=$size
		sleep 0.7
	done
	kill -INT "$CAPTURE_PID" 2>/dev/null
	wait "$CAPTURE_PID"
	CAPTURE_PID=
	if ! grep -q '^0 packets dropped by kernel' "$CAPTURE_FILE.log"; then
		echo "capture_stop: packets were lost:" >&2
		cat "$CAPTURE_FILE.log" >&2
		return 1
	fi
}

capture_count()
{
	tcpdump -n -r "$1" "$2" 2>/dev/null | wc -l
}

capture_check()
{
	local roce arp other

	if ! tcpdump -n -r "$1" -c 1 >/dev/null 2>&1; then
		echo "capture $1: cannot be read" >&2
		return 1
	fi
	roce=$(capture_count "$1" 'udp dst port 4791')
	arp=$(capture_count "$1" arp)
	other=$(capture_count "$1" 'not arp and not udp dst port 4791')
	echo "capture ${1##*/}: $roce RoCE, $arp ARP, $other other"
	if [ "$other" -gt 0 ]; then
		tcpdump -n -r "$1" -c 10 \
			'not arp and not udp dst port 4791' 2>/dev/null >&2
		return 1
	fi
	[ "$roce" -gt 0 ]
}
