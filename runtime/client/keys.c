/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which keys are distributed without the flag: DIPC_KEYS is "all", or a list
 * of keys and ranges: "0x1234,100-200".
 */
#include "runtime/client/client.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>

#include "dipc/dipc.h"
#include "runtime/base/config.h"
#include "runtime/client/guard.h"

#define KEYS_MAX 64u

struct key_range {
	long first, last;
};

static struct {
	bool is_all;
	bool noreserve_is_dipc;
	unsigned nr;
	struct key_range range[KEYS_MAX];
} keys;
static struct dipc_once keys_once = DIPC_ONCE_INIT;

static void keys_parse(const char *text)
{
	while (*text && keys.nr < KEYS_MAX) {
		struct key_range *r = &keys.range[keys.nr];
		char *end;

		r->first = strtol(text, &end, 0);
		if (end == text)
			break;
		r->last = r->first;
		if (*end == '-')
			r->last = strtol(end + 1, &end, 0);
		keys.nr++;
		if (*end != ',')
			break;
		text = end + 1;
	}
	if (*text && (keys.nr == 0 || strchr(text, ',')))
		dipc_conn_complain("DIPC_KEYS: not \"all\" or a list of keys "
				   "and ranges such as 0x1234,100-200");
}

static void keys_init(void)
{
	const char *text = getenv("DIPC_KEYS");
	struct dipc_config conf;
	char err[256];

	keys.noreserve_is_dipc = true;
	if (text && !strcmp(text, "all"))
		keys.is_all = true;
	else if (text)
		keys_parse(text);
	if (dipc_config_load(dipc_config_path(), &conf, err, sizeof(err)) ==
	    0) {
		keys.noreserve_is_dipc = conf.noreserve_is_dipc;
		dipc_config_fini(&conf);
	}
}

bool dipc_keys_are_all(void)
{
	dipc_once(&keys_once, keys_init);
	return keys.is_all;
}

bool dipc_keys_match(key_t key, int flags, bool is_shm)
{
	unsigned i;

	if (dipc_guard_is_inside())
		return false;
	dipc_once(&keys_once, keys_init);
	if (keys.is_all)
		return true;
	if ((flags & IPC_DIPC) && (!is_shm || keys.noreserve_is_dipc))
		return true;
	if (key == IPC_PRIVATE)
		return false;
	for (i = 0; i < keys.nr; i++)
		if (key >= keys.range[i].first && key <= keys.range[i].last)
			return true;
	return false;
}
