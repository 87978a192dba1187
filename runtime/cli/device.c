/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/cli/device.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <fcntl.h>
#include <unistd.h>

#include "runtime/cli/cli.h"

#define SYS_INFINIBAND "/sys/class/infiniband"
#define SYS_NET        "/sys/class/net"
#define SYS_PATH_MAX   512

void dipc_sysfs_read(const char *path, char *text_out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd >= 0) {
		n = read(fd, text_out, size - 1);
		close(fd);
	}
	text_out[n > 0 ? n : 0] = '\0';
	text_out[strcspn(text_out, "\n")] = '\0';
}

unsigned dipc_netdev_mtu(const char *netdev)
{
	char path[SYS_PATH_MAX], text[32];

	snprintf(path, sizeof(path), SYS_NET "/%s/mtu", netdev);
	dipc_sysfs_read(path, text, sizeof(text));
	return (unsigned)strtoul(text, NULL, 10);
}

/* ---- network interfaces of a device -------------------------------------- */

static void device_add_netdev(struct dipc_device *dev, const char *netdev)
{
	unsigned i;

	for (i = 0; i < dev->nr_netdevs; i++)
		if (!strcmp(dev->netdev[i], netdev))
			return;
	if (netdev[0] && i < DIPC_DEVICE_NETDEVS &&
	    strlen(netdev) < sizeof(dev->netdev[0]))
		strcpy(dev->netdev[dev->nr_netdevs++], netdev);
}

/* RoCE: the interface behind each GID. Empty entries cannot be read. */
static void netdevs_of_gids(struct dipc_device *dev)
{
	char path[SYS_PATH_MAX], text[64];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path),
		 SYS_INFINIBAND "/%s/ports/%u/gid_attrs/ndevs", dev->name,
		 dev->port);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path),
			 SYS_INFINIBAND "/%s/ports/%u/gid_attrs/ndevs/%s",
			 dev->name, dev->port, entry->d_name);
		dipc_sysfs_read(path, text, sizeof(text));
		device_add_netdev(dev, text);
	}
	if (dir)
		closedir(dir);
}

/* InfiniBand: the interfaces (ib0) of the same PCI function. */
static void netdevs_of_parent(struct dipc_device *dev)
{
	char path[SYS_PATH_MAX];
	char *ours, *theirs;
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), SYS_INFINIBAND "/%s/device", dev->name);
	ours = realpath(path, NULL);
	dir = ours ? opendir(SYS_NET) : NULL;
	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), SYS_NET "/%s/device",
			 entry->d_name);
		theirs = realpath(path, NULL);
		if (theirs && !strcmp(ours, theirs))
			device_add_netdev(dev, entry->d_name);
		free(theirs);
	}
	if (dir)
		closedir(dir);
	free(ours);
}

/* ---- devices ------------------------------------------------------------ */

static void device_read(struct dipc_device *dev)
{
	char path[SYS_PATH_MAX], text[64];
	const char *colon;

	snprintf(path, sizeof(path), SYS_INFINIBAND "/%s/ports/%u/state",
		 dev->name, dev->port);
	dipc_sysfs_read(path, text, sizeof(text));
	colon = strchr(text, ':'); /* "4: ACTIVE" */
	snprintf(dev->state, sizeof(dev->state), "%.31s",
		 colon && colon[1] ? colon + 2 : text);
	dev->is_active = !strcmp(dev->state, "ACTIVE");
	snprintf(path, sizeof(path), SYS_INFINIBAND "/%s/ports/%u/link_layer",
		 dev->name, dev->port);
	dipc_sysfs_read(path, dev->link_layer, sizeof(dev->link_layer));
	netdevs_of_gids(dev);
	/* soft-RoCE names its interface here, whatever its GIDs */
	snprintf(path, sizeof(path), SYS_INFINIBAND "/%s/parent", dev->name);
	dipc_sysfs_read(path, text, sizeof(text));
	device_add_netdev(dev, text);
	if (!dev->nr_netdevs)
		netdevs_of_parent(dev);
}

