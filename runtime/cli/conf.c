/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/cli/conf.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/config.h"

static int conf_append(struct dipc_conf *conf, const char *section,
		       size_t section_len, const char *name, size_t name_len,
		       const char *value)
{
	struct dipc_conf_line *line = &conf->line[conf->nr];

	if (conf->nr == DIPC_CONF_LINES_MAX ||
	    section_len >= sizeof(line->section) ||
	    name_len >= sizeof(line->name) ||
	    strlen(value) >= sizeof(line->value))
		return -1;
	memset(line, 0, sizeof(*line));
	memcpy(line->section, section, section_len);
	memcpy(line->name, name, name_len);
	strcpy(line->value, value);
	conf->nr++;
	return 0;
}

int dipc_conf_set(struct dipc_conf *conf, const char *text)
{
	const char *dot = strchr(text, '.'), *equal = strchr(text, '=');

	if (!dot || !equal || dot > equal || strchr(text, '\n') ||
	    conf_append(conf, text, (size_t)(dot - text), dot + 1,
			(size_t)(equal - dot - 1), equal + 1))
		return dipc_cli_usage("--set %.80s: not SECTION.NAME=VALUE",
				      text);
	return 0;
}

static bool conf_has(const struct dipc_conf *conf, const char *section,
		     const char *name)
{
	unsigned i;

	for (i = 0; i < conf->nr; i++)
		if (!strcmp(conf->line[i].section, section) &&
		    !strcmp(conf->line[i].name, name))
			return true;
	return false;
}

int dipc_conf_add(struct dipc_conf *conf, const char *section, const char *name,
		  const char *fmt, ...)
{
	char value[256];
	va_list ap;

	if (conf_has(conf, section, name))
		return dipc_cli_fail("--set %s.%s: `dipc up` decides that one",
				     section, name);
	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	if (conf_append(conf, section, strlen(section), name, strlen(name),
			value))
		return dipc_cli_fail("%s %s: too long", name, value);
	return 0;
}

/* Sections in the order of their first line, each once. */
static void conf_print(const struct dipc_conf *conf, FILE *f)
{
	unsigned i, j;

	for (i = 0; i < conf->nr; i++) {
		const char *section = conf->line[i].section;

		for (j = 0; j < i; j++)
			if (!strcmp(conf->line[j].section, section))
				break;
		if (j < i)
			continue;
		fprintf(f, "[%s]\n", section);
		for (j = i; j < conf->nr; j++)
			if (!strcmp(conf->line[j].section, section))
				fprintf(f, "%s = %s\n", conf->line[j].name,
					conf->line[j].value);
	}
}

int dipc_conf_write(const struct dipc_conf *conf, const char *path)
{
	struct dipc_config parsed;
	char err[512];
	FILE *f;

	f = fopen(path, "we");
	if (!f)
		return dipc_cli_fail("%s: %m", path);
	fputs("# made by `dipc up`; gone after `dipc down`\n", f);
	conf_print(conf, f);
	if (fclose(f))
		return dipc_cli_fail("%s: %m", path);
	/* what --set brought is judged by who will read it */
	if (dipc_config_load(path, &parsed, err, sizeof(err)))
		return dipc_cli_fail("%s", err);
	dipc_config_fini(&parsed);
	return 0;
}
