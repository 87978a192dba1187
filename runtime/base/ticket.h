/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who may be in the cluster. The cluster's key (a file every machine has)
 * opens the TCP session with the referee; the ticket obtained there is what
 * each RDMA connection has to show.
 */
#ifndef DIPC_BASE_TICKET_H
#define DIPC_BASE_TICKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIPC_KEY_LEN      32u /* bytes; twice as many hex digits in the file */
#define DIPC_SECRET_LEN   32u
#define DIPC_TICKET_BYTES 16u

/*
 * Read the cluster's key from PATH: 64 hex digits, white space around them. 0,
 * or -errno with one line in ERR naming the file, the cause and the way out.
 * -EPERM: others than the owner can read it. -EINVAL: not such a key.
 */
int dipc_key_load(const char *path, uint8_t key_out[DIPC_KEY_LEN], char *err,
		  size_t err_size);
/* Make a new random key in PATH, mode 0600; -EEXIST when PATH exists. */
int dipc_key_make(const char *path, char *err, size_t err_size);

/* Cryptographically random bytes. 0 or -EIO. */
int dipc_random(void *dst, size_t len);

/* What NODE in this life has to show to who holds SECRET. 0 or -EIO. */
int dipc_ticket_make(const uint8_t secret[DIPC_SECRET_LEN], uint32_t node,
		     uint32_t incarnation,
		     uint8_t ticket_out[DIPC_TICKET_BYTES]);
/* In constant time. */
bool dipc_ticket_is_valid(const uint8_t secret[DIPC_SECRET_LEN], uint32_t node,
			  uint32_t incarnation,
			  const uint8_t ticket[DIPC_TICKET_BYTES]);

#endif
