/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/maps.h"

#include <errno.h>
#include <sys/sysmacros.h>

#include "runtime/base/sys.h"

int dipc_maps_open(struct dipc_maps *maps)
{
	maps->fd = dipc_sys_open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (maps->fd < 0)
		return maps->fd;
	maps->at = 0;
	maps->len = 0;
	return 0;
}

void dipc_maps_close(struct dipc_maps *maps)
{
	dipc_sys_close(maps->fd);
}

/* The next character; 0 at the end, -errno. */
static int maps_char(struct dipc_maps *maps)
{
	long n;

	if (maps->at == maps->len) {
		do {
			n = dipc_sys_read(maps->fd, maps->text,
					  sizeof(maps->text));
		} while (n == -EINTR);
		if (n <= 0)
			return (int)n;
		maps->at = 0;
		maps->len = (unsigned)n;
	}
	return (unsigned char)maps->text[maps->at++];
}

/* A number in BASE; *END_OUT is what came behind it. */
static uint64_t maps_number(struct dipc_maps *maps, unsigned base, int *end_out)
{
	uint64_t value = 0;
	int c;

	for (;;) {
		c = maps_char(maps);
		if (c >= '0' && c <= '9')
			value = value * base + (unsigned)(c - '0');
		else if (base == 16 && c >= 'a' && c <= 'f')
			value = value * base + (unsigned)(c - 'a' + 10);
		else
			break;
	}
	*end_out = c;
	return value;
}

/* Go on to the end of the line. Does its path begin as a kernel segment's? */
static bool maps_path(struct dipc_maps *maps, int c)
{
	static const char sysv[] = "/SYSV";
	unsigned i = 0;

	while (c == ' ')
		c = maps_char(maps);
	while (i < sizeof(sysv) - 1 && c == sysv[i]) {
		c = maps_char(maps);
		i++;
	}
	while (c > 0 && c != '\n')
		c = maps_char(maps);
	return i == sizeof(sysv) - 1;
}

/* start-end perms offset major:minor inode path */
int dipc_maps_next(struct dipc_maps *maps, struct dipc_maps_line *line_out)
{
	struct dipc_maps_line line;
	unsigned major, minor, i;
	int c;

	line.start = maps_number(maps, 16, &c);
	if (c <= 0)
		return c;
	line.end = maps_number(maps, 16, &c);
	for (i = 0; i < 5 && c > 0; i++) /* "rw-p " */
		c = maps_char(maps);
	line.offset = maps_number(maps, 16, &c);
	major = (unsigned)maps_number(maps, 16, &c);
	minor = (unsigned)maps_number(maps, 16, &c);
	line.dev = makedev(major, minor);
	line.ino = maps_number(maps, 10, &c);
	line.is_sysv = maps_path(maps, c);
	*line_out = line;
	return 1;
}
