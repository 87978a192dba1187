#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Static checks: what a reader of the sources relies on and no compiler says.
#
#   sh tests/checks.sh [NAME...]
#
# Prints `ok NAME`, `FAIL NAME` with the findings, or `skip NAME: why`; last
# "N passed, N failed". BUILD: the build folder, default build beside the
# sources.
set -u
export LC_ALL=C
TOP=$(cd "$(dirname "$0")/.." && pwd)
case ${BUILD:=$TOP/build} in
/*) ;;
*) BUILD=$(cd "$BUILD" 2>/dev/null && pwd) || BUILD=$TOP/$BUILD ;;
esac
cd "$TOP" || exit 1
CC=${CC:-cc}
CXX=${CXX:-c++}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM
passed=0
failed=0

# Build folders lie beside the sources; what git ignores is not ours.
files_named() { # -name GLOB [-o -name GLOB]...
	find . \( -path './build*' -o -path ./.git \) -prune -o \
		-type f \( "$@" \) -print | sed 's,^\./,,' | sort
}

sources() {
	files_named -name '*.c' -o -name '*.h'
}

# A check prints what is wrong, or a first line "skip: why".
check() { # NAME
	"check_$1" >"$WORK/$1.out" 2>&1 # its status says nothing: grep's
	if [ ! -s "$WORK/$1.out" ]; then
		passed=$((passed + 1))
		echo "ok $1"
	elif reason=$(sed -n '1s/^skip: //p' "$WORK/$1.out") &&
		[ -n "$reason" ]; then
		echo "skip $1: $reason"
	else
		failed=$((failed + 1))
		echo "FAIL $1"
		sed 's/^/    /' "$WORK/$1.out" | head -n 60
	fi
}

map_symbols() {
	sed -n 's/^[[:space:]]*\([a-z_][a-z0-9_]*\);$/\1/p' \
		runtime/client/libdipc-rdma.map | sort
}

# ---- the products -----------------------------------------------------------

# An interposer that leaks a symbol breaks strangers.
check_exported_symbols() {
	map_symbols >"$WORK/map"
	nm -D --defined-only "$BUILD/lib/libdipc-rdma.so" >"$WORK/nm" || return
	# the run-time of a sanitizer and of coverage is not ours
	awk '{ print $NF }' "$WORK/nm" |
		grep -Ev '^(__(a|l|t|ub)san_|__sanitizer_|__gcov)' |
		sort >"$WORK/exported"
	diff "$WORK/map" "$WORK/exported" |
		sed -n 's/^</not exported:/p; s/^>/exported, not in the map:/p'
}

# Protocol code sees transport, pager and clock: that is what lets it run in
# simulated time. No socket, thread, file or clock of its own.
check_protocol_symbols() {
	nm -u "$BUILD/lib/libdipc_protocol.a" >"$WORK/nm" || return
	nm --defined-only "$BUILD/lib/libdipc_protocol.a" |
		awk 'NF == 3 { print $3 }' | sort -u >"$WORK/defined"
	# exit: uthash's, when it finds no memory
	awk '$1 == "U" { print $2 }' "$WORK/nm" | sort -u |
		comm -23 - "$WORK/defined" |
		grep -Evx -e 'dipc_(conn|region|transport)_[a-z_]+' \
			-e 'dipc_(fiber|fmutex|waitq|sched|timer)_[a-z_]+' \
			-e 'dipc_loop_(sched|watch|unwatch|add_poller|del_poller)' \
			-e 'dipc_(log|memory_[a-z_]+)' \
			-e 'calloc|malloc|realloc|free|exit' \
			-e 'mem(cpy|move|cmp|set)|str(len|cmp|ncmp|error)' \
			-e '__(mem|str)[a-z]+_chk|(v?snprintf|__v?snprintf_chk)' \
			-e '__assert_fail|__stack_chk_(fail|guard)' \
			-e '_GLOBAL_OFFSET_TABLE_|__tls_get_addr|__errno_location' \
			-e '__(a|ub|t)san_.*|__gcov.*' |
		sed 's/^/not for protocol code: /'
}

# A function of libc's that another preload stands in front of comes back into
# us: runtime/base/sys.h has the system calls. So do our own: a call by name
# goes through the first preload that has it.
check_client_symbols() {
	nm -D --undefined-only "$BUILD/lib/libdipc-rdma.so" >"$WORK/nm" || return
	awk '{ sub(/@.*/, "", $2); print $2 }' "$WORK/nm" |
		grep -Ex -e '(f|l|)stat(64)?|fstatat(64)?|(f|)access(at)?' \
			-e 'open(64)?|openat(64)?|fopen(64)?|close|read|write' \
			-e 'fcntl(64)?|ioctl|poll|socket|connect|syscall' \
			-e '(set|get)sockopt|shutdown|(send|recv)(msg)?' \
			-e 'mmap(64)?|munmap|mprotect|madvise|mremap' \
			-e 'pthread_mutex_[a-z]+|sem_[a-z]+' |
		sed 's/^/call the kernel for this: /'
}

