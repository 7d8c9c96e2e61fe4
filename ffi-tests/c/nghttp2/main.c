/*
 * HTTP/2 frames, compared with libnghttp2. The same bytes go to both, in the same pieces:
 *
 * - valid streams of either side: after every piece both have seen the same heads and the same whole frames;
 * - valid streams that end in a frame which breaks one rule of the frame layer: both refuse it with the code of the
 *   table in `broken.c`, which also lists where libnghttp2 differs;
 * - valid streams with changed heads: after every byte, up to where one refuses, both have seen the same heads and the
 *   same whole frames, but for frames of streams that are over, which libnghttp2 may pass over; both refuse the same
 *   frame for the same kind of error, or for one each of two rules that it breaks (`judge.c`). If one refuses alone, it
 *   is for a reason that the frame layer does not know, by the list in `judge.c`, or for one of the listed differences.
 *
 * libnghttp2 is a whole session: it looks into header blocks, at the states of streams and at windows too. So valid
 * streams are valid there as well, and its refusals for other reasons are recognised by their messages.
 *
 *   nghttp2 [STREAMS]      this many valid streams, 4 times as many changed ones, and a 25th of each rule
 */
#include "broken.h"
#include "judge.h"
#include "ours.h"
#include "theirs.h"

static uint8_t bytes[STREAM_BYTES_MAX];
static struct stream stream;
static struct ours ours;
static struct theirs theirs;

/* The stream being compared, for failure messages. */
static const char *title;
static unsigned long number;

static void show(const char *side, const struct log *log) {
    fprintf(stderr, "%s: error %u at %u (%s), error of a stream %u, %u frames whole, heads:\n", side, log->error_code,
            log->error_at, log->reason, log->stream_error_code, log->complete);
    for (uint32_t at = 0; at < log->count; at++) {
        const struct frame *frame = &log->frames[at];
        fprintf(stderr, "  at %u: type %u, flags 0x%x, stream %u, %u bytes\n", frame->seen_at, frame->kind,
                frame->flags, frame->stream_id, frame->length);
    }
}

static void agree(int do_they, const char *in) {
    if (!do_they) {
        fprintf(stderr, "%s, stream %lu of side %u: they differ in %s\n", title, number, stream.side, in);
        show("demuxbuf", &ours.log);
        show("libnghttp2", &theirs.log);
        exit(1);
    }
    checks_passed++;
}

static int are_same(const struct frame *one, const struct frame *other) {
    uint8_t known = known_flags(one->kind);
    return one->seen_at == other->seen_at && one->length == other->length && one->stream_id == other->stream_id &&
           one->kind == other->kind && (one->flags & known) == (other->flags & known);
}

static void agree_on_heads(uint32_t first, uint32_t count) {
    for (uint32_t at = first; at < count; at++) {
        agree(are_same(&ours.log.frames[at], &theirs.log.frames[at]), "a head");
    }
}

static void begin(const char *what, unsigned long nth, uint32_t side) {
    title = what;
    number = nth;
    stream_start(&stream, side, bytes, (nth + 1) * 0x9e3779b97f4a7c15u + side);
}

/* The length of the next piece: byte by byte, in small or in large pieces, or all at once. */
static uint32_t piece(uint32_t style, uint32_t left) {
    uint32_t length = style == 0   ? 1
                      : style == 1 ? 1 + below(&stream, 16)
                      : style == 2 ? 1 + below(&stream, 3000)
                                   : left;
    return length < left ? length : left;
}

/* Feeds the stream to both; after every piece of a valid one they have seen the same. */
static void feed(int is_valid) {
    uint32_t style = below(&stream, 4), agreed = 0;
    style = style < 2 && stream.length > 20000 ? 2 : style;
    ours_start(&ours, &stream);
    theirs_start(&theirs, &stream);
    for (uint32_t at = 0, length; at < stream.length; at += length) {
        length = piece(style, stream.length - at);
        ours_feed(&ours, length);
        theirs_feed(&theirs, bytes + at, length);
        if (is_valid) {
            agree(ours.log.error_code == 0 && theirs.log.error_code == 0, "a valid stream");
            agree(ours.log.stream_error_code == 0 && theirs.log.stream_error_code == 0, "a valid stream's streams");
            agree(ours.log.count == theirs.log.count, "the number of heads");
            agree_on_heads(agreed, ours.log.count);
            agree(ours.log.complete == theirs.log.complete, "the number of whole frames");
            agreed = ours.log.count;
        }
    }
    theirs_end(&theirs);
}

/* In place of all types that have no name. */
enum { UNKNOWN = CONTINUATION + 1 };

static void compare_valid(uint32_t side, unsigned long nth, unsigned long *seen) {
    begin("valid", nth, side);
    for (uint32_t left = 1 + below(&stream, 40); left > 0; left--) {
        stream_add(&stream);
    }
    feed(1);
    agree(ours.front == stream.length && ours.log.count == stream.frames, "how far it goes");
    for (uint32_t at = 0; at < ours.log.count; at++) {
        uint32_t kind = ours.log.frames[at].kind;
        seen[kind <= CONTINUATION ? kind : UNKNOWN]++;
    }
}

