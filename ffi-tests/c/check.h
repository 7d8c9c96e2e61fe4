/*
 * Assertions that count themselves. The first that fails ends the program and prints its place and the values; a
 * program that reaches `check_end` prints how many passed, so that a test that checked nothing is noticed.
 */
#ifndef CHECK_H
#define CHECK_H

#include <demuxbuf.h>

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef __cplusplus
/* What a connection is attached with, in place; all else has its default. */
#define OPTIONS(...) (&(demuxbuf_attach_options){.struct_size = sizeof(demuxbuf_attach_options), __VA_ARGS__})
#endif

/* Fills outputs before a call that must not write them. */
#define CHECK_PATTERN 0xA5

/* The part of the program that runs now, for messages: a program with several parts defines it before. */
#ifndef CHECK_PART
#define CHECK_PART ""
#endif

static unsigned long checks_passed;

#define CHECK(condition) check_that((condition), #condition, __FILE__, __LINE__)

/* Two numbers of at most 64 bits; the sign of the narrower is kept. */
#define CHECK_NUMBER(actual, expected) check_number((int64_t)(actual), (int64_t)(expected), #actual, __FILE__, __LINE__)

/* The status inside a mask of actions. */
#define CHECK_REFUSED(actions, status) CHECK_NUMBER(demuxbuf_actions_status_inline(actions), status)

/* Two objects that are alike byte for byte. */
#define CHECK_SAME(actual, expected, bytes)                                                                            \
    check_that(memcmp(actual, expected, bytes) == 0, #actual, __FILE__, __LINE__)

/* Overwrites an object, so that `CHECK_UNTOUCHED` can see whether a call wrote any of it. */
#define FILL(object) memset(&(object), CHECK_PATTERN, sizeof(object))

/* The same for an object that begins with its size, which the call reads. */
#define FILL_SIZED(object) (FILL(object), (object).struct_size = sizeof(object))

#define CHECK_UNTOUCHED_SIZED(object)                                                                                  \
    (check_number((object).struct_size, sizeof(object), #object ".struct_size", __FILE__, __LINE__),                   \
     check_pattern((const unsigned char *)&(object) + 4, sizeof(object) - 4, #object, __FILE__, __LINE__))

#define CHECK_UNTOUCHED(object) check_pattern(&(object), sizeof(object), #object, __FILE__, __LINE__)

static inline void check_place(const char *file, int line) {
    fflush(stdout);
    if (CHECK_PART[0] != 0) {
        fprintf(stderr, "%s: ", CHECK_PART);
    }
    fprintf(stderr, "%s:%d: ", file, line);
}

static inline void check_that(int holds, const char *what, const char *file, int line) {
    if (!holds) {
        check_place(file, line);
        fprintf(stderr, "does not hold: %s\n", what);
        exit(1);
    }
    checks_passed++;
}

static inline void check_number(int64_t actual, int64_t expected, const char *what, const char *file, int line) {
    if (actual != expected) {
        check_place(file, line);
        fprintf(stderr, "%s is %" PRId64 ", expected %" PRId64 "\n", what, actual, expected);
        exit(1);
    }
    checks_passed++;
}

static inline void check_pattern(const void *object, size_t bytes, const char *what, const char *file, int line) {
    for (size_t at = 0; at < bytes; at++) {
        if (((const unsigned char *)object)[at] != CHECK_PATTERN) {
            check_place(file, line);
            fprintf(stderr, "byte %zu of %s was written\n", at, what);
            exit(1);
        }
    }
    checks_passed++;
}

/* A small generator of numbers, the same in every run. */
static inline uint32_t check_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

static inline int check_end(void) {
    printf("%lu checks passed\n", checks_passed);
    return 0;
}

#endif /* CHECK_H */