static unsigned device_add_ports(const char *name, struct dipc_device *devices,
				 unsigned nr)
{
	char path[SYS_PATH_MAX];
	unsigned port;

	for (port = 1; nr < DIPC_DEVICES_MAX; port++) {
		struct dipc_device *dev = &devices[nr];

		snprintf(path, sizeof(path), SYS_INFINIBAND "/%s/ports/%u",
			 name, port);
		if (access(path, F_OK))
			break;
		memset(dev, 0, sizeof(*dev));
		snprintf(dev->name, sizeof(dev->name), "%.63s", name);
		dev->port = port;
		device_read(dev);
		nr++;
	}
	return nr;
}

unsigned dipc_devices_find(struct dipc_device devices_out[DIPC_DEVICES_MAX])
{
	DIR *dir = opendir(SYS_INFINIBAND);
	struct dirent *entry;
	unsigned nr = 0;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			nr = device_add_ports(entry->d_name, devices_out, nr);
	if (dir)
		closedir(dir);
	return nr;
}

/* ---- addresses ---------------------------------------------------------- */

struct addresses {
	char all[256]; /* for people */
	char first[INET6_ADDRSTRLEN];
	unsigned nr;
};

static bool is_rdma_netdev(const struct dipc_device *devices, unsigned nr,
			   const char *netdev)
{
	unsigned i, j;

	for (i = 0; i < nr; i++)
		for (j = 0; devices[i].is_active && j < devices[i].nr_netdevs;
		     j++)
			if (!strcmp(devices[i].netdev[j], netdev))
				return true;
	return false;
}

static bool address_text(const struct sockaddr *addr, int family, char *text,
			 size_t size)
{
	const struct sockaddr_in *v4 = (const void *)addr;
	const struct sockaddr_in6 *v6 = (const void *)addr;

	if (!addr || addr->sa_family != family)
		return false;
	if (family == AF_INET)
		return inet_ntop(AF_INET, &v4->sin_addr, text, (socklen_t)size);
	return !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr) &&
	       inet_ntop(AF_INET6, &v6->sin6_addr, text, (socklen_t)size);
}

static void addresses_find(const struct dipc_device *devices, unsigned nr,
			   int family, struct addresses *found)
{
	char text[INET6_ADDRSTRLEN];
	struct ifaddrs *list, *ifa;
	size_t len;

	memset(found, 0, sizeof(*found));
	if (getifaddrs(&list))
		return;
	for (ifa = list; ifa; ifa = ifa->ifa_next) {
		if (!(ifa->ifa_flags & IFF_UP) ||
		    !is_rdma_netdev(devices, nr, ifa->ifa_name) ||
		    !address_text(ifa->ifa_addr, family, text, sizeof(text)))
			continue;
		if (!found->nr++)
			strcpy(found->first, text);
		len = strlen(found->all);
		snprintf(found->all + len, sizeof(found->all) - len, "%s%s",
			 len ? ", " : "", text);
	}
	freeifaddrs(list);
}

int dipc_device_address(char *address_out, size_t size)
{
	struct dipc_device devices[DIPC_DEVICES_MAX];
	unsigned nr = dipc_devices_find(devices);
	struct addresses found;

	if (!nr)
		return dipc_cli_fail(
			"no RDMA device: `rdma link add rxe0 type rxe netdev "
			"eth0` makes one of a network card, or use "
			"--transport shm");
	addresses_find(devices, nr, AF_INET, &found);
	if (!found.nr)
		addresses_find(devices, nr, AF_INET6, &found);
	if (!found.nr)
		return dipc_cli_fail("the RDMA device %s is not active or its "
				     "interface has no IP address: see `dipc "
				     "doctor`",
				     devices[0].name);
	if (found.nr > 1)
		return dipc_cli_fail("several RDMA addresses: choose one with "
				     "--address (%s)",
				     found.all);
	snprintf(address_out, size, "%s", found.first);
	return 0;
}
