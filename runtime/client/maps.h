/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * /proc/self/maps, line by line, in order of addresses. No allocation, no
 * libc: what is read may be asked for in any state of the program.
 */
#ifndef DIPC_CLIENT_MAPS_H
#define DIPC_CLIENT_MAPS_H

#include <stdbool.h>
#include <stdint.h>

struct dipc_maps {
	int fd;
	unsigned at, len;
	char text[2048];
};

struct dipc_maps_line {
	uintptr_t start, end;
	uint64_t offset;
	uint64_t dev; /* as in struct stat */
	uint64_t ino;
	bool is_sysv; /* a segment of the kernel's */
};

/* 0 or -errno (no /proc here). */
int dipc_maps_open(struct dipc_maps *maps);
/* 1; 0 at the end; -errno. */
int dipc_maps_next(struct dipc_maps *maps, struct dipc_maps_line *line_out);
void dipc_maps_close(struct dipc_maps *maps);

#endif
