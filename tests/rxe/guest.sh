#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs a script where RDMA works: in one to four guests with soft-RoCE, or,
# where this host has RDMA itself, right here.
#
#   guest.sh install
#       Packages (needs root) and the guests' kernel (unpacked into the
#       cache; nothing of the host's own boot is touched).
#   guest.sh run [--guests N] [--timeout S] [--mem M] [--cpus C]
#                [--pcap FILE] [--out DIR] SCRIPT [ARG...]
#       Defaults: one guest 2048M and 2 processors, else 1536M and 1 each.
#       --pcap captures all traffic between the guests.
#       Exit status: 0 only if SCRIPT exited 0 in every guest, else the
#       first other one; 99 if a guest did not boot, panicked or ran past
#       the time limit (300 s, boot included) or something is missing.
#   guest.sh check-pcap FILE
#       Fails unless FILE holds RoCE (and ARP) only.
#
# The guest sees the host's files, read-only below a RAM disk: everything
# except /dev, /run, /proc and /sys. SCRIPT starts in the current folder as
# root with every DIPC_* variable of the caller and
#   GUEST_ID, GUEST_COUNT   1..N, N
#   GUEST_IP                10.77.0.ID, on eth0 and rxe0 (MTU 9000)
#   GUEST_OUT               its own writable folder: DIR/guestID on the host
#   GUEST_SHARED            writable for all guests: DIR/shared
#   GUEST_LIB               guest-lib.sh, to source (barrier, capture...)
#   GUEST_HOW               guest or host
# DIR/guestID also gets script.log (all output) and serial.log.
#
# Environment: DIPC_RXE=guest|host forces the way; DIPC_RXE_ACCEL=tcg|kvm
# forces the emulator's; DIPC_RXE_CACHE is the cache folder.
set -u

HERE=$(cd "$(dirname "$0")" && pwd -P)
CACHE=${DIPC_RXE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dipc-rxe}
GRACE=20       # s that guests get after another one has failed
BOOT_LIMIT=200 # s until the script must have started
ERROR=99

PACKAGES="qemu-system-x86 busybox-static cpio kmod xz-utils iproute2
	rdma-core ibverbs-providers ibverbs-utils rdmacm-utils perftest tcpdump"
COMMANDS="qemu-system-x86_64 busybox cpio modprobe rdma rping tcpdump"
MODULES="virtio_pci virtio_console 9pnet_virtio 9p overlay virtio_net
	crc32_generic crc32c_generic crc32_pclmul crc32c_intel
	ib_uverbs rdma_ucm rdma_rxe"

# shellcheck source=tests/rxe/host.sh
. "$HERE/host.sh"
# shellcheck source=tests/rxe/guest-lib.sh
. "$HERE/guest-lib.sh"

say()
{
	echo "guest.sh: $*" >&2
}

die()
{
	say "ERROR: $*"
	exit $ERROR
}

usage()
{
	sed -n '3,/^set -u/s/^# \{0,1\}//p' "$0" >&2
	exit $ERROR
}

# ---- install: packages, kernel, initramfs --------------------------------

missing_packages()
{
	local package

	for package in $PACKAGES; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" \
			2>/dev/null)" = installed ] || echo "$package"
	done
}

install_packages()
{
	local missing

	mapfile -t missing < <(missing_packages)
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" -eq 0 ] || die "as root: apt-get install ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q >/dev/null || die "apt-get update failed"
	apt-get install -q -y --no-install-recommends "${missing[@]}" ||
		die "apt-get install failed"
}

# The versioned package behind linux-image-amd64.
kernel_package()
{
	apt-cache depends linux-image-amd64 2>/dev/null |
		sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
}

# Copies the modules of MODULES with what they need into DIR, in load order.
collect_modules()
{
	local tree=$1 release=$2 dir=$3 module path name

	depmod -b "$tree" "$release" || return 1
	for module in $MODULES; do
		modprobe -d "$tree" -S "$release" --show-depends "$module" ||
			return 1
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$dir/paths"
	while read -r path; do
		name=${path##*/}
		case $name in
		*.xz) name=${name%.xz} && xz -dc "$path" >"$dir/$name" ;;
		*) cp "$path" "$dir/$name" ;;
		esac || return 1
		echo "$name"
	done <"$dir/paths" >"$dir/order"
	rm "$dir/paths"
}

