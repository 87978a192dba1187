/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/base/ticket.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_DIGITS (2 * DIPC_KEY_LEN)

static void put_le32(uint8_t *dst, uint32_t v)
{
	unsigned i;

	for (i = 0; i < 4; i++)
		dst[i] = (uint8_t)(v >> 8 * i);
}

int dipc_random(void *dst, size_t len)
{
	return gnutls_rnd(GNUTLS_RND_KEY, dst, len) ? -EIO : 0;
}

/* ---- the cluster's key -------------------------------------------------- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int key_decode(const char *text, uint8_t key[DIPC_KEY_LEN])
{
	unsigned i;

	while (isspace((unsigned char)*text))
		text++;
	for (i = 0; i < KEY_DIGITS; i++) {
		int digit = hex_digit(text[i]);

		if (digit < 0)
			return -EINVAL;
		key[i / 2] = (uint8_t)(key[i / 2] << 4 | digit);
	}
	for (text += KEY_DIGITS; *text; text++)
		if (!isspace((unsigned char)*text))
			return -EINVAL;
	return 0;
}

/* Room for the digits, white space, and to see that there is more. */
static int key_read(const char *path, int fd, char text[256], char *err,
		    size_t err_size)
{
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode)) {
		snprintf(err, err_size, "key-file %s: not a regular file",
			 path);
		return -EINVAL;
	}
	if (st.st_mode & 077) {
		snprintf(err, err_size,
			 "key-file %s: others can read it (mode %04o); the key "
			 "is as good as public: make a new one, mode 0600",
			 path, (unsigned)st.st_mode & 07777u);
		return -EPERM;
	}
	n = read(fd, text, 255);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	return 0;
}

int dipc_key_load(const char *path, uint8_t key_out[DIPC_KEY_LEN], char *err,
		  size_t err_size)
{
	uint8_t key[DIPC_KEY_LEN] = {0};
	char text[256];
	int fd, ret;

	err[0] = '\0';
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		ret = -errno;
		snprintf(err, err_size,
			 "key-file %s: %s; `dipc key` makes one, every machine "
			 "of the cluster needs the same",
			 path, strerror(-ret));
		return ret;
	}
	ret = key_read(path, fd, text, err, err_size);
	close(fd);
	if (ret) {
		if (!err[0])
			snprintf(err, err_size, "key-file %s: %s", path,
				 strerror(-ret));
		return ret;
	}
	ret = key_decode(text, key);
	gnutls_memset(text, 0, sizeof(text));
	if (ret) {
		snprintf(err, err_size,
			 "key-file %s: not a key of %u hex digits; `dipc key` "
			 "makes one",
			 path, KEY_DIGITS);
		return ret;
	}
	memcpy(key_out, key, sizeof(key));
	gnutls_memset(key, 0, sizeof(key));
	return 0;
}

int dipc_key_make(const char *path, char *err, size_t err_size)
{
	uint8_t key[DIPC_KEY_LEN];
	char text[KEY_DIGITS + 2];
	unsigned i;
	int fd, ret;

	ret = dipc_random(key, sizeof(key));
	if (ret) {
		snprintf(err, err_size, "no random numbers to be had");
		return ret;
	}
	for (i = 0; i < DIPC_KEY_LEN; i++)
		snprintf(text + 2 * i, 3, "%02x", key[i]);
	text[KEY_DIGITS] = '\n';
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		ret = -errno;
		goto err_key;
	}
	if (write(fd, text, KEY_DIGITS + 1) != (ssize_t)KEY_DIGITS + 1)
		ret = errno ? -errno : -ENOSPC;
	if (close(fd) && !ret)
		ret = -errno;
	if (ret)
		unlink(path);
err_key:
	if (ret)
		snprintf(err, err_size, "key-file %s: %s", path,
			 strerror(-ret));
	gnutls_memset(key, 0, sizeof(key));
	gnutls_memset(text, 0, sizeof(text));
	return ret;
}

/* ---- tickets ------------------------------------------------------------ */

int dipc_ticket_make(const uint8_t secret[DIPC_SECRET_LEN], uint32_t node,
		     uint32_t incarnation,
		     uint8_t ticket_out[DIPC_TICKET_BYTES])
{
	uint8_t text[8], digest[32];

	put_le32(text, node);
	put_le32(text + 4, incarnation);
	if (gnutls_hmac_fast(GNUTLS_MAC_SHA256, secret, DIPC_SECRET_LEN, text,
			     sizeof(text), digest))
		return -EIO;
	memcpy(ticket_out, digest, DIPC_TICKET_BYTES);
	return 0;
}

bool dipc_ticket_is_valid(const uint8_t secret[DIPC_SECRET_LEN], uint32_t node,
			  uint32_t incarnation,
			  const uint8_t ticket[DIPC_TICKET_BYTES])
{
	uint8_t want[DIPC_TICKET_BYTES];

	if (dipc_ticket_make(secret, node, incarnation, want))
		return false;
	return gnutls_memcmp(want, ticket, sizeof(want)) == 0;
}
