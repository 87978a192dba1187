/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration and key files: what is accepted, and what is said. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/config.h"
#include "runtime/base/ticket.h"

static char path[64];
static char err[256];
static struct dipc_config conf;

static int setup(void **state)
{
	int fd;

	(void)state;
	strcpy(path, "/tmp/dipc-config-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static int load(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	err[0] = '\0';
	return dipc_config_load(path, &conf, err, sizeof(err));
}

/* TEXT is refused, and the complaint has every one of the words. */
static void refuse(const char *text, const char *where, const char *what)
{
	assert_int_equal(load(text), -EINVAL);
	if (!strstr(err, where) || !strstr(err, what) || strchr(err, '\n'))
		fail_msg("'%s' lacks '%s' or '%s'", err, where, what);
}

static void load__defaults(void **state)
{
	(void)state;
	assert_int_equal(load(""), 0);
	assert_string_equal(conf.transport, "shm");
	assert_non_null(conf.referee_address);
	assert_int_equal(conf.arena_size, 128ull << 20);
	assert_int_equal(conf.nr_objects, 98304);
	assert_true(conf.shmmax == UINT64_MAX - (1ull << 24));
	assert_true(conf.shmall == UINT64_MAX - (1ull << 24));
	assert_int_equal(conf.shmmni, 4096);
	assert_int_equal(conf.semmni, 32000);
	assert_int_equal(conf.semmns, 1024000000);
	assert_int_equal(conf.semopm, 500);
	assert_int_equal(conf.msgmni, 32000);
	assert_int_equal(conf.msgmnb, 16384);
	assert_int_equal(conf.msgmax, 8192);
	assert_int_equal(conf.semmsl, 32000);
	assert_int_equal(conf.peer_timeout_ms, 1000);
	assert_true(conf.noreserve_is_dipc);
	assert_int_equal(conf.nr_rules, 0);
	assert_null(conf.arena_file);
	dipc_config_fini(&conf);
}

static void load__values(void **state)
{
	(void)state;
	assert_int_equal(load("# comment\n"
			      "[cluster]\n"
			      "referee = far.example:99 ; comment\n"
			      "  transport = verbs\n"
			      "[node]\n"
			      "node=40\n"
			      "noreserve-is-dipc = no\n"
			      "[referee]\n"
			      "arena-size = 1g\n"
			      "arena-file = /dev/shm/x\n"
			      "[limits]\n"
			      "shmmax = 123\n"
			      "msgmnb = 65536"),
			 0);
	assert_string_equal(conf.referee, "far.example:99");
	assert_string_equal(conf.transport, "verbs");
	assert_null(conf.address); /* which device, must be said */
	assert_int_equal(conf.node, 40);
	assert_false(conf.noreserve_is_dipc);
	assert_int_equal(conf.arena_size, 1ull << 30);
	assert_string_equal(conf.arena_file, "/dev/shm/x");
	assert_int_equal(conf.shmmax, 123);
	assert_int_equal(conf.msgmnb, 65536);
	dipc_config_fini(&conf);
}

static void load__refuses(void **state)
{
	char text[600];

	(void)state;
	refuse("[cluster]\n\nrefere = a:1\n", ":3:", "refere: no such");
	refuse("[clusters]\nreferee = a:1\n", ":2:", "[clusters]");
	refuse("referee = a:1\n", ":1:", "before any [section]");
	refuse("[node]\nnode = 41\n", ":2:", "node: 41 is out of range");
	refuse("[node]\nnode = -1\n", ":2:", "not a number");
	refuse("[node]\nnode = 1x\n", ":2:", "not a number");
	refuse("[node]\nnode = 99999999999999999999\n", ":2:", "out of range");
	refuse("[referee]\narena-size = 99999999999T\n", ":2:", "out of range");
	refuse("[node]\nnode = 1\nnode = 2\n", ":3:", "second time");
	refuse("[node]\nnoreserve-is-dipc = maybe\n", ":2:", "yes or no");
	refuse("[cluster]\ntransport = carrier-pigeon\n", ":2:", "verbs|shm");
	refuse("[cluster]\ntransport = \n", ":2:", "transport");
	refuse("[cluster]\nnonsense\n", ":2:", "NAME = VALUE");
	refuse("[cluster\nreferee = a:1\n", ":1:", "NAME = VALUE");
	snprintf(text, sizeof(text), "[cluster]\nkey-file = %0500d\n", 1);
	refuse(text, ":2:", "longer than");
	assert_int_equal(
		dipc_config_load("/no/such/file", &conf, err, sizeof(err)),
		-ENOENT);
	assert_non_null(strstr(err, "/no/such/file"));
}

static void key__made_is_loaded(void **state)
{
	uint8_t a[DIPC_KEY_LEN], b[DIPC_KEY_LEN];
	struct stat st;

	(void)state;
	unlink(path);
	assert_int_equal(dipc_key_make(path, err, sizeof(err)), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(dipc_key_make(path, err, sizeof(err)), -EEXIST);
	assert_int_equal(dipc_key_load(path, a, err, sizeof(err)), 0);
	assert_int_equal(dipc_key_load(path, b, err, sizeof(err)), 0);
	assert_memory_equal(a, b, sizeof(a));
}

static void key__refuses(void **state)
{
	uint8_t key[DIPC_KEY_LEN];

	(void)state;
	(void)load("0123456789abcdef\n");
	assert_int_equal(dipc_key_load(path, key, err, sizeof(err)), -EINVAL);
	(void)load("0123456789abcdef0123456789abcdef0123456789abcdef"
		   "0123456789abcdef0");
	assert_int_equal(dipc_key_load(path, key, err, sizeof(err)), -EINVAL);
	chmod(path, 0640);
	assert_int_equal(dipc_key_load(path, key, err, sizeof(err)), -EPERM);
	assert_non_null(strstr(err, path));
	assert_int_equal(dipc_key_load("/no/such", key, err, sizeof(err)),
			 -ENOENT);
	assert_int_equal(dipc_key_load("/", key, err, sizeof(err)), -EINVAL);
}

static void ticket__belongs_to_one_life(void **state)
{
	uint8_t secret[DIPC_SECRET_LEN] = {1}, ticket[DIPC_TICKET_BYTES];

	(void)state;
	assert_int_equal(dipc_ticket_make(secret, 3, 9, ticket), 0);
	assert_true(dipc_ticket_is_valid(secret, 3, 9, ticket));
	assert_false(dipc_ticket_is_valid(secret, 3, 10, ticket));
	assert_false(dipc_ticket_is_valid(secret, 4, 9, ticket));
	secret[0] = 2;
	assert_false(dipc_ticket_is_valid(secret, 3, 9, ticket));
}

static struct dipc_policy policy_of(int32_t key)
{
	struct dipc_policy policy = {0};

	dipc_config_policy(&conf, key, &policy);
	return policy;
}

static void segments__first_rule_that_says_it(void **state)
{
	struct dipc_policy p;

	(void)state;
	assert_int_equal(load("[segments]\ntransfer-unit = 8K\n"
			      "[segment a b]\nkeys = 0x10-0x20\n"
			      "homes = spread\n"
			      "[segment c]\nkeys = 0x18\nhome-block = 6M\n"
			      "homes = creator\ntransfer-unit = segment\n"
			      "[segment d]\nkeys = 0xffffff00-0xffffffff\n"
			      "transfer-unit = 2M\n"),
			 0);
	assert_int_equal(conf.nr_rules, 3);
	p = policy_of(0); /* IPC_PRIVATE */
	assert_int_equal(p.homes, DIPC_POLICY_CREATOR);
	assert_int_equal(p.unit, 2);
	assert_int_equal(p.block_chunks, 1);
	p = policy_of(0x20);
	assert_int_equal(p.homes, DIPC_POLICY_SPREAD);
	assert_int_equal(p.unit, 2);
	p = policy_of(0x18);
	assert_int_equal(p.homes, DIPC_POLICY_SPREAD);
	assert_int_equal(p.unit, DIPC_POLICY_UNIT_WHOLE);
	assert_int_equal(p.block_chunks, 3);
	p = policy_of(-1);
	assert_int_equal(p.unit, 10);
	/* what the program says comes first */
	p = (struct dipc_policy){.homes = DIPC_POLICY_CREATOR};
	dipc_config_policy(&conf, 0x20, &p);
	assert_int_equal(p.homes, DIPC_POLICY_CREATOR);
	dipc_config_fini(&conf);
	assert_int_equal(load(""), 0);
	p = policy_of(0x20);
	assert_int_equal(p.homes, DIPC_POLICY_CREATOR);
	assert_int_equal(p.unit, 1);
	dipc_config_fini(&conf);
}

static void segments__bad_lines(void **state)
{
	(void)state;
	refuse("[segments]\nhomes = all\n", ":2:", "creator or spread");
	refuse("[segments]\ntransfer-unit = 5K\n", ":2:", "power of two");
	refuse("[segments]\ntransfer-unit = 4M\n", ":2:", "4K to 2M");
	refuse("[segments]\nhome-block = 1M\n", ":2:", "multiple of 2M");
	refuse("[segments]\nkeys = 3\n", ":2:", "no such setting");
	refuse("[segments]\nhomes = spread\nhomes = spread\n",
	       ":3:", "second time");
	refuse("[segment a]\nkeys = 0\n", ":2:", "KEY");
	refuse("[segment a]\nkeys = 9-8\n", ":2:", "KEY");
	refuse("[segment a]\nkeys = 1-0x100000000\n", ":2:", "KEY");
	refuse("[segment a]\nkeys = x\n", ":2:", "KEY");
	refuse("[segment a]\nkeys = 1\nsize = 3\n", ":3:", "no such setting");
	refuse("[segment a]\nhomes = spread\n", "segment a", "keys is missing");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(load__defaults),
		CASE(load__values),
		CASE(load__refuses),
		CASE(segments__first_rule_that_says_it),
		CASE(segments__bad_lines),
		CASE(key__made_is_loaded),
		CASE(key__refuses),
		cmocka_unit_test(ticket__belongs_to_one_life),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
