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

for name in user groups attached undo many dropped threads; do
	eval "test_identity_$name() {
		on 1 timeout $((20 * DIPC_TEST_SLOW)) \
			\"\$JOBS/job_identity\" $name
	}"
done

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
# another user's program must get at the socket of this test's cluster
chmod 755 "$CLUSTER"
identities="identity_user identity_groups identity_attached identity_undo
	identity_many identity_dropped identity_threads"
if [ "$(id -u)" -ne 0 ]; then
	say "skip $DIPC_TRANSPORT.identity: only root can become another user"
	identities=
fi
for name in ${*:-$identities nothing_left}; do
	run_case "$name" "test_$name"
done
summary
