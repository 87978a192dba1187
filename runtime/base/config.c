/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One table says everything about a setting: section, name, type, place,
 * range, default. The name is the field's with dashes.
 */
#include "runtime/base/config_private.h"

#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/base/sys.h"

/* libinih cuts longer lines in two without a word: the reader refuses them. */
#define LINE_MAX_LEN 198

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* the kernel's default of shmmax and shmall */
#define SHM_NO_LIMIT (UINT64_MAX - (1ull << 24))

enum setting_type {
	SETTING_STRING,
	SETTING_UNSIGNED, /* unsigned */
	SETTING_SIZE,     /* uint64_t; K, M, G, T may follow the number */
	SETTING_BOOL,
};

struct setting {
	const char *section;
	const char *name;
	enum setting_type type;
	size_t offset;
	uint64_t min, max;   /* strings: shortest and longest */
	uint64_t value;      /* default of numbers */
	const char *text;    /* default of strings; NULL: none */
	const char *choices; /* strings: "a|b", NULL: any */
};

#define AT(field) offsetof(struct dipc_config, field)

static const struct setting settings[] = {
	{"cluster", "referee", SETTING_STRING, AT(referee), 3, 127, 0,
	 "127.0.0.1:7341", NULL},
	{"cluster", "key-file", SETTING_STRING, AT(key_file), 1, 190, 0,
	 "/etc/dipc.key", NULL},
	{"cluster", "transport", SETTING_STRING, AT(transport), 1, 15, 0, "shm",
	 "verbs|shm"},
	{"cluster", "peer-timeout-ms", SETTING_UNSIGNED, AT(peer_timeout_ms),
	 100, 3600000, 1000, NULL, NULL},

	{"node", "node", SETTING_UNSIGNED, AT(node), 0, 40, 0, NULL, NULL},
	{"node", "socket", SETTING_STRING, AT(socket), 1, 107, 0,
	 "/run/dipc/dipcd.sock", NULL},
	{"node", "address", SETTING_STRING, AT(address), 1, 127, 0, NULL, NULL},
	{"node", "spin-us", SETTING_UNSIGNED, AT(spin_us), 0, 1000000, 50, NULL,
	 NULL},
	{"node", "hold-us", SETTING_UNSIGNED, AT(hold_us), 0, 1000000, 50, NULL,
	 NULL},
	{"node", "prefetch-pages", SETTING_UNSIGNED, AT(prefetch_pages), 0,
	 4096, 128, NULL, NULL},
	{"node", "cache-size", SETTING_SIZE, AT(cache_size), 0, SHM_NO_LIMIT, 0,
	 NULL, NULL},
	{"node", "noreserve-is-dipc", SETTING_BOOL, AT(noreserve_is_dipc), 0, 1,
	 1, NULL, NULL},

	{"referee", "referee-address", SETTING_STRING, AT(referee_address), 1,
	 127, 0, NULL, NULL},
	{"referee", "arena-file", SETTING_STRING, AT(arena_file), 1, 190, 0,
	 NULL, NULL},
	{"referee", "arena-size", SETTING_SIZE, AT(arena_size), MIB, 64 * GIB,
	 128 * MIB, NULL, NULL},
	/* 68,096 is all that the limits allow; the rest are of objects whose
	   memory rests before it is used again */
	{"referee", "nr-objects", SETTING_UNSIGNED, AT(nr_objects), 1, 262144,
	 98304, NULL, NULL},

	/* no limit, as in the kernel: memory is one */
	{"limits", "shmmax", SETTING_SIZE, AT(shmmax), 1, SHM_NO_LIMIT,
	 SHM_NO_LIMIT, NULL, NULL},
	{"limits", "shmall", SETTING_SIZE, AT(shmall), 1, SHM_NO_LIMIT,
	 SHM_NO_LIMIT, NULL, NULL},
	{"limits", "shmmni", SETTING_UNSIGNED, AT(shmmni), 1, 32768, 4096, NULL,
	 NULL},
	/* the largest message block is 16 KiB, 64 bytes of it its header */
	{"limits", "msgmax", SETTING_UNSIGNED, AT(msgmax), 1, 16 * KIB - 64,
	 8192, NULL, NULL},
	{"limits", "msgmnb", SETTING_UNSIGNED, AT(msgmnb), 1, INT_MAX, 16384,
	 NULL, NULL},
	{"limits", "msgmni", SETTING_UNSIGNED, AT(msgmni), 1, 262144, 32000,
	 NULL, NULL},
	{"limits", "semmsl", SETTING_UNSIGNED, AT(semmsl), 1, 32000, 32000,
	 NULL, NULL},
	{"limits", "semmns", SETTING_UNSIGNED, AT(semmns), 1, INT_MAX,
	 1024000000, NULL, NULL},
	/* the operations of a blocked call fit one message block */
	{"limits", "semopm", SETTING_UNSIGNED, AT(semopm), 1, 2000, 500, NULL,
	 NULL},
	{"limits", "semmni", SETTING_UNSIGNED, AT(semmni), 1, 262144, 32000,
	 NULL, NULL},
};

