/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * [segments], what holds for every segment, and [segment LABEL], what holds
 * for those with certain keys.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/config_private.h"

#define RULES_MAX 1024u
#define PREFIX    "segment "

/* How often to move on in blocks if nothing is said: each chunk. */
static const struct dipc_policy defaults = {
	.homes = DIPC_POLICY_CREATOR, .unit = 1, .block_chunks = 1};

bool dipc_config_is_segment(const char *section)
{
	return !strcmp(section, "segments") ||
	       !strncmp(section, PREFIX, strlen(PREFIX));
}

/* The rule called LABEL, made if there is none; NULL: no memory. */
static struct dipc_segment_rule *rule_get(struct dipc_config *conf,
					  const char *label)
{
	struct dipc_segment_rule *rules;
	unsigned i;

	for (i = 0; i < conf->nr_rules; i++)
		if (!strcmp(conf->rules[i].label, label))
			return &conf->rules[i];
	if (conf->nr_rules == RULES_MAX)
		return NULL;
	rules = realloc(conf->rules, (conf->nr_rules + 1) * sizeof(*rules));
	if (!rules)
		return NULL;
	conf->rules = rules;
	memset(&rules[i], 0, sizeof(rules[i]));
	rules[i].label = strdup(label);
	if (!rules[i].label)
		return NULL;
	conf->nr_rules++;
	return &rules[i];
}

/* "0x1000-0x1fff", "4711". */
static int parse_keys(const char *text, struct dipc_segment_rule *rule)
{
	unsigned long long first, last;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	first = last = strtoull(text, &end, 0);
	if (*end == '-' && end[1] >= '0' && end[1] <= '9')
		last = strtoull(end + 1, &end, 0);
	if (*end || first > last || last > UINT32_MAX || first == 0)
		return -EINVAL;
	rule->first = (uint32_t)first;
	rule->last = (uint32_t)last;
	return 0;
}

static int parse_homes(const char *text, struct dipc_policy *policy)
{
	if (!strcmp(text, "creator"))
		policy->homes = DIPC_POLICY_CREATOR;
	else if (!strcmp(text, "spread"))
		policy->homes = DIPC_POLICY_SPREAD;
	else
		return -EINVAL;
	return 0;
}

static int parse_block(const char *text, struct dipc_policy *policy)
{
	uint64_t bytes;
	int ret = dipc_config_number(text, true, &bytes);

	if (ret)
		return ret;
	policy->block_chunks = dipc_policy_block_of(bytes);
	return policy->block_chunks ? 0 : -EINVAL;
}

static int parse_unit(const char *text, struct dipc_policy *policy)
{
	uint64_t bytes;
	int ret;

	if (!strcmp(text, "segment")) {
		policy->unit = DIPC_POLICY_UNIT_WHOLE;
		return 0;
	}
	ret = dipc_config_number(text, true, &bytes);
	if (ret)
		return ret;
	policy->unit = dipc_policy_unit_of(bytes);
	return policy->unit ? 0 : -EINVAL;
}

static const struct {
	const char *name;
	int (*parse)(const char *text, struct dipc_policy *policy);
	const char *wants;
} names[] = {
	{"homes", parse_homes, "creator or spread"},
	{"home-block", parse_block, "a multiple of 2M"},
	{"transfer-unit", parse_unit, "4K to 2M, a power of two, or segment"},
};

#define NR_NAMES (sizeof(names) / sizeof(names[0]))

/* The bits of `seen`: as in NAMES, and keys. */
#define SEEN_KEYS (1u << NR_NAMES)

static int refuse(char *msg, size_t size, const char *name, const char *value,
		  const char *wants)
{
	snprintf(msg, size, "%.40s: '%.40s' is not %s", name, value, wants);
	return -EINVAL;
}

int dipc_config_segment(struct dipc_config *conf, const char *section,
			const char *name, const char *value, char *msg,
			size_t size)
{
	struct dipc_segment_rule *rule = &conf->segments;
	unsigned i;
	int ret;

	if (section[strlen("segment")] == ' ') {
		rule = rule_get(conf, section + strlen(PREFIX));
		if (!rule)
			return -ENOMEM;
	}
	for (i = 0; i < NR_NAMES && strcmp(names[i].name, name); i++)
		;
	if (i == NR_NAMES &&
	    (rule == &conf->segments || strcmp(name, "keys"))) {
		snprintf(msg, size, "%.50s: no such setting in [%.50s]", name,
			 section);
		return -EINVAL;
	}
	if (rule->seen & 1u << i) {
		snprintf(msg, size, "%s: set a second time", name);
		return -EINVAL;
	}
	rule->seen |= 1u << i;
	if (i == NR_NAMES) {
		ret = parse_keys(value, rule);
		return ret ? refuse(msg, size, name, value,
				    "KEY or KEY-KEY, and not 0")
			   : 0;
	}
	ret = names[i].parse(value, &rule->policy);
	return ret ? refuse(msg, size, name, value, names[i].wants) : 0;
}

int dipc_config_segment_check(const struct dipc_config *conf, char *msg,
			      size_t size)
{
	unsigned i;

	for (i = 0; i < conf->nr_rules; i++) {
		if (conf->rules[i].seen & SEEN_KEYS)
			continue;
		snprintf(msg, size, "[" PREFIX "%.50s]: keys is missing",
			 conf->rules[i].label);
		return -EINVAL;
	}
	return 0;
}

void dipc_config_policy(const struct dipc_config *conf, int32_t key,
			struct dipc_policy *policy)
{
	unsigned i;

	/* IPC_PRIVATE, 0, is in no rule */
	for (i = 0; i < conf->nr_rules; i++) {
		const struct dipc_segment_rule *rule = &conf->rules[i];

		if ((uint32_t)key >= rule->first && (uint32_t)key <= rule->last)
			dipc_policy_fill(policy, &rule->policy);
	}
	dipc_policy_fill(policy, &conf->segments.policy);
	dipc_policy_fill(policy, &defaults);
}

void dipc_config_segment_fini(struct dipc_config *conf)
{
	unsigned i;

	for (i = 0; i < conf->nr_rules; i++)
		free(conf->rules[i].label);
	free(conf->rules);
}
