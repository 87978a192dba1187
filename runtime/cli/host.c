/* SPDX-License-Identifier: BSD-2-Clause */
/* What the doctor looks at in the machine: device, limits, userfaultfd. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/cli/device.h"
#include "runtime/cli/finding.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif

#define CAP_SYS_PTRACE_BIT 19u
/* 4096 bytes of an RDMA packet and its Ethernet, IP, UDP, BTH headers */
#define MTU_FOR_4096 4200u
#define MIB          1048576ull

static bool has_capability(unsigned bit)
{
	unsigned long long caps = 0;
	char line[256];
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	if (f)
		fclose(f);
	return caps >> bit & 1;
}

/* ---- RDMA --------------------------------------------------------------- */

static void check_mtu(const struct dipc_device *dev)
{
	unsigned i;

	for (i = 0; i < dev->nr_netdevs; i++) {
		unsigned mtu = dipc_netdev_mtu(dev->netdev[i]);

		if (mtu >= MTU_FOR_4096)
			dipc_finding_ok("%s: MTU %u, a page is one packet",
					dev->netdev[i], mtu);
		else if (mtu)
			dipc_finding_note(
				"%s: MTU %u, a page is several packets: `ip "
				"link set %s mtu 9000` on every machine and "
				"switch",
				dev->netdev[i], mtu, dev->netdev[i]);
	}
}

static void check_devices(bool is_needed)
{
	struct dipc_device devices[DIPC_DEVICES_MAX];
	unsigned i, nr = dipc_devices_find(devices);
	char mend[96];

	if (!nr && is_needed)
		dipc_finding_fail("rdma link add rxe0 type rxe netdev eth0",
				  "no RDMA device, and transport = verbs");
	else if (!nr)
		dipc_finding_note("no RDMA device: nodes on this machine only "
				  "(transport = shm)");
	for (i = 0; i < nr; i++) {
		const struct dipc_device *dev = &devices[i];

		snprintf(mend, sizeof(mend), "ip link set %s up",
			 dev->nr_netdevs ? dev->netdev[0] : "DEVICE");
		if (dev->is_active)
			dipc_finding_ok("RDMA device %s port %u is active (%s)",
					dev->name, dev->port, dev->link_layer);
		else if (is_needed)
			dipc_finding_fail(mend, "RDMA device %s port %u: %s",
					  dev->name, dev->port, dev->state);
		else
			dipc_finding_note("RDMA device %s port %u: %s",
					  dev->name, dev->port, dev->state);
		if (strcmp(dev->link_layer, "InfiniBand"))
			check_mtu(dev);
	}
	if (nr)
		dipc_finding_note("atomics of the device: dipcd checks them "
				  "when it starts");
}

static void check_memlock(const struct dipc_config *conf, bool is_needed)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		return;
	/* what it registers besides: rings, landing buffers, segments */
	if (limit.rlim_cur == RLIM_INFINITY)
		dipc_finding_ok("locked memory: unlimited");
	else if (!is_needed || has_capability(14)) /* CAP_IPC_LOCK */
		dipc_finding_ok("locked memory: the limit of %llu MiB does not "
				"matter here (%s)",
				(unsigned long long)limit.rlim_cur / MIB,
				is_needed ? "CAP_IPC_LOCK" : "transport = shm");
	else if (limit.rlim_cur < conf->arena_size)
		dipc_finding_fail(
			"ulimit -l unlimited (systemd: LimitMEMLOCK=infinity)",
			"locked memory: %llu MiB, and the referee alone needs "
			"%llu MiB",
			(unsigned long long)limit.rlim_cur / MIB,
			(unsigned long long)conf->arena_size / MIB);
	else
		dipc_finding_note("locked memory: %llu MiB bounds the segments "
				  "that live here",
				  (unsigned long long)limit.rlim_cur / MIB);
}

/* ---- userfaultfd -------------------------------------------------------- */