#define NR_SETTINGS (sizeof(settings) / sizeof(settings[0]))

struct parse {
	struct dipc_config *conf;
	uint32_t seen; /* settings met so far, by index */
	int line;
	char msg[192]; /* what is wrong with the first bad line */
	int bad_line;
	int fd;
	int error;      /* of reading */
	size_t at, end; /* of what was read ahead */
	char ahead[1024];
};

static_assert(NR_SETTINGS <= 32, "parse.seen");

/* ---- values ------------------------------------------------------------- */

static char **string_at(struct dipc_config *conf, const struct setting *s)
{
	return (char **)(void *)((char *)conf + s->offset);
}

static int set_string(struct dipc_config *conf, const struct setting *s,
		      const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*string_at(conf, s));
	*string_at(conf, s) = copy;
	return 0;
}

static void set_number(struct dipc_config *conf, const struct setting *s,
		       uint64_t value)
{
	void *at = (char *)conf + s->offset;

	switch (s->type) {
	case SETTING_UNSIGNED:
		*(unsigned *)at = (unsigned)value;
		return;
	case SETTING_SIZE:
		*(uint64_t *)at = value;
		return;
	case SETTING_BOOL:
		*(bool *)at = value != 0;
		return;
	case SETTING_STRING:
		return;
	}
}

int dipc_config_number(const char *text, bool has_units, uint64_t *value_out)
{
	static const char units[] = "KMGT";
	const char *unit;
	unsigned long long v;
	unsigned shift = 0;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	if (has_units && *end) {
		unit = strchr(units, *end & ~0x20);
		if (!unit)
			return -EINVAL;
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
	}
	if (*end)
		return -EINVAL;
	if (shift && v >> (64 - shift))
		return -ERANGE;
	*value_out = v << shift;
	return 0;
}

static int parse_bool(const char *text, uint64_t *value_out)
{
	static const char *const words[] = {"no",  "yes", "false", "true",
					    "off", "on",  "0",     "1"};
	unsigned i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcasecmp(text, words[i])) {
			*value_out = i & 1;
			return 0;
		}
	return -EINVAL;
}

/* Is TEXT one of CHOICES, "a|b|c"? */
static bool is_choice(const char *choices, const char *text)
{
	size_t len = strlen(text);

	while (choices) {
		if (!strncmp(choices, text, len) &&
		    (choices[len] == '|' || !choices[len]))
			return true;
		choices = strchr(choices, '|');
		if (choices)
			choices++;
	}
	return false;
}

