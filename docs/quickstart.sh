#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# From a fresh Debian machine to two programs that run on a cluster:
#
#	sh docs/quickstart.sh
#
# as root, or as a user who may use sudo. It installs the packages that are
# missing, builds into build/, starts three nodes on this machine (over shared
# memory, no RDMA needed), runs a word count and a heat simulation over them,
# compares what they print with what ordinary tools print, and stops the
# cluster. Safe to run again; it touches no cluster of yours.
set -eu
export LC_ALL=C

top=$(cd "$(dirname "$0")/.." && pwd)
bin=$top/build/bin
# dipcd serves page faults of other processes: that takes root
as_root=
[ "$(id -u)" -eq 0 ] || as_root=sudo
dir=
log=

finish()
{
	status=$?
	trap - EXIT
	trap '' INT TERM HUP
	if [ -n "$dir" ] && [ -x "$bin/dipc" ]; then
		$as_root "$bin/dipc" down --dir "$dir" >/dev/null 2>&1 || :
	fi
	[ $status -eq 0 ] || {
		[ -z "$log" ] || ! [ -s "$log" ] || tail -n 20 "$log" >&2
		echo "quickstart: FAILED" >&2
	}
	[ -z "$dir" ] || $as_root rm -rf "$dir"
	exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say()
{
	printf '\n== %s\n' "$*"
}

say "packages"
. "$top/docs/packages.sh"
install_packages $DIPC_PACKAGES
echo "all there"

# short, so that the names of sockets in it fit
dir=$(mktemp -d /tmp/dipc-XXXXXX)
chmod 755 "$dir"
log=$dir/output

say "build"
cmake -S "$top" -B "$top/build" >"$log" 2>&1
cmake --build "$top/build" -j"$(nproc)" >"$log" 2>&1
: >"$log"
echo "$bin"

say "a cluster of three nodes on this machine"
$as_root "$bin/dipc" up --nodes 3 --transport shm --dir "$dir"
spawn="$bin/dipc run --dir $dir --node %k -- %w"
on_node_1="$bin/dipc run --dir $dir --node 1 --"

say "wordcount, a worker on each node"
cat /usr/share/common-licenses/* >"$dir/text"
$on_node_1 "$bin/examples/wordcount" --workers 3 --spawn "$spawn" \
	"$dir/text" >"$dir/words"
tr -cs A-Za-z '\n' <"$dir/text" | tr A-Z a-z | sed '/^$/d' | sort | uniq -c \
	>"$dir/expected"
cmp "$dir/words" "$dir/expected"
echo "the same $(wc -l <"$dir/words") lines as tr, sort and uniq print"

say "heat, a plate divided among the nodes"
$on_node_1 "$bin/examples/heat" --workers 3 --spawn "$spawn" >"$dir/heat"
"$bin/examples/heat" --local --workers 1 >"$dir/heat-local" 2>"$log"
cmp "$dir/heat" "$dir/heat-local"
echo "$(cat "$dir/heat"): the same as of one process without DIPC"

say "an unmodified program: ipcmk(1) makes a queue on node 2, dipc ls shows it"
"$bin/dipc" run --dir "$dir" --node 2 --all-keys -- ipcmk --queue
"$bin/dipc" ls --dir "$dir"
"$bin/dipc" rm --dir "$dir" --all

say "stop"
$as_root "$bin/dipc" down --dir "$dir"

say "done: both programs ran on three nodes and printed what they should"
cat <<END
Your own cluster:   $bin/dipc up --nodes 3
A program on it:    $bin/dipc run --node 1 --all-keys -- PROGRAM
Stop it:            $bin/dipc down
What to read next:  README.md, docs/man/dipc.7.md, docs/examples/README.md
END