# Prints an unsigned integer of $3 bytes at offset $2 of file $1.
read_uint()
{
	od -An -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '
}

# Unpacks a bzImage (offsets: the x86 boot protocol). Emulated, the kernel
# takes 4 s to unpack itself; this way only once. The result boots by PVH.
unpack_kernel()
{
	local from=$1 to=$2 config=$3 start size

	grep -q '^CONFIG_PVH=y' "$config" &&
		grep -q '^CONFIG_KERNEL_XZ=y' "$config" || return 1
	start=$((($(read_uint "$from" 0x1f1 1) + 1) * 512 +
		$(read_uint "$from" 0x248 4)))
	size=$(($(read_uint "$from" 0x24c 4) - 4)) # less the length word
	tail -c +$((start + 1)) "$from" | head -c "$size" |
		xz -dc >"$to" 2>/dev/null
	[ "$(head -c 4 "$to" | tail -c 3)" = ELF ]
}

# CACHE/kernel: image, release and modules/. Made in a folder beside it
# and renamed, so it is whole or absent.
install_kernel()
{
	local package release tmp

	[ -e "$CACHE/kernel/release" ] && return 0
	[ "$(uname -m)" = x86_64 ] || die "the guests need an x86-64 host"
	package=$(kernel_package)
	if [ -z "$package" ] && [ "$(id -u)" -eq 0 ]; then
		apt-get update -q >/dev/null
		package=$(kernel_package)
	fi
	[ -n "$package" ] || die "no package linux-image-amd64 (apt-get update?)"
	tmp=$(mktemp -d "$CACHE/kernel.XXXXXX") || die "cannot write to $CACHE"
	chmod 755 "$tmp"
	say "downloading $package"
	(
		mkdir -p "$tmp/tree" "$tmp/modules" && cd "$tmp" &&
			apt-get download -q "$package" >/dev/null 2>&1 &&
			dpkg -x ./*.deb tree && rm ./*.deb &&
			release=$(ls tree/lib/modules) &&
			{ unpack_kernel tree/boot/vmlinuz-* image \
				tree/boot/config-* ||
				mv tree/boot/vmlinuz-* image; } &&
			collect_modules "$tmp/tree" "$release" "$tmp/modules" &&
			rm -rf tree && echo "$release" >release
	) || { rm -rf "$tmp" && die "cannot download and unpack $package"; }
	rm -rf "$CACHE/kernel"
	mv "$tmp" "$CACHE/kernel" || die "cannot write to $CACHE"
}

# Prints the initramfs's path; builds it if init or the kernel has changed.
initramfs()
{
	local sum file tmp

	sum=$(cat "$HERE/init" "$CACHE/kernel/release" \
		"$CACHE/kernel/modules/order" | sha256sum | cut -c 1-16)
	file=$CACHE/initramfs-$sum.gz
	if [ ! -e "$file" ]; then
		rm -f "$CACHE"/initramfs-*.gz
		tmp=$(mktemp -d "$CACHE/initramfs.XXXXXX") || return 1
		mkdir "$tmp/bin" && cp "$(command -v busybox)" "$tmp/bin/" &&
			cp -r "$CACHE/kernel/modules" "$tmp/modules" &&
			install -m 755 "$HERE/init" "$tmp/init" &&
			(cd "$tmp" && find . | cpio -o -H newc -R 0:0 --quiet) |
			gzip -1 >"$tmp.gz" && mv "$tmp.gz" "$file"
		rm -rf "$tmp" "$tmp.gz"
	fi
	[ -e "$file" ] && echo "$file"
}

do_install()
{
	mkdir -p "$CACHE" || die "cannot make $CACHE"
	exec 9>"$CACHE/lock"
	flock 9
	install_packages
	install_kernel
	initramfs >/dev/null || die "cannot build the initramfs"
	exec 9>&-
	say "kernel $(cat "$CACHE/kernel/release") is ready in $CACHE"
}

check_installed()
{
	local command

	for command in $COMMANDS; do
		command -v "$command" >/dev/null ||
			die "no $command: run $0 install"
	done
	[ -e "$CACHE/kernel/release" ] || die "no kernel: run $0 install"
	exec 9>"$CACHE/lock"
	flock 9
	INITRAMFS=$(initramfs) || die "cannot build the initramfs"
	exec 9>&-
}

# ---- the emulator --------------------------------------------------------

# Does a guest reach its first process on KVM? Having /dev/kvm proves
# nothing: under some hypervisors a stock kernel hangs on it.
probe_kvm()
{
	[ -w /dev/kvm ] || return 1
	say "probing KVM (up to 15 s, once per boot of this host)"
	timeout -k 2 15 qemu-system-x86_64 -nodefaults -no-user-config \
		-display none -no-reboot -accel kvm -cpu host -m 512M \
		-kernel "$CACHE/kernel/image" -initrd "$INITRAMFS" \
		-append "console=ttyS0 quiet panic=-1 dipc.probe" \
		-serial stdio </dev/null 2>/dev/null | grep -q dipc-probe-ok
}

# Sets ACCEL to qemu's arguments.
choose_accel()
{
	local answer file

	answer=${DIPC_RXE_ACCEL:-}
	file=$CACHE/accel-$(cat /proc/sys/kernel/random/boot_id)
	if [ -z "$answer" ] && ! answer=$(cat "$file" 2>/dev/null); then
		answer=tcg
		probe_kvm && answer=kvm
		rm -f "$CACHE"/accel-*
		echo "$answer" >"$file.$$" && mv "$file.$$" "$file"
	fi
	# Emulated, "rep movsb" goes byte by byte. Without these two flags
	# nobody prefers it, and copying and clearing pages takes half as long.
	case $answer in
	kvm) ACCEL=(-accel kvm -cpu host) ;;
	tcg) ACCEL=(-accel "tcg,thread=multi" -cpu "max,-erms,-fsrm") ;;
	*) die "DIPC_RXE_ACCEL must be tcg or kvm" ;;
	esac
}

# Sets NET to qemu's network arguments for guest $1: a hub in the first
# guest's emulator, one stream per other guest.
choose_net()
{
	local k unix="addr.type=unix,addr.path=$TMP/net"

	if [ "$1" -gt 1 ]; then
		NET=(-netdev "stream,id=net,server=off,$unix$1")
	else
		NET=(-netdev "hubport,id=net,hubid=0")
		for ((k = 2; k <= GUESTS; k++)); do
			NET+=(-netdev "stream,id=link$k,server=on,$unix$k"
				-netdev "hubport,id=port$k,hubid=0,netdev=link$k")
		done
		# The hub sends everything everywhere: one port sees it all.
		[ -z "$PCAP" ] || NET+=(-object
			"filter-dump,id=dump,netdev=net,file=$PCAP")
	fi
	NET+=(-device
		"virtio-net-pci,netdev=net,host_mtu=9000,mac=52:54:00:77:00:0$1")
}

start_guest()
{
	local k=$1 dir=$OUT/guest$1 fifo=$TMP/output$1
	local boot="console=ttyS0 panic=-1 oops=panic tsc=reliable"
	local share=security_model=none,multidevs=remap

	boot+=" mitigations=off nokaslr random.trust_cpu=on"
	boot+=" dipc.id=$k dipc.count=$GUESTS"
	choose_net "$k"
	mkfifo "$fifo" || die "mkfifo failed"
	tee "$dir/script.log" <"$fifo" |
		sed -u -e "s/^/guest$k: /" -e "\$a\\" &
	READERS+=($!)
	qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
		"${ACCEL[@]}" -smp "$CPUS" -m "$MEM" \
		-kernel "$CACHE/kernel/image" -initrd "$INITRAMFS" \
		-append "$boot" \
		-serial "file:$dir/serial.log" \
		-device virtio-serial-pci \
		-chardev "file,id=output,path=$fifo" \
		-device virtserialport,chardev=output,name=output \
		-virtfs "local,path=/,mount_tag=host,readonly=on,$share" \
		-virtfs "local,path=$OUT,mount_tag=work,$share" \
		"${NET[@]}" </dev/null >"$fifo" 2>"$dir/qemu.log" &
	PIDS[k]=$!
}

wait_for_socket()
{
	local tries

	for ((tries = 0; tries < 100; tries++)); do
		[ -S "$1" ] && return 0
		sleep 0.05
	done
	return 1
}

is_running()
{
	[ -n "${PIDS[$1]:-}" ] && kill -0 "${PIDS[$1]}" 2>/dev/null
}

kill_guests()
{
	local k

	for k in "${!PIDS[@]}"; do
		is_running "$k" && kill -KILL "${PIDS[k]}" 2>/dev/null
	done
	for k in "${!PIDS[@]}"; do
		wait "${PIDS[k]}" 2>/dev/null
	done
	PIDS=()
}

# ---- run -----------------------------------------------------------------

# What runs in guest $1: the variables, the folder, the script.
write_command()
{
	local id=$1 ip=$2 share=$3 how=$4 name

	{
		for name in $(compgen -e DIPC_); do
			printf 'export %s=%q\n' "$name" "${!name}"
		done
		printf 'export %s=%q\n' GUEST_ID "$id" GUEST_COUNT "$GUESTS" \
			GUEST_IP "$ip" GUEST_OUT "$share/guest$id" \
			GUEST_SHARED "$share/shared" \
			GUEST_LIB "$HERE/guest-lib.sh" GUEST_HOW "$how"
		printf 'cd %q || exit 1\n' "$PWD"
		printf 'exec'
		printf ' %q' "${COMMAND[@]}"
		echo
	} >"$OUT/guest$id/command"
}

prepare_out()
{
	local k

	rm -rf "$OUT/shared"
	for ((k = 1; k <= GUESTS; k++)); do
		rm -rf "$OUT/guest$k"
		mkdir -p "$OUT/guest$k" || die "cannot write to $OUT"
	done
	mkdir "$OUT/shared" || die "cannot write to $OUT"
}

# $1: guest, $2: what happened. Shows the end of its serial log.
report_error()
{
	say "ERROR: guest$1 $2; the end of its serial log:"
	{
		grep -m 3 -E 'Kernel panic|Oops|BUG:' "$OUT/guest$1/serial.log"
		tail -n 40 "$OUT/guest$1/serial.log"
	} 2>/dev/null | tr -d '\r' | sed "s/^/guest$1 serial: /" >&2
	# One guest alone is a hub without a network: meant so.
	grep -v 'hub 0 is not connected' "$OUT/guest$1/qemu.log" |
		sed "s/^/guest$1 qemu: /" >&2
	: >"$OUT/shared/failed.$1"
	RESULT=$ERROR
}

# A guest's emulator has ended: its script's status, or an error.
collect_status()
{
	local k=$1 status

	unset "PIDS[$k]"
	if ! status=$(cat "$OUT/guest$k/status" 2>/dev/null); then
		if [ -e "$OUT/guest$k/started" ]; then
			report_error "$k" "died while the script ran"
		else
			report_error "$k" "did not boot"
		fi
	elif [ "$status" -ne 0 ]; then
		say "guest$k: the script exited with $status"
		[ "$RESULT" -ne 0 ] || RESULT=$status
	fi
}

# Why guest $1 must be stopped now, or nothing.
overdue()
{
	if [ "$SECONDS" -ge "$DEADLINE" ]; then
		echo "ran past the time limit: $LIMIT"
	elif [ "$SECONDS" -ge $((BEGAN + BOOT_LIMIT)) ] &&
		[ ! -e "$OUT/guest$1/started" ]; then
		echo "did not start the script within $BOOT_LIMIT s"
	fi
}

wait_for_guests()
{
	local k why

	while [ ${#PIDS[@]} -gt 0 ]; do
		for k in "${!PIDS[@]}"; do
			if ! is_running "$k"; then
				collect_status "$k"
				if [ "$RESULT" -ne 0 ] &&
					[ "$DEADLINE" -gt $((SECONDS + GRACE)) ]; then
					DEADLINE=$((SECONDS + GRACE))
					LIMIT="$GRACE s after another guest's failure"
				fi
				continue
			fi
			why=$(overdue "$k")
			[ -n "$why" ] || continue
			report_error "$k" "$why"
			kill -KILL "${PIDS[k]}"
			wait "${PIDS[k]}" 2>/dev/null
			unset "PIDS[$k]"
		done
		sleep 0.1
	done
}

run_in_guests()
{
	local k

	check_installed
	choose_accel
	say "running in $GUESTS guest(s), ${ACCEL[1]%%,*}"
	BEGAN=$SECONDS
	DEADLINE=$((SECONDS + TIMEOUT)) LIMIT="$TIMEOUT s"
	for ((k = 1; k <= GUESTS; k++)); do
		write_command "$k" "10.77.0.$k" /run/rxe guest
		[ "$k" -eq 1 ] || wait_for_socket "$TMP/net$k" ||
			say "guest1's emulator made no socket for guest$k"
		start_guest "$k"
	done
	wait_for_guests
	wait "${READERS[@]}"
}

run_on_host()
{
	local status

	host_rdma_start || die "no RDMA device here and rdma_rxe does not work"
	say "running on this host, address $HOST_RDMA_IP"
	write_command 1 "$HOST_RDMA_IP" "$OUT" host
	(
		ulimit -l unlimited 2>/dev/null
		exec timeout -k 5 "$TIMEOUT" bash "$OUT/guest1/command"
	) </dev/null 2>&1 | tee "$OUT/guest1/script.log" | sed -u 's/^/guest1: /'
	status=${PIPESTATUS[0]}
	host_rdma_stop
	if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
		say "ERROR: ran past the time limit of $TIMEOUT s"
		status=$ERROR
	elif [ "$status" -ne 0 ]; then
		say "guest1: the script exited with $status"
	fi
	RESULT=$status
}

# Several guests need several machines. One does with this host, if it can.
choose_way()
{
	case ${DIPC_RXE:-} in
	guest) echo guest ;;
	host)
		[ "$GUESTS" -eq 1 ] || die "DIPC_RXE=host has one guest only"
		echo host
		;;
	'')
		if [ "$GUESTS" -eq 1 ] && [ -z "$PCAP" ] && host_rdma_start; then
			host_rdma_stop
			echo host
		else
			echo guest
		fi
		;;
	*) die "DIPC_RXE must be guest or host" ;;
	esac
}

parse_run()
{
	GUESTS=1 TIMEOUT=300 MEM='' CPUS='' PCAP='' OUT=''
	while [ $# -gt 0 ]; do
		case $1 in
		--guests | --timeout | --mem | --cpus | --pcap | --out)
			[ $# -ge 2 ] || usage
			;;&
		--guests) GUESTS=$2 ;;
		--timeout) TIMEOUT=$2 ;;
		--mem) MEM=$2 ;;
		--cpus) CPUS=$2 ;;
		--pcap) PCAP=$(realpath -m -- "$2") ;;
		--out) OUT=$(realpath -m -- "$2") ;;
		-*) usage ;;
		*) break ;;
		esac
		shift 2
	done
	[ $# -ge 1 ] || usage
	[[ $GUESTS =~ ^[1-4]$ ]] || die "--guests must be 1 to 4"
	[[ $TIMEOUT =~ ^[0-9]+$ ]] || die "--timeout must be seconds"
	if [ "$GUESTS" -eq 1 ]; then
		MEM=${MEM:-2048M} CPUS=${CPUS:-2}
	else
		MEM=${MEM:-1536M} CPUS=${CPUS:-1}
	fi
	[ -x "$1" ] || die "$1 is no executable script"
	COMMAND=("$(realpath -- "$1")" "${@:2}")
	case ${COMMAND[0]} in
	/dev/* | /run/* | /proc/* | /sys/*)
		die "${COMMAND[0]} would not be visible in the guest" ;;
	esac
	OUT=${OUT:-$TMP/out}
}

clean_up()
{
	kill_guests
	host_rdma_stop
	rm -rf "$TMP"
}

do_run()
{
	local way

	TMP=$(mktemp -d "${TMPDIR:-/tmp}/dipc-rxe.XXXXXX") || die "mktemp failed"
	PIDS=() READERS=() RESULT=0
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	parse_run "$@"
	way=$(choose_way) || exit $ERROR
	prepare_out
	if [ "$way" = host ]; then
		run_on_host
	else
		run_in_guests
	fi
	exit "$RESULT"
}

case ${1:-} in
install) do_install ;;
run) do_run "${@:2}" ;;
check-pcap) capture_check "${2:?FILE}" ;;
*) usage ;;
esac
