/* SPDX-License-Identifier: BSD-2-Clause */
/* Intrusive doubly linked list; the head is a node of its own. */
#ifndef DIPC_BASE_LIST_H
#define DIPC_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct dipc_list {
	struct dipc_list *next, *prev;
};

#define dipc_container_of(ptr, type, member)                                   \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define DIPC_LIST_INIT(name)                                                   \
	{                                                                      \
		&(name), &(name)                                               \
	}

static inline void dipc_list_init(struct dipc_list *head)
{
	head->next = head;
	head->prev = head;
}

static inline bool dipc_list_is_empty(const struct dipc_list *head)
{
	return head->next == head;
}

static inline void dipc_list_add_tail(struct dipc_list *head,
				      struct dipc_list *node)
{
	node->next = head;
	node->prev = head->prev;
	head->prev->next = node;
	head->prev = node;
}

static inline void dipc_list_add_head(struct dipc_list *head,
				      struct dipc_list *node)
{
	dipc_list_add_tail(head->next, node);
}

/* Afterwards NODE is an empty list, so removing it twice is harmless. */
static inline void dipc_list_del(struct dipc_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	dipc_list_init(node);
}

/* The first node, taken off the list; NULL when it is empty. */
static inline struct dipc_list *dipc_list_pop(struct dipc_list *head)
{
	struct dipc_list *node = head->next;

	if (node == head)
		return NULL;
	dipc_list_del(node);
	return node;
}

#define dipc_list_for_each(pos, head)                                          \
	for (pos = (head)->next; pos != (head); pos = pos->next)

/* POS may be removed in the body; its successor must not be. */
#define dipc_list_for_each_safe(pos, tmp, head)                                \
	for (pos = (head)->next, tmp = pos->next; pos != (head);               \
	     pos = tmp, tmp = pos->next)

#endif
