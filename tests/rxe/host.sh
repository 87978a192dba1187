# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2034
# Soft-RoCE (or a real RDMA device) on this host itself, without a guest.
# Sourced by guest.sh.
#
#   host_rdma_ready       0 if this host can run an RDMA script by itself
#   host_rdma_start       sets HOST_RDMA_IP; host_rdma_stop undoes it
#
# Nothing here touches the host's own network interfaces: rxe gets a dummy
# interface of its own, and it is gone afterwards.

HOST_RDMA_NETDEV=dipc-rxe0
HOST_RDMA_LINK=dipc_rxe0
HOST_RDMA_IP=
HOST_RDMA_CREATED=

# The IPv4 address of the first active RDMA link that has one.
host_rdma_existing_ip()
{
	local netdev ip

	compgen -G '/dev/infiniband/uverbs*' >/dev/null || return 1
	for netdev in $(timeout 5 rdma link show 2>/dev/null |
		sed -n 's/.*state ACTIVE.* netdev \([^ ]*\).*/\1/p'); do
		ip=$(ip -4 -o addr show dev "$netdev" |
			sed -n 's/.* inet \([0-9.]*\).*/\1/p' | head -n 1)
		if [ -n "$ip" ]; then
			echo "$ip"
			return 0
		fi
	done
	return 1
}

# Makes a dummy interface with rxe on it. Leaves nothing behind on failure.
host_rdma_create()
{
	local tries module

	[ "$(id -u)" -eq 0 ] || return 1
	command -v modprobe rdma ip >/dev/null || return 1
	for module in rdma_rxe ib_uverbs rdma_ucm dummy; do
		timeout 10 modprobe "$module" 2>/dev/null || return 1
	done
	ip link add "$HOST_RDMA_NETDEV" type dummy 2>/dev/null || return 1
	HOST_RDMA_CREATED=1
	if ip addr add 10.77.0.1/32 dev "$HOST_RDMA_NETDEV" &&
		ip link set "$HOST_RDMA_NETDEV" mtu 9000 up &&
		timeout 10 rdma link add "$HOST_RDMA_LINK" type rxe \
			netdev "$HOST_RDMA_NETDEV" 2>/dev/null; then
		for ((tries = 0; tries < 50; tries++)); do
			grep -qs ffff:0a4d:0001 \
				"/sys/class/infiniband/$HOST_RDMA_LINK/ports/1/gids/"* &&
				[ -e /dev/infiniband/rdma_cm ] && return 0
			sleep 0.1
		done
	fi
	host_rdma_stop
	return 1
}

host_rdma_start()
{
	HOST_RDMA_IP=$(host_rdma_existing_ip) && return 0
	host_rdma_create || return 1
	HOST_RDMA_IP=10.77.0.1
}

host_rdma_stop()
{
	[ -n "$HOST_RDMA_CREATED" ] || return 0
	HOST_RDMA_CREATED=
	timeout 10 rdma link delete "$HOST_RDMA_LINK" 2>/dev/null
	timeout 10 ip link delete "$HOST_RDMA_NETDEV"
}
