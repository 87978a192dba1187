#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A page of this folder as roff for man(1), by lowdown(1).
#
#   sh roff.sh NAME.SECTION.md VERSION [OUT]
#
# The title line "# name(1): what it is" becomes the NAME section that
# whatis(1) reads, and all other headings go up by one.
set -eu
[ $# -lt 3 ] || exec >"$3"
page=$(basename "$1" .md)
section=${page##*.}
name=${page%.*}
sed -e "1s/^# [a-z0-9_.-]*(.): \(.*\)\$/## NAME\n\n$(echo "$name" | sed 's/_/\\\\_/g') - \1/" \
	-e '1s/^# [a-z0-9_.-]*(.)$//' \
	-e 's/^#\(#\)* /#\1 /' -e 's/^##/#/' "$1" |
	sed -e '/^# /s/.*/\U&/' |
	lowdown -s -Tman --parse-no-intraemph --out-no-smarty \
		-M title="$name" -M section="$section" \
		-M source="libdipc-rdma $2" -M volume="System V IPC for a cluster" |
	# headings where lexgrog(1) looks for them; nothing stretched; the last
	# column of a table takes what room there is
	sed -e '/^\.S[HS]$/{N;s/\n/ /;}' -e '/^\.TH/a .ad l\n.nh' \
		-e 's/^tab(|) expand /tab(|) /' \
		-e '/^l\( l\)*\.$/s/l\.$/lx./'
