#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Segments under what programs do to their mappings, over two nodes; and the
# same on the kernel's own, which says whether the cases are right.
set -u
# shellcheck source=tests/support/cluster.sh
. "$(dirname "$0")/../support/cluster.sh"
WORK=$(mktemp -d)
trap 'cluster_down; rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM

ALONE="places detaching"
WITH_PEER="readonly protecting remapping advising locking looked_at buffers debugged dumped"
FORKS="exact killed daemons threads raw_clone spawned dont_fork large storm"

limit() {
	timeout $((30 * DIPC_TEST_SLOW)) "$@"
}

# The key of case $1: each has its own.
key_of() {
	printf '0x%x' $((0x3000 + $(printf '%s' "$1" | cksum | cut -d' ' -f1) % 4096))
}

all_keys() { # NODE COMMAND...
	node=$1
	shift
	limit "$DIPC" run --dir "$CLUSTER" --node "$node" --all-keys -- "$@"
}

test_alone() {
	all_keys 1 "$JOBS/job_mapping" "$(key_of "$1")" "$1"
}

test_with_peer() {
	all_keys 2 "$JOBS/job_mapping" "$(key_of "$1")" peer &
	peer=$!
	all_keys 1 "$JOBS/job_mapping" "$(key_of "$1")" "$1"
	wait $peer
}

test_kernel_alone() {
	limit "$JOBS/job_mapping" "$(key_of "$1")" "$1"
}

test_kernel_with_peer() {
	limit "$JOBS/job_mapping" "$(key_of "$1")" peer &
	peer=$!
	limit "$JOBS/job_mapping" "$(key_of "$1")" "$1"
	wait $peer
}

test_kernel_forks() {
	limit "$JOBS/job_forks" 0x2f03 "$1"
}

test_forks() {
	all_keys 2 "$JOBS/job_forks" 0x2f03 "$1"
}

# Files on a disk read past the page cache, into pages that node 2 reads.
test_pinned() {
	all_keys 2 "$JOBS/job_pinned" 0x2f01 reader &
	reader=$!
	all_keys 1 "$JOBS/job_pinned" 0x2f01 "$1" "$WORK/file"
	wait $reader
}

test_refused() {
	all_keys 1 "$JOBS/job_pinned" 0x2f02 refused "$WORK/file"
}

if ! cluster_up 2; then
	failed=$((failed + 1))
	summary
	exit 1
fi
for name in $ALONE; do
	run_case "kernel.$name" test_kernel_alone "$name"
	run_case "$name" test_alone "$name"
done
for name in $WITH_PEER; do
	run_case "kernel.$name" test_kernel_with_peer "$name"
	run_case "$name" test_with_peer "$name"
done
for name in $FORKS; do
	run_case "kernel.$name" test_kernel_forks "$name"
	run_case "$name" test_forks "$name"
done
run_case pinned_bounced test_pinned bounced
run_case pinned_refused test_refused
summary
