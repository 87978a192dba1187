#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What lies between the library and the programs it is loaded into: who a
# process is, other preloads, the ways round the interposed symbols.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
trap 'cluster_down; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM

# ---- a program that becomes somebody else -----------------------------------

for name in user groups attached undo many dropped threads capabilities namespace \
	chroot; do
	eval "test_identity_$name() {
		on 1 timeout $((20 * DIPC_TEST_SLOW)) \
			\"\$JOBS/job_identity\" $name
	}"
done

# ---- ways round a symbol ----------------------------------------------------

door() { # CASE [ARGUMENT]
	on 1 timeout $((20 * DIPC_TEST_SLOW)) "$JOBS/job_door" "$@"
}

test_door_number() {
	door number
}

test_door_futex() {
	door futex
}

test_door_address() {
	door address
}

test_door_thread_user() {
	door thread_user
}

# Found beside the program ($ORIGIN in its RUNPATH): dlopen's caller is it.
test_door_plugin() {
	door plugin libplug.so
	door plugin libplug_lazy.so
}

test_door_deepbind() {
	door deepbind libplug.so
	door deepbind libplug_lazy.so
	door deepbind "$JOBS/libplug_lazy.so"
}

# Opened by a program that runs without it, and both at once.
test_door_library() {
	DIPC_SOCKET="$CLUSTER/node1.sock" "$JOBS/job_door" library \
		"$BUILD/lib/libdipc-rdma.so.0"
	door library "$BUILD/lib/libdipc-rdma.so.0"
}

test_door_early() {
	JOB_EARLY=1 door early
}

test_door_handler() {
	door handler
}

test_door_python() {
	python3 -c 1 2>/dev/null || {
		say "skip: no python3"
		return 0
	}
	on 1 python3 -c '
import ctypes
for name in "libc.so.6", None:
    libc = ctypes.CDLL(name)
    id = libc.semget(0, 1, 0o11600)
    assert id >= 0x40000000, id
    assert libc.semctl(id, 0, 0) == 0'
}

# The kernel is told to give an identifier that looks like ours, and one that
# is ours: no object is taken for another.
test_identifiers() {
	python3 -c 1 2>/dev/null && [ -w /proc/sys/kernel/sem_next_id ] || {
		say "skip: no python3, or the kernel's identifiers cannot be set"
		return 0
	}
	on 1 python3 -c '
import ctypes
libc = ctypes.CDLL(None)
GETVAL, SETVAL, RMID = 12, 16, 0
DIPC, CREAT = 0o10000, 0o1600

def kernel_next(id):
    with open("/proc/sys/kernel/sem_next_id", "w") as f:
        f.write(str(id))

own = libc.semget(0, 1, DIPC | CREAT)
kernel_next(0x7fff0123)
looks = libc.semget(0, 1, CREAT)
assert looks == 0x7fff0123, looks
kernel_next(own)
same = libc.semget(0, 1, CREAT)
assert same >= 0 and same != own, (own, same)
kernel_next(own)
keyed = libc.semget(0x2b0d, 1, CREAT)
assert keyed == -1, keyed # the key would name both: a line says so
for value, id in enumerate((own, looks, same)):
    assert libc.semctl(id, 0, SETVAL, value + 1) == 0
for value, id in enumerate((own, looks, same)):
    assert libc.semctl(id, 0, GETVAL) == value + 1
for id in (own, looks, same):
    assert libc.semctl(id, 0, RMID) == 0
    assert libc.semctl(id, 0, GETVAL) == -1'
	ipcrm -S 0x2b0d
}

# ---- other preloads ---------------------------------------------------------

# preloaded LIBRARIES COMMAND...: with DIPC_SOCKET of node 1
preloaded() {
	libraries=$1
	shift
	DIPC_KEYS=all DIPC_SOCKET="$CLUSTER/node1.sock" NOSY_REPORT=1 \
		LD_PRELOAD="$libraries" timeout $((20 * DIPC_TEST_SLOW)) "$@"
}

# Another preload, before ours and behind, that makes calls in its calls.
nosy() {
	preloaded "$1" "$JOBS/job_pv" 0x2b01 setup 2>"$WORK/nosy"
	preloaded "$1" "$JOBS/job_pv" 0x2b01 work 10 2>>"$WORK/nosy"
	preloaded "$1" "$JOBS/job_pv" 0x2b01 check 10 2>>"$WORK/nosy"
	# and a program that makes many of the calls that it listens to
	preloaded "$1" perl -MSocket -e '
		open my $f, "<", $ARGV[0] or die "$ARGV[0]: $!";
		-f $f && -e $ARGV[0] && sysread($f, $text, 10) or die;
		socket my $s, PF_UNIX, SOCK_STREAM, 0 or die "socket: $!";
		connect $s, pack_sockaddr_un("/nowhere");
		close $s; close $f;' "$0" 2>>"$WORK/nosy"
	cat "$WORK/nosy"
	[ "$(grep -c 'set distributed' "$WORK/nosy")" -ge 1 ]
	! grep -q -e 'from inside' -e 'of the kernel$' "$WORK/nosy"
}

test_nosy_before() {
	nosy "$JOBS/libnosy.so:$BUILD/lib/libdipc-rdma.so"
}

test_nosy_behind() {
	nosy "$BUILD/lib/libdipc-rdma.so:$JOBS/libnosy.so"
}

test_fakeroot() {
	command -v fakeroot-sysv >/dev/null || {
		say "skip: no fakeroot-sysv"
		return 0
	}
	cat >"$WORK/faked.sh" <<-END
		set -e
		[ "\$(id -u)" -eq 0 ]
		: >"$WORK/fake"
		chown 12:34 "$WORK/fake"
		[ "\$(stat -c '%u %g' "$WORK/fake")" = "12 34" ]
		tar cf - -C "$WORK" fake | tar tvf - | grep ' 12/\| backup/'
	END
	"$DIPC" run --dir "$CLUSTER" --node 1 --all-keys -- \
		timeout $((60 * DIPC_TEST_SLOW)) fakeroot-sysv sh "$WORK/faked.sh"
	# the other order
	"$DIPC" run --dir "$CLUSTER" --node 1 --all-keys -- \
		timeout $((60 * DIPC_TEST_SLOW)) fakeroot-sysv sh -c \
		"LD_PRELOAD=\"\${LD_PRELOAD#*:}:\${LD_PRELOAD%%:*}\" sh '$WORK/faked.sh'"
}

# ---- all together -----------------------------------------------------------

test_nothing_left() {
	"$DIPC" ls --dir "$CLUSTER" --json >"$WORK/ls"
	cat "$WORK/ls"
	perl -MJSON::PP -e 'local $/; $s = decode_json(<STDIN>);
		exit(@{$s->{objects}} ? 1 : 0)' <"$WORK/ls"
}

if ! cluster_up 2; then
	failed=$((failed + 1))
	summary
	exit 1
fi
identities="identity_user identity_groups identity_attached identity_undo
	identity_many identity_dropped identity_threads identity_capabilities
	identity_namespace identity_chroot
	door_thread_user"
if [ "$(id -u)" -ne 0 ]; then
	say "skip $DIPC_TRANSPORT.identity: only root can become another user"
	identities=
fi
doors="door_number door_futex door_address door_plugin door_deepbind
	door_library door_early door_handler door_python identifiers"
preloads="nosy_before nosy_behind fakeroot"
for name in ${*:-$identities $doors $preloads nothing_left}; do
	run_case "$name" "test_$name"
done
summary