# Mistakes made on purpose stay in the copies that tests/seeded makes.
check_no_seeded_bugs() {
	for product in bin/dipc bin/dipcd bin/dipc-referee lib/libdipc-rdma.so; do
		[ -f "$BUILD/$product" ] || echo "no $product"
		grep -aq 'seeded bug' "$BUILD/$product" &&
			echo "a seeded bug in $product"
	done
}

# ---- the sources ------------------------------------------------------------

# Code without comments, as FILE:LINE:TEXT.
code_of() {
	perl -e 'for my $f (@ARGV) {
		open my $in, "<", $f or die "$f: $!\n";
		local $/;
		my $text = <$in>;
		$text =~ s{/\*.*?\*/|//[^\n]*}{ (my $c = $&) =~ tr/\n//cd; $c }gse;
		my $n = 0;
		print "$f:", ++$n, ":$_\n" for split /\n/, $text;
	}' "$@"
}

# The libraries' three error conventions end in one file. bench/ may measure
# them raw, and the client stands in front of some.
check_verbs_calls() {
	# shellcheck disable=SC2046 # no names with blanks
	code_of $(sources | grep -v -e '^transport/verbs/verbs_err\.h$' \
		-e '^bench/' -e '^runtime/client/register\.c$') |
		grep -E '[^a-zA-Z0-9_](ibv|rdma)_[a-z0-9_]+[[:space:]]*\('
}

# base <- transport <- protocol <- { node, referee }; base <- { client, cli }
layer() { # FOLDER ALLOWED: an expression of what it may include
	# shellcheck disable=SC2046
	grep -En '^#include "' $(sources | grep "^$1/") /dev/null |
		grep -Ev "#include \"($2)[^\"]*\"" |
		sed 's/^/against the layers: /'
}

check_layers() {
	layer include 'dipc/'
	layer runtime/base 'runtime/base/'
	layer transport 'runtime/base/|transport/'
	layer runtime/protocol 'runtime/(base|protocol)/|transport/transport\.h'
	layer runtime/node 'runtime/(base|protocol|node)/|transport/transport\.h'
	layer referee 'runtime/(base|protocol)/|transport/transport\.h|referee/'
	layer runtime/client 'runtime/(base|client)/|dipc/'
	layer runtime/cli 'runtime/(base|cli)/'
	layer docs/examples '[a-z]+\.h|dipc/'
	layer tests/kernel '[a-z_]+\.h|tests/kernel/'
}

# Each header is complete by itself; the installed ones in C++ too.
check_headers() {
	flags="-std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -I. -Iinclude"
	flags="$flags $(pkg-config --cflags gnutls inih jansson libpng cmocka 2>/dev/null)"
	export CC CXX flags
	files_named -name '*.h' | xargs -P 4 -n 8 sh -c '
		for h; do
			printf "#include \"%s\"\n" "$h" |
				$CC $flags -I"$(dirname "$h")" -x c -fsyntax-only - ||
				echo "does not compile alone: $h"
		done' sh
	for h in include/dipc/*.h; do
		printf '#include "%s"\n' "$h" |
			$CXX -Wall -Wextra -Werror -x c++ -fsyntax-only -I. - ||
			echo "not C++: $h"
	done
}

check_file_size() {
	sources | xargs wc -l |
		awk '$2 != "total" && $1 > 800 { print $2 ": " $1 " lines, more than 800" }'
}

check_format() {
	if ! command -v clang-format >/dev/null; then
		echo "skip: no clang-format on this machine"
		return
	fi
	sources | xargs clang-format --dry-run -Werror 2>&1 |
		sed -n 's/^\([^: ]*\):[0-9]*:[0-9]*: error.*/\1/p' | sort | uniq -c |
		sed 's/^ *\([0-9]*\) \(.*\)/\2: clang-format -i changes \1 places/'
}

