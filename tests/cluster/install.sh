#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What a user has after `cmake --install`: programs built outside the tree, by
# pkg-config and by CMake, linked and not preloaded, on a cluster of the
# installed daemons.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
ROOT=$WORK/root
PREFIX= # in ROOT, once it is installed
trap 'cluster_down; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM

# with_pkg_config ARGS...
with_pkg_config() {
	PKG_CONFIG_PATH=$(dirname "$(find "$PREFIX" -name dipc-rdma.pc)") \
		PKG_CONFIG_SYSROOT_DIR=$ROOT pkg-config "$@" dipc-rdma
}

# linked PROGRAM...: on node 1, by the variables a user would set
linked() {
	env -u LD_PRELOAD DIPC_SOCKET="$CLUSTER/node1.sock" \
		DIPC_CONF="$CLUSTER/node1.conf" timeout $((20 * DIPC_TEST_SLOW)) "$@"
}

installed_prefix() {
	dirname "$(dirname "$(find "$ROOT" -path '*/bin/dipc')")"
}

# Staged, as packages are built: nothing is where it was configured to be.
test_install() {
	DESTDIR=$ROOT cmake --install "$BUILD"
	PREFIX=$(installed_prefix)
	for file in bin/dipc sbin/dipcd sbin/dipc-referee include/dipc/dipc.h \
		'lib*/libdipc-rdma.so' 'lib*/libdipc-rdma.so.0' \
		'share/doc/*/man/dipc.7.md' 'share/doc/*/LICENSE'; do
		find "$PREFIX" -path "$PREFIX/$file" | grep . || {
			say "not installed: $file"
			return 1
		}
	done
	if command -v lowdown >/dev/null; then
		find "$PREFIX" -path '*/man/man3/dipc_semop.3' | grep .
	fi
	# nothing of the build or source tree is needed to run it
	for file in "$PREFIX"/bin/* "$PREFIX"/sbin/*; do
		! readelf -d "$file" | grep -E 'R(UN)?PATH'
	done
}

test_pkg_config() {
	cat >"$WORK/pv.c" <<-'END'
		#include <dipc/dipc.h>
		#include <stdio.h>
		#include <stdlib.h>
		#include <sys/ipc.h>
		#include <sys/sem.h>

		int main(int argc, char **argv)
		{
			key_t key = argc > 1 ? (key_t)strtol(argv[1], NULL, 0) : 1;
			struct sembuf up = { .sem_num = 1, .sem_op = 3 };
			int id = semget(key, 2, IPC_CREAT | IPC_EXCL | IPC_DIPC | 0600);

			printf("id 0x%x\n", (unsigned)id);
			if (id < 0 || !(id & 0x40000000))
				return 1;
			if (semop(id, &up, 1) || semctl(id, 1, GETVAL) != 3)
				return 2;
			return argc > 2 ? 0 : semctl(id, 0, IPC_RMID) ? 3 : 0;
		}
	END
	# shellcheck disable=SC2046 # words on purpose
	cc -Wall -Wextra -Werror -o "$WORK/pv" "$WORK/pv.c" \
		$(with_pkg_config --cflags --libs) "-Wl,-rpath,$LIBDIR"
	ldd "$WORK/pv" | grep "libdipc-rdma.so.0 => $PREFIX/"
}

test_cmake_package() {
	mkdir "$WORK/project"
	cat >"$WORK/project/share.c" <<-'END'
		#include <dipc/dipc.h>
		#include <stdio.h>
		#include <string.h>
		#include <sys/ipc.h>
		#include <sys/shm.h>

		int main(void)
		{
			int id = shmget(0x3002, 8192, IPC_CREAT | IPC_DIPC | 0600);
			char *p = id < 0 ? (char *)-1 : shmat(id, NULL, 0);

			printf("id 0x%x\n", (unsigned)id);
			if (p == (char *)-1 || !(id & 0x40000000))
				return 1;
			strcpy(p + 4090, "across a page");
			if (strcmp(p + 4090, "across a page") || shmdt(p))
				return 2;
			return shmctl(id, IPC_RMID, NULL) ? 3 : 0;
		}
	END
	cat >"$WORK/project/CMakeLists.txt" <<-'END'
		cmake_minimum_required(VERSION 3.16)
		project(outside C)
		find_package(dipc-rdma 0.1 REQUIRED)
		add_executable(share share.c)
		target_link_libraries(share PRIVATE dipc::dipc-rdma)
	END
	cmake -S "$WORK/project" -B "$WORK/project/build" \
		-DCMAKE_PREFIX_PATH="$PREFIX"
	cmake --build "$WORK/project/build"
	ldd "$WORK/project/build/share" | grep "libdipc-rdma.so.0 => $PREFIX/"
}

# The daemons are those of the prefix, not of the build folder.
test_daemons() {
	for file in "$CLUSTER"/*.pid; do
		readlink "/proc/$(cat "$file")/exe" | grep "^$PREFIX/sbin/"
	done
}

test_linked() {
	linked "$WORK/pv" 0x3001 keep
	"$DIPC" ls --dir "$CLUSTER" | grep -i 'sem.*0x0*3001'
	# the kernel has no such set
	! grep -q "^ *$((0x3001)) " /proc/sysvipc/sem
	"$DIPC" rm --dir "$CLUSTER" sem --key 0x3001
	linked "$WORK/project/build/share"
}

# Linked and preloaded at once is the library once.
test_run() {
	on 1 "$WORK/pv" 0x3003
}

# Without a dipcd the linked program uses the kernel, and says so by its id.
test_no_dipcd() {
	status=0
	env DIPC_SOCKET="$WORK/none" "$WORK/pv" 0x7d1c3004 keep >"$WORK/out" ||
		status=$?
	cat "$WORK/out"
	ipcrm -S 0x7d1c3004
	[ $status -eq 1 ] # its identifier has no mark
}

test_nothing_left() {
	"$DIPC" ls --dir "$CLUSTER" --json >"$WORK/ls"
	cat "$WORK/ls"
	perl -MJSON::PP -e 'local $/; $s = decode_json(<STDIN>);
		exit(@{$s->{objects}} ? 1 : 0)' <"$WORK/ls"
	"$DIPC" down --dir "$CLUSTER"
	! pgrep -af "^$PREFIX/"
	! find "$CLUSTER" -name '*.sock' -o -name '*.pid' -o -name '*.shm' |
		grep .
}

run_case install test_install
if [ "$failed" -ne 0 ]; then
	summary
	exit 1
fi
PREFIX=$(installed_prefix)
LIBDIR=$(dirname "$(find "$PREFIX" -name libdipc-rdma.so)")
DIPC=$PREFIX/bin/dipc
if ! cluster_up 1; then
	failed=$((failed + 1))
	summary
	exit 1
fi
for name in pkg_config cmake_package daemons linked run no_dipcd nothing_left; do
	run_case "$name" "test_$name"
done
summary
