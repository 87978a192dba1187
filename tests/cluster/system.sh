#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What a program sees of the whole system, and its limits: ipcs and its like,
# /proc/sysvipc, as many objects as the kernel allows.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
trap 'cluster_down; kernel_rm 2>/dev/null; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM

# all NODE COMMAND...: with every key distributed
all() {
	node=$1
	shift
	"$DIPC" run --dir "$CLUSTER" --node "$node" --all-keys -- "$@"
}

# What a case made in the kernel.
kernel_rm() {
	[ -s "$WORK/kernel" ] || return 0
	sed -n -e 's/Shared.*: /--shmem-id /p; s/Sema.*: /--semaphore-id /p' \
		-e 's/Message.*: /--queue-id /p' "$WORK/kernel" | xargs ipcrm
}

# made COMMAND...: the identifier that ipcmk tells
made() {
	all 1 ipcmk "$@" | sed 's/.*: //'
}

has() { # FILE WORD...
	file=$1
	shift
	grep -E "$*" "$file" || {
		say "not in it: $*"
		cat "$file"
		return 1
	}
}

# The end of a process is seen a moment later, and then what it had attached.
nothing_left() {
	for try in 1 2 3 4 5 6 7 8 9 10; do
		"$DIPC" ls --dir "$CLUSTER" >"$WORK/ls"
		! grep "^no objects" "$WORK/ls" || return 0
		sleep 1
	done
	say "left after $try seconds:"
	head "$WORK/ls"
	return 1
}

test_tools() {
	shm=$(made -M 10000)
	sem=$(made -S 3)
	msg=$(made -Q)
	say "made $shm $sem $msg"
	for node in 1 2; do
		all $node ipcs >"$WORK/ipcs"
		has "$WORK/ipcs" " $shm +root +644 +10000 +0"
		has "$WORK/ipcs" " $sem +root +644 +3"
		has "$WORK/ipcs" " $msg +root +644 +0 +0"
		all $node ipcs -u >"$WORK/ipcs"
		has "$WORK/ipcs" "allocated queues = 1"
		has "$WORK/ipcs" "segments allocated 1"
		has "$WORK/ipcs" "pages allocated 3"
		has "$WORK/ipcs" "used arrays = 1"
		has "$WORK/ipcs" "allocated semaphores = 3"
		all $node ipcs -m -i "$shm" >"$WORK/ipcs"
		has "$WORK/ipcs" "bytes=10000.*nattch=0"
		all $node ipcs -s -i "$sem" >"$WORK/ipcs"
		has "$WORK/ipcs" "nsems = 3"
		all $node ipcs -q -i "$msg" >"$WORK/ipcs"
		has "$WORK/ipcs" "qbytes=16384"
		all $node lsipc -m -i "$shm" >"$WORK/lsipc"
		has "$WORK/lsipc" "Segment size: +9.8K"
	done
	all 2 ipcrm -m "$shm"
	all 2 ipcs -m >"$WORK/ipcs"
	! grep " $shm " "$WORK/ipcs"
	all 2 ipcrm -S "$(all 1 ipcs -s | awk -v id="$sem" '$2 == id { print $1 }')"
	all 2 ipcs -s >"$WORK/ipcs"
	! grep " $sem " "$WORK/ipcs"
	all 2 ipcrm -a # what the kernel has is not for this
	nothing_left
}