/* A descriptor as dipcd's clients get one; how, in words. */
static int uffd_open(const char **how_out)
{
	int dev, fd = -1;

	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev >= 0) {
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
		close(dev);
		*how_out = "/dev/userfaultfd";
	}
	if (fd < 0) {
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
		*how_out = "userfaultfd(2)";
	}
	return fd;
}

static void check_uffd(void)
{
	const uint64_t needed =
		UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	struct uffdio_api api = {.api = UFFD_API, .features = needed};
	const char *how;
	int fd = uffd_open(&how);

	if (fd < 0 && errno == ENOSYS) {
		dipc_finding_fail(NULL,
				  "userfaultfd: not in this kernel "
				  "(CONFIG_USERFAULTFD); no shared memory");
		return;
	}
	if (fd < 0) {
		dipc_finding_fail("sudo dipc up; or chmod 666 /dev/userfaultfd "
				  "and setcap cap_sys_ptrace=ep dipcd",
				  "userfaultfd: %m; a dipcd of this user has "
				  "no shared memory");
		return;
	}
	api.features |= UFFD_FEATURE_SIGBUS;
	if (ioctl(fd, UFFDIO_API, &api) == 0) {
		dipc_finding_ok("userfaultfd by %s", how);
		goto out_fd;
	}
	api = (struct uffdio_api){.api = UFFD_API, .features = needed};
	if (ioctl(fd, UFFDIO_API, &api) == 0)
		dipc_finding_note("userfaultfd by %s; this kernel has no "
				  "DIPC_FAULTS=signal",
				  how);
	else
		dipc_finding_fail(NULL,
				  "userfaultfd: this kernel cannot write-"
				  "protect shared memory (Linux 5.19 can); no "
				  "shared memory");
out_fd:
	close(fd);
	if (has_capability(CAP_SYS_PTRACE_BIT))
		dipc_finding_ok("fork can be followed (CAP_SYS_PTRACE)");
	else
		dipc_finding_fail(
			"sudo dipc up; or setcap cap_sys_ptrace=ep dipcd",
			"userfaultfd: a dipcd of this user may not follow fork "
			"(CAP_SYS_PTRACE): it has no shared memory");
}

/* ---- the rest ----------------------------------------------------------- */

static void check_map_count(void)
{
	char text[32];

	dipc_sysfs_read("/proc/sys/vm/max_map_count", text, sizeof(text));
	dipc_finding_note("vm.max_map_count is %s: each attachment costs a "
			  "process one",
			  text[0] ? text : "unknown");
}

/* Where the referee's memory shall lie, if in a file. */
static void check_arena_file(const struct dipc_config *conf)
{
	char dir[256], *slash;
	struct statvfs fs;
	unsigned long long room;

	if (!conf->arena_file || !access(conf->arena_file, F_OK))
		return;
	snprintf(dir, sizeof(dir), "%s", conf->arena_file);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = '\0';
	if (statvfs(slash ? dir : ".", &fs)) {
		dipc_finding_fail("set arena-file to a name on tmpfs",
				  "arena-file = %s: %m", conf->arena_file);
		return;
	}
	room = (unsigned long long)fs.f_bavail * fs.f_frsize;
	if (room < conf->arena_size)
		dipc_finding_fail("mount -o remount,size=SIZE it, or set "
				  "arena-file elsewhere",
				  "arena-file = %s: room for %llu MiB, "
				  "arena-size is %llu",
				  conf->arena_file, room / MIB,
				  (unsigned long long)conf->arena_size / MIB);
	else
		dipc_finding_ok("room for arena-file = %s", conf->arena_file);
}

void dipc_host_check(const struct dipc_config *conf)
{
	bool is_verbs = !strcmp(conf->transport, "verbs");

	check_devices(is_verbs);
	check_memlock(conf, is_verbs);
	check_uffd();
	check_map_count();
	check_arena_file(conf);
}