static int apply_string(struct parse *p, const struct setting *s,
			const char *text)
{
	size_t len = strlen(text);

	if (len < s->min || len > s->max) {
		snprintf(p->msg, sizeof(p->msg),
			 "%s: %zu characters, but must have %u to %u", s->name,
			 len, (unsigned)s->min, (unsigned)s->max);
		return -EINVAL;
	}
	if (s->choices && !is_choice(s->choices, text)) {
		snprintf(p->msg, sizeof(p->msg), "%s: '%.40s' is not one of %s",
			 s->name, text, s->choices);
		return -EINVAL;
	}
	return set_string(p->conf, s, text);
}

static int apply(struct parse *p, const struct setting *s, const char *text)
{
	uint64_t value = 0;
	int ret;

	if (s->type == SETTING_STRING)
		return apply_string(p, s, text);
	if (s->type == SETTING_BOOL)
		ret = parse_bool(text, &value);
	else
		ret = dipc_config_number(text, s->type == SETTING_SIZE, &value);
	if (ret == -EINVAL) {
		snprintf(p->msg, sizeof(p->msg), "%s: '%.40s' is not %s",
			 s->name, text,
			 s->type == SETTING_BOOL ? "yes or no" : "a number");
		return ret;
	}
	if (ret || value < s->min || value > s->max) {
		snprintf(p->msg, sizeof(p->msg),
			 "%s: %.40s is out of range (%llu to %llu)", s->name,
			 text, (unsigned long long)s->min,
			 (unsigned long long)s->max);
		return -ERANGE;
	}
	set_number(p->conf, s, value);
	return 0;
}

/* ---- the file ----------------------------------------------------------- */

static const struct setting *setting_find(const char *section, const char *name,
					  bool *has_section)
{
	unsigned i;

	*has_section = false;
	for (i = 0; i < NR_SETTINGS; i++) {
		if (strcmp(settings[i].section, section))
			continue;
		*has_section = true;
		if (!strcmp(settings[i].name, name))
			return &settings[i];
	}
	return NULL;
}

/* libinih: non-zero is success. Only the first bad line is reported. */
static int on_setting(void *user, const char *section, const char *name,
		      const char *value)
{
	struct parse *p = user;
	const struct setting *s;
	bool has_section;
	unsigned i;

	if (p->bad_line)
		return 0;
	if (dipc_config_is_segment(section)) {
		if (!dipc_config_segment(p->conf, section, name, value, p->msg,
					 sizeof(p->msg)))
			return 1;
		if (!p->msg[0])
			snprintf(p->msg, sizeof(p->msg), "[%.50s]: no memory",
				 section);
		goto bad;
	}
	s = setting_find(section, name, &has_section);
	if (!s) {
		if (has_section)
			snprintf(p->msg, sizeof(p->msg),
				 "%.50s: no such setting in [%.50s]", name,
				 section);
		else if (section[0])
			snprintf(p->msg, sizeof(p->msg),
				 "[%.50s]: no such section", section);
		else
			snprintf(p->msg, sizeof(p->msg),
				 "%.50s: stands before any [section]", name);
		goto bad;
	}
	i = (unsigned)(s - settings);
	if (p->seen & 1u << i) {
		snprintf(p->msg, sizeof(p->msg), "%s: set a second time",
			 s->name);
		goto bad;
	}
	p->seen |= 1u << i;
	if (!apply(p, s, value))
		return 1;
	if (!p->msg[0])
		snprintf(p->msg, sizeof(p->msg), "%s: out of memory", s->name);
bad:
	p->bad_line = p->line;
	return 0;
}

/* Like fgets(); an end that is an error leaves it in p->error. */
static char *read_raw(struct parse *p, char *str, size_t num)
{
	size_t len = 0;
	ssize_t n;

	while (len + 1 < num && (len == 0 || str[len - 1] != '\n')) {
		if (p->at == p->end) {
			n = dipc_sys_read(p->fd, p->ahead, sizeof(p->ahead));
			if (n <= 0) {
				p->error = (int)n;
				break;
			}
			p->at = 0;
			p->end = (size_t)n;
		}
		str[len++] = p->ahead[p->at++];
	}
	str[len] = '\0';
	return len ? str : NULL;
}