# The same columns as the kernel's, to the byte; by whatever call it is opened.
test_proc() {
	for what in "-M 10000" "-S 3" -Q; do
		# shellcheck disable=SC2086
		ipcmk $what
	done >"$WORK/kernel"
	shm=$(made -M 10000)
	sem=$(made -S 3)
	msg=$(made -Q)
	for kind in shm sem msg; do
		file=/proc/sysvipc/$kind
		case $kind in
		shm) ours=$shm theirs=$(sed -n 's/Shared.*: //p' "$WORK/kernel") ;;
		sem) ours=$sem theirs=$(sed -n 's/Sema.*: //p' "$WORK/kernel") ;;
		msg) ours=$msg theirs=$(sed -n 's/Message.*: //p' "$WORK/kernel") ;;
		esac
		all 2 cat $file >"$WORK/cat"
		has "$WORK/cat" "^ +key +${kind%g}[a-z]*id +perms"
		[ "$(grep -c key "$WORK/cat")" = 1 ]
		# where each column ends, seen from the key, which may be too wide
		for id in $theirs $ours; do
			grep " $id " "$WORK/cat" | perl -ne 'chomp; @e = ();
				push @e, pos while /\S(?=\s|$)/g; print "@{[map { $_ - $e[0] } @e]}\n"' >"$WORK/ends.$id"
		done
		cmp "$WORK/ends.$theirs" "$WORK/ends.$ours"
		all 1 perl -e 'open F, "<", $ARGV[0] or die; @a = <F>; seek F, 0, 0;
			@b = <F>; die if "@a" ne "@b"; print @a' $file >"$WORK/perl"
		has "$WORK/perl" " $ours "
		all 1 sh -c "cat < $file" >"$WORK/sh"
		has "$WORK/sh" " $ours "
		# whose keys are not all distributed, sees the kernel's
		on 1 cat $file >"$WORK/cat"
		! grep " $ours " "$WORK/cat"
		has "$WORK/cat" " $theirs "
	done
	all 1 ipcrm -m "$shm" -s "$sem" -q "$msg"
	kernel_rm
	rm "$WORK/kernel"
}

test_bad_names() {
	cd "$WORK"
	all 1 "$JOBS/job_many" bad
	"$JOBS/job_many" bad
}

# Hundreds of short processes: each connects at its first call.
test_start() {
	n=$(scaled 300)
	for together in 1 "$n"; do
		say "on the kernel"
		"$JOBS/job_start" "$n" $together
		say "preloaded"
		all 1 "$JOBS/job_start" "$n" $together
	done
}

# A case is a subshell: this cluster ends with it, the other one stays.
own_cluster() {
	trap cluster_down EXIT
	cluster_up "$@"
}

test_limits() {
	own_cluster 2 --set limits.msgmni=3 --set limits.semmni=3 --set limits.shmmni=3 \
		--set limits.semmsl=77 --set limits.msgmax=1234 --set limits.shmmax=99M
	all 1 ipcs -l >"$WORK/ipcs"
	has "$WORK/ipcs" "max queues system wide = 3$"
	has "$WORK/ipcs" "max size of message \(bytes\) = 1234"
	has "$WORK/ipcs" "max number of segments = 3$"
	has "$WORK/ipcs" "max seg size \(kbytes\) = 101376"
	has "$WORK/ipcs" "max number of arrays = 3$"
	has "$WORK/ipcs" "max semaphores per array = 77"
	all 1 "$JOBS/job_many" make 3 2 3 77
	all 2 "$JOBS/job_many" fails
	all 2 "$JOBS/job_many" remove
	all 1 "$JOBS/job_many" make 3 2 3 77
	all 1 "$JOBS/job_many" remove
}

# The kernel's limits, all of them at once, on a cluster as `dipc up` makes it.
test_many() {
	own_cluster 2
	queues=$(scaled 32000)
	sets=$(scaled 31999)
	segments=$(scaled 4096)
	all 1 "$JOBS/job_many" make "$queues" "$sets" "$segments" 32000
	all 2 ipcs -u >"$WORK/ipcs"
	has "$WORK/ipcs" "allocated queues = $queues$"
	has "$WORK/ipcs" "used headers = $queues$"
	has "$WORK/ipcs" "used arrays = $((sets + 1))$"
	has "$WORK/ipcs" "allocated semaphores = $((sets + 32000))$"
	has "$WORK/ipcs" "segments allocated $segments$"
	[ "$("$DIPC" ls --dir "$CLUSTER" | grep -c 0x00000000)" = \
		$((queues + sets + 1 + segments)) ]
	[ "$(all 2 cat /proc/sysvipc/msg | grep -c ' 600 ')" -ge "$queues" ]
	all 2 "$JOBS/job_many" remove
	nothing_left
}

cluster_up 2 || {
	say "0 passed, 1 failed"
	exit 1
}
for name in ${*:-tools proc bad_names start limits many}; do
	run_case "$name" "test_$name"
done
summary
