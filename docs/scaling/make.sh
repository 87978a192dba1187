#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Run the scaling simulation to 1,024 nodes; write the data here, the plot
# (gnuplot), and the tables into docs/scaling.md.
#
#	sh docs/scaling/make.sh [BUILD]		BUILD: default build
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=docs/packages.sh
. docs/packages.sh
# shellcheck disable=SC2086 # a list
install_packages $DIPC_PLOT_PACKAGES
SCALE=${1:-build}/bin/tests/scale
OUT=docs/scaling

for costs in 100g old shm; do
	"$SCALE" --max 1024 --costs $costs >$OUT/$costs.dat
done

# table COSTS: from the first block of its columns
table() {
	echo "| nodes | read, quiet | read, all at one home (p99) | read, spread homes (p99) | write, nobody's | write, one reader | upgrade, 1 other | 8 others | all others | ping-pong | all write one page | referee, messages/s |"
	echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
	awk '/^#/ { next } NF == 0 { exit }
	{ eight = $14 + 0 ? sprintf("%.1f", $14) : "-"
	printf "| %d | %.1f | %.1f (%.1f) | %.1f (%.1f) | %.1f | %.1f | %.1f | %s | %.1f | %.1f | %.1f | %d |\n",
		$1, $4, $6, $7, $9, $10, $11, $12, $13,
		eight, $15, $16, $17, $18 }' \
		"$OUT/$1.dat"
}

for costs in 100g old shm; do
	table $costs >$OUT/table.tmp
	awk -v name=$costs -v file=$OUT/table.tmp '
		$0 == "<!-- " name " -->" { print; print ""
			while ((getline line < file) > 0) print line
			print ""; skip = 1; next }
		$0 == "<!-- end -->" { skip = 0 }
		!skip' docs/scaling.md >$OUT/page.tmp
	mv $OUT/page.tmp docs/scaling.md
	rm $OUT/table.tmp
done

gnuplot $OUT/scaling.gnuplot
