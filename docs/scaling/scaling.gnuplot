# SPDX-License-Identifier: BSD-2-Clause
# gnuplot, from the top of the tree: *.dat -> scaling.svg
set terminal svg size 1000,760 font "sans,11" background "white"
set output "docs/scaling/scaling.svg"
set multiplot layout 2,2
set logscale xy 2
set format y "%g"
set key top left
set grid
set style data linespoints

set xlabel "nodes"
set ylabel "us"
set title "Read miss"
plot "docs/scaling/100g.dat" index 0 using 1:4 title "quiet", \
	"" index 0 using 1:9 title "all at once, 32 homes", \
	"" index 0 using 1:6 title "all at once, one home", \
	"" index 0 using 1:7 title "... p99"

set title "Write"
plot "docs/scaling/100g.dat" index 0 using 1:11 title "nobody has it", \
	"" index 0 using 1:12 title "one has read it", \
	"" index 0 using 1:16 title "ping-pong of two", \
	"" index 0 using 1:15 title "upgrade, all others have it"

set xlabel "other nodes that have a copy (of 1,024)"
set title "Upgrade"
plot "docs/scaling/100g.dat" index 1 using ($1 == 1024 ? $2 : 1/0):3 \
		title "100g", \
	"docs/scaling/old.dat" index 1 using ($1 == 1024 ? $2 : 1/0):3 \
		title "old", \
	"docs/scaling/shm.dat" index 1 using ($1 == 1024 ? $2 : 1/0):3 \
		title "shm"

set xlabel "nodes"
set ylabel "messages/s, bytes"
set title "What grows with the cluster"
plot "docs/scaling/100g.dat" index 0 using 1:18 \
		title "heartbeats at the referee", \
	"" index 0 using 1:2 title "directory, bytes of a page's entry"
