/*
 * What every part of this host needs to test itself: a check that names the scenario it failed in, and a generator of
 * repeatable random numbers.
 */

#ifndef TASKLET_CHECK_H
#define TASKLET_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The scenario that runs now. */
extern const char *check_scenario;

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition, 0, 0))

#define CHECK_EQ(left, right) check_equal(__FILE__, __LINE__, #left " == " #right, (uint64_t)(left), (uint64_t)(right))

_Noreturn static inline void check_failed(const char *file, int line, const char *text, uint64_t left, uint64_t right) {
    fflush(stdout);
    fprintf(stderr, "%s: %s:%d: %s (%llu, %llu)\n", check_scenario, file, line, text, (unsigned long long)left,
            (unsigned long long)right);
    exit(1);
}

static inline void check_equal(const char *file, int line, const char *text, uint64_t left, uint64_t right) {
    if (left != right) {
        check_failed(file, line, text, left, right);
    }
}

static inline uint32_t least(uint32_t left, uint32_t right) {
    return left < right ? left : right;
}

static inline uint32_t most(uint32_t left, uint32_t right) {
    return left > right ? left : right;
}

/* Memory that must be there: a test that has none left cannot say anything. */
static inline void *must_have(void *memory) {
    CHECK(memory != NULL);
    return memory;
}

/* xorshift64*: a number below `limit`. */
static inline uint32_t random_below(uint64_t *state, uint32_t limit) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)((*state * 2685821657736338717u) >> 32) % limit;
}

#endif
