/* SPDX-License-Identifier: BSD-2-Clause */
/* RDMA devices of this machine as sysfs shows them, without verbs. */
#ifndef DIPC_CLI_DEVICE_H
#define DIPC_CLI_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

#define DIPC_DEVICES_MAX    16u
#define DIPC_DEVICE_NETDEVS 4u

/* One port of a device. */
struct dipc_device {
	char name[64];
	unsigned port;
	bool is_active;
	char state[32];      /* as the kernel words it: "ACTIVE", "DOWN" */
	char link_layer[32]; /* "InfiniBand" or "Ethernet" */
	char netdev[DIPC_DEVICE_NETDEVS][32];
	unsigned nr_netdevs;
};

unsigned dipc_devices_find(struct dipc_device devices_out[DIPC_DEVICES_MAX]);
/* 0 when it cannot be read. */
unsigned dipc_netdev_mtu(const char *netdev);
/*
 * The IP address to reach this machine through an RDMA device: the only one,
 * IPv4 if there is. 0, or DIPC_EXIT_FAIL, said with the way out.
 */
int dipc_device_address(char *address_out, size_t size);

/* What is to be read in the file, cut at the first newline; "" if nothing. */
void dipc_sysfs_read(const char *path, char *text_out, size_t size);

#endif
