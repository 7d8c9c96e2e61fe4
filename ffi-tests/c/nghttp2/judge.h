/*
 * The rules of the frame layer that a refused frame breaks, looked at one by one, and the reasons that libnghttp2 may
 * have beyond that layer.
 */
#ifndef JUDGE_H
#define JUDGE_H

#include "ours.h"

struct head {
    uint32_t length, stream_id;
    uint8_t kind, flags;
};

/* The codes that the broken rules of a frame ask for. */
struct broken_codes {
    int protocol, size;
    /* One of the broken rules: it has no room for what its type and flags ask for. */
    int is_too_small;
};

/* Why libnghttp2 refuses what the frame layer takes: states of streams, windows, header blocks and values. */
struct reason {
    uint32_t error_code;
    /* A part of its message; NULL: it has none. */
    const char *text;
    /* Of RFC 9113. */
    const char *section;
};

enum { REASONS_MAX = 32 };
extern const struct reason reasons[];
extern const uint32_t reasons_count;

struct head head_at(const uint8_t *bytes);

/* Whether it has a pad length. */
int is_padded(const struct head *head);

/* The rules that the frame at the position of `ours` breaks. */
struct broken_codes codes_of(const struct ours *ours, const uint8_t *frame);

/* The number of the reason that libnghttp2 gave, or -1: it is one of the frame layer. */
int reason_of(const struct log *log);

#endif /* JUDGE_H */