static void compare_broken(const struct rule *rule, uint32_t side, unsigned long nth) {
    begin(rule->name, nth, side);
    if (!rule->is_first) {
        for (uint32_t left = below(&stream, 20); left > 0; left--) {
            stream_add(&stream);
        }
    }
    rule->add(&stream);
    feed(0);
    const uint32_t of_connection = rule->is_of_stream ? 0 : rule->ours, of_stream = rule->is_of_stream ? rule->ours : 0;
    agree(ours.log.error_code == of_connection && ours.log.stream_error_code == of_stream, "our error in the table");
    /* A later version may have learned better. */
    agree(theirs.log.error_code == rule->theirs || (rule->difference != NULL && theirs.log.error_code == rule->ours),
          "their error in the table");
    agree((rule->difference == NULL) == (rule->ours == rule->theirs && !rule->is_of_stream), "a listed difference");
    /* The last frame is refused by its head, or when its first byte has come. */
    uint32_t heads = stream.frames - (stream.frames > 0);
    agree(ours.log.count >= heads && ours.log.count <= stream.frames, "where it is refused");
    agree(theirs.log.count >= heads && theirs.log.count <= stream.frames, "where it is refused");
    agree_on_heads(0, heads);
}

/* Changes up to three fields of heads, or first bytes of payloads; returns whether anything is other than before. */
static int change(void) {
    int is_changed = 0;
    for (uint32_t left = 1 + below(&stream, 3); left > 0; left--) {
        /* Not the highest byte of the length: what would be refused as too long at once is no news after a few
           times. */
        uint32_t at = stream.heads[below(&stream, stream.frames)] + 1 + below(&stream, HEAD_BYTES);
        if (at < stream.length) {
            uint32_t any = below(&stream, 2) == 0 ? below(&stream, 12) : below(&stream, 256);
            uint8_t before = bytes[at];
            bytes[at] = (uint8_t)(below(&stream, 3) == 0 ? any : bytes[at] ^ 1u << below(&stream, 8));
            is_changed |= bytes[at] != before;
        }
    }
    return is_changed;
}

/* How streams with changed heads ended. */
struct endings {
    unsigned long both_accept, both_refuse;
    /* Both refuse a frame that breaks two rules, each for another one. */
    unsigned long two_rules;
    /* The differences that `broken.c` lists. */
    unsigned long too_small, continuation_alone, priority_alone;
    /* Refusals for rules beyond the frame layer, by reason. */
    unsigned long by_reason[REASONS_MAX];
    /* libnghttp2 reads no more: GOAWAY came while no stream was open (section 6.8). */
    unsigned long done;
    /* A frame that only demuxbuf refuses, of those that libnghttp2 passes over. */
    unsigned long passed_over_alone;
    /* Not an end: frames of streams that are over, which libnghttp2 may pass over (section 5.1). */
    unsigned long passed_over;
};

/* A byte for both; every head and every end that one sees, the other sees too, or it passes over the frame. */
static void feed_byte(uint32_t at, struct endings *endings) {
    const struct log before_ours = {.count = ours.log.count, .complete = ours.log.complete};
    const struct log before_theirs = {.count = theirs.log.count, .complete = theirs.log.complete};
    ours_feed(&ours, 1);
    theirs_feed(&theirs, bytes + at, 1);
    uint32_t own_heads = ours.log.count - before_ours.count, own_ends = ours.log.complete - before_ours.complete;
    uint32_t heads = theirs.log.count - before_theirs.count, ends = theirs.log.complete - before_theirs.complete;
    if (ours_refuses(&ours) || theirs.log.error_code != 0) {
        return;
    }
    agree(heads <= own_heads && own_heads <= 1 && ends <= own_ends && own_ends <= 1, "the number of heads or ends");
    if (heads < own_heads || ends < own_ends) {
        agree(theirs_has_closed(&theirs, ours.log.frames[ours.log.count - 1].stream_id), "a frame that is passed over");
        endings->passed_over++;
    } else if (heads > 0) {
        agree(are_same(&ours.log.frames[ours.log.count - 1], &theirs.log.frames[theirs.log.count - 1]), "a head");
    }
}

