/* Doubly linked lists with the links inside the elements, so that a list allocates nothing. */
#ifndef H2RELAY_LIST_H
#define H2RELAY_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* A link, or the head of a list. A link that points to itself is on no list. */
struct list {
    struct list *next;
    struct list *previous;
};

/* The struct of this type that has the link as this member. */
#define LIST_OWNER(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *list) {
    list->next = list;
    list->previous = list;
}

static inline bool list_is_empty(const struct list *list) {
    return list->next == list;
}

/* Harmless for a link that is on no list. */
static inline void list_remove(struct list *link) {
    link->previous->next = link->next;
    link->next->previous = link->previous;
    list_init(link);
}

/* Harmless for a link that is on a list: it moves to the end of this one. */
static inline void list_append(struct list *list, struct list *link) {
    list_remove(link);
    link->previous = list->previous;
    link->next = list;
    list->previous->next = link;
    list->previous = link;
}

/* Moves everything to an empty list, so that elements appended meanwhile come later. */
static inline void list_take(struct list *from, struct list *to) {
    while (!list_is_empty(from)) {
        list_append(to, from->next);
    }
}

#endif