check_shell_syntax() {
	files_named -name '*.sh' -o -name run -o -name init |
		while read -r file; do
			# what is only sourced says `shellcheck shell=` instead
			case $(grep -Em 1 '^#!|^# shellcheck shell=' "$file") in
			*bash*) bash -n "$file" ;;
			*) sh -n "$file" ;;
			esac || echo "$file"
		done
}

# ---- the manual -------------------------------------------------------------

in_manual() { # WORD FILE...
	word=$1
	shift
	grep -qwF -e "$word" "$@" || echo "not in $*: $word"
}

check_manual_calls() {
	for name in $(map_symbols); do
		in_manual "$name" docs/man/*.md
	done
}

# What man(1) gets: a name that whatis(1) finds, a title, no complaint.
check_manual_renders() {
	if ! command -v lowdown >/dev/null; then
		echo "skip: no lowdown on this machine"
		return
	fi
	for page in docs/man/*.md; do
		name=$(basename "$page" .md)
		sh docs/man/roff.sh "$page" 0 >"$WORK/page"
		grep -q "^\.TH \"${name%.*}\" \"${name##*.}\"" "$WORK/page" ||
			echo "$page: no title"
		grep -A2 '^\.SH NAME$' "$WORK/page" |
			grep -q "^${name%.*} - [a-zA-Z]" || echo "$page: no NAME"
		command -v groff >/dev/null || continue
		# not: lines that cannot be filled, in narrow columns
		groff -t -man -ww -Wbreak -z -Tutf8 "$WORK/page" 2>&1 |
			sed "s,^,$page: ,"
	done
}

# name, type, smallest, largest, default: as in config.c's table.
config_settings() {
	perl -0777 -ne 'while (/\{\s*"(\w+)",\s*"([\w-]+)",\s*SETTING_(\w+),\s*
		AT\(\w+\),\s*([^,]+),\s*([^,]+),\s*([^,]+),/gx) {
		print join(" ", $2, $3, map { s/\s//gr } $4, $5, $6), "\n";
	}' runtime/base/config.c
}

# The row of dipc.conf(5) names the default; plain numbers are compared.
check_manual_settings() {
	config_settings >"$WORK/settings"
	[ "$(wc -l <"$WORK/settings")" -ge 15 ] ||
		echo "config.c: its table is not found any more"
	while read -r name type _ _ default; do
		row=$(grep "^| \`$name\` |" docs/man/dipc.conf.5.md) || {
			echo "not in dipc.conf(5): $name"
			continue
		}
		[ "$type" = UNSIGNED ] || continue
		said=$(echo "$row" | cut -d'|' -f3 | tr -d ' `')
		[ "$said" = "$default" ] ||
			echo "dipc.conf(5): default of $name is $default, not $said"
	done <"$WORK/settings"
}

# Variables of the products are in the manual, those of tests in testing.md.
check_manual_environment() {
	grep -rhoE 'getenv\("DIPC_[A-Z_]+' --include='*.[ch]' \
		include runtime referee transport docs | sort -u |
		while IFS='"' read -r _ name; do
			in_manual "$name" docs/man/*.md
		done
	grep -rhoE 'getenv\("DIPC_[A-Z_]+' --include='*.[ch]' tests bench |
		sort -u |
		while IFS='"' read -r _ name; do
			in_manual "$name" docs/man/*.md docs/testing.md
		done
}

check_manual_commands() {
	perl -0777 -ne 'while (/\{\s*"(\w+)",\s*(?:dipc_)?cmd_/g) { print "$1\n" }' \
		runtime/cli/main.c >"$WORK/commands"
	[ "$(wc -l <"$WORK/commands")" -ge 8 ] ||
		echo "main.c: its table is not found any more"
	while read -r name; do
		grep -Eq "dipc (--)?$name\b" docs/man/dipc.1.md ||
			echo "not in dipc(1): dipc $name"
	done <"$WORK/commands"
}

if [ ! -d "$BUILD/lib" ]; then
	echo "no build in $BUILD: cmake -B build && cmake --build build"
	echo "0 passed, 1 failed"
	exit 1
fi
for name in ${*:-exported_symbols protocol_symbols client_symbols \
	no_seeded_bugs \
	verbs_calls layers headers \
	file_size format shell_syntax manual_calls manual_renders manual_settings \
	manual_environment manual_commands}; do
	check "$name"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