/* The frame that starts here is refused by demuxbuf; libnghttp2 has all of it, with zeros where the stream ended. */
static void compare_refused(uint32_t front, struct endings *endings) {
    const struct head head = head_at(bytes + front);
    const struct log *own = &ours.log, *other = &theirs.log;
    uint32_t own_code = own->error_code != 0 ? own->error_code : own->stream_error_code;
    uint32_t seen = theirs.log.count;
    while (theirs.given < front + HEAD_BYTES + head.length && other->error_code == 0) {
        theirs_feed(&theirs, theirs.given < stream.length ? bytes + theirs.given : &(const uint8_t){0}, 1);
    }
    const struct broken_codes broken = codes_of(&ours, bytes + front);
    int reason = other->error_code != 0 ? reason_of(other) : -1;
    agree((own_code == PROTOCOL_ERROR && broken.protocol) || (own_code == FRAME_SIZE_ERROR && broken.size),
          "a rule that is broken");
    if (reason >= 0) {
        endings->by_reason[reason]++;
    } else if (own->error_code == 0) {
        agree(head.kind == PRIORITY && other->error_code == FRAME_SIZE_ERROR, "the length of PRIORITY");
        endings->priority_alone++;
    } else if (other->error_code == own_code) {
        endings->both_refuse++;
    } else if (other->error_code != 0 && broken.protocol && broken.size) {
        endings->two_rules++;
    } else if (other->error_code != 0) {
        agree(broken.is_too_small && is_padded(&head) && other->error_code == PROTOCOL_ERROR, "how it is refused");
        endings->too_small++;
    } else if (head.kind == CONTINUATION) {
        agree(head.length > ours.max_frame_size && !broken.protocol, "what only demuxbuf refuses");
        endings->continuation_alone++;
    } else {
        agree(theirs_has_closed(&theirs, head.stream_id) && other->count == seen, "what only demuxbuf refuses");
        agree(is_padded(&head) && broken.protocol && !broken.size, "padding that is not read");
        endings->passed_over_alone++;
    }
}

static void compare_changed(unsigned long nth, struct endings *endings) {
    int is_changed;
    do {
        begin("changed", nth, nth % 2);
        for (uint32_t left = 1 + below(&stream, 10); left > 0; left--) {
            stream_add(&stream);
        }
        is_changed = change();
        nth += 1000000007;
    } while (stream.length > 4000 || !is_changed);
    memset(bytes + stream.length, 0, HEAD_BYTES + 1);
    ours_start(&ours, &stream);
    theirs_start(&theirs, &stream);
    uint32_t front = 0;
    for (uint32_t at = 0; at < stream.length && !theirs.is_done && !ours_refuses(&ours) && theirs.log.error_code == 0;
         at++) {
        front = ours.front;
        feed_byte(at, endings);
    }
    if (ours_refuses(&ours)) {
        compare_refused(front, endings);
    } else if (theirs.log.error_code != 0) {
        int reason = reason_of(&theirs.log);
        agree(reason >= 0, "what only libnghttp2 refuses");
        endings->by_reason[reason]++;
    } else if (theirs.is_done) {
        endings->done++;
    } else {
        endings->both_accept++;
    }
    theirs_end(&theirs);
}

/* Every stream ended in one of these ways, and most in those that are no difference. */
static void report(const struct endings *endings, unsigned long streams) {
    unsigned long by_reason = 0;
    for (uint32_t at = 0; at < reasons_count; at++) {
        printf("refused by libnghttp2 alone, section %s, %s: %lu\n", reasons[at].section,
               reasons[at].text != NULL ? reasons[at].text : "without a word", endings->by_reason[at]);
        by_reason += endings->by_reason[at];
    }
    unsigned long same = endings->both_accept + endings->both_refuse;
    unsigned long listed = endings->too_small + endings->continuation_alone + endings->priority_alone;
    printf("%lu streams with changed heads: %lu accepted by both, %lu refused by both with the same code, %lu for one "
           "rule of two; listed: %lu (4.2, too small), %lu (4.2, CONTINUATION), %lu (6.3); %lu refused by libnghttp2 "
           "alone, "
           "%lu not read to their end (6.8); %lu frames passed over (5.1), of which %lu are refused by demuxbuf\n",
           streams, endings->both_accept, endings->both_refuse, endings->two_rules, endings->too_small,
           endings->continuation_alone, endings->priority_alone, by_reason, endings->done, endings->passed_over,
           endings->passed_over_alone);
    CHECK_NUMBER(same + endings->two_rules + listed + by_reason + endings->done + endings->passed_over_alone, streams);
    CHECK(endings->both_accept > streams / 10 && endings->both_refuse > streams / 10 && same > streams / 2);
    CHECK(by_reason > 0 && endings->two_rules > 0 && listed > 0 && endings->passed_over > 0);
}

int main(int count, char **arguments) {
    unsigned long streams = count > 1 ? strtoul(arguments[1], NULL, 10) : 3000, seen[UNKNOWN + 1] = {0};
    for (unsigned long nth = 0; nth < streams; nth++) {
        compare_valid(nth % 2, nth, seen);
    }
    for (uint32_t kind = 0; kind <= UNKNOWN; kind++) {
        CHECK(seen[kind] > 0);
    }
    for (uint32_t at = 0; at < rules_count; at++) {
        if (rules[at].difference != NULL) {
            printf("listed: %s: section %s\n", rules[at].name, rules[at].difference);
        }
        for (unsigned long nth = 0; nth < 2 * (1 + streams / 50); nth++) {
            if ((rules[at].sides >> nth % 2 & 1) != 0) {
                compare_broken(&rules[at], nth % 2, nth / 2);
            }
        }
    }
    struct endings endings = {0};
    for (unsigned long nth = 0; nth < 4 * streams; nth++) {
        compare_changed(nth, &endings);
    }
    report(&endings, 4 * streams);
    return check_end();
}