/*
 * Like fgets(), without the blanks that would make libinih take the line for a
 * continuation of the one before.
 */
static char *read_line(char *str, int num, void *stream)
{
	struct parse *p = stream;
	size_t len, skip;

	if (!read_raw(p, str, (size_t)num))
		return NULL;
	p->line++;
	len = strlen(str);
	if (len > LINE_MAX_LEN && str[len - 1] != '\n') {
		snprintf(p->msg, sizeof(p->msg),
			 "the line is longer than %u characters", LINE_MAX_LEN);
		p->bad_line = p->line;
		return NULL;
	}
	skip = strspn(str, " \t");
	memmove(str, str + skip, len - skip + 1);
	return str;
}

static void config_defaults(struct dipc_config *conf, int *ret)
{
	unsigned i;

	memset(conf, 0, sizeof(*conf));
	*ret = 0;
	for (i = 0; i < NR_SETTINGS; i++) {
		const struct setting *s = &settings[i];

		if (s->type != SETTING_STRING)
			set_number(conf, s, s->value);
		else if (s->text && !*ret)
			*ret = set_string(conf, s, s->text);
	}
}

/* shm needs no thought; verbs needs to be told which device. */
static int config_addresses(struct dipc_config *conf)
{
	if (strcmp(conf->transport, "shm"))
		return 0;
	if (!conf->address)
		conf->address = strdup("/run/dipc/node.shm");
	if (!conf->referee_address)
		conf->referee_address = strdup("/run/dipc/referee.shm");
	return conf->address && conf->referee_address ? 0 : -ENOMEM;
}

static int config_parse(const char *path, struct dipc_config *conf, char *err,
			unsigned size)
{
	struct parse p = {.conf = conf};
	int line;

	p.fd = dipc_sys_open(path, O_RDONLY | O_CLOEXEC);
	if (p.fd < 0) {
		snprintf(err, size, "%s: %s", path, strerror(-p.fd));
		return p.fd;
	}
	line = ini_parse_stream(read_line, &p, on_setting, &p);
	dipc_sys_close(p.fd);
	if (!p.bad_line && p.error) {
		snprintf(err, size, "%s: cannot be read", path);
		return -EIO;
	}
	if (!p.bad_line && line == 0 &&
	    !dipc_config_segment_check(conf, p.msg, sizeof(p.msg)))
		return 0;
	if (!p.bad_line && line == 0) /* of the file as a whole */
		p.bad_line = p.line;
	/* libinih's own complaint may be about an earlier line than ours */
	if (line > 0 && (!p.bad_line || line < p.bad_line)) {
		p.bad_line = line;
		snprintf(p.msg, sizeof(p.msg), "not 'NAME = VALUE'");
	}
	snprintf(err, size, "%s:%d: %s", path, p.bad_line, p.msg);
	return line < 0 ? -ENOMEM : -EINVAL;
}

int dipc_config_load(const char *path, struct dipc_config *conf, char *err,
		     unsigned size)
{
	int ret;

	config_defaults(conf, &ret);
	if (!ret) {
		ret = config_parse(path, conf, err, size);
		if (ret)
			goto err_conf;
		ret = config_addresses(conf);
	}
	if (ret) {
		snprintf(err, size, "%s: out of memory", path);
		goto err_conf;
	}
	return 0;

err_conf:
	dipc_config_fini(conf);
	return ret;
}

const char *dipc_config_path(void)
{
	const char *path = getenv("DIPC_CONF");

	return path && path[0] ? path : DIPC_CONF_DEFAULT;
}

void dipc_config_fini(struct dipc_config *conf)
{
	unsigned i;

	for (i = 0; i < NR_SETTINGS; i++)
		if (settings[i].type == SETTING_STRING)
			free(*string_at(conf, &settings[i]));
	dipc_config_segment_fini(conf);
	memset(conf, 0, sizeof(*conf));
}
