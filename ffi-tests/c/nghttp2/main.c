/*
 * HTTP/2 frames, compared with libnghttp2. The same bytes go to both, in the same pieces:
 *
 * - valid streams of either side: after every piece both have seen the same heads and the same whole frames;
 * - valid streams that end in a frame which breaks one rule of the frame layer: both refuse it with the code of the
 *   table in `broken.c`, which also lists where libnghttp2 differs;
 * - valid streams with changed heads: up to where one refuses, both have seen the same heads in the same places, and
 *   if one refuses alone, it is for a reason that the frame layer does not know, or for one of the listed differences.
 *
 * libnghttp2 is a whole session: it looks into header blocks, at the states of streams and at windows too. So valid
 * streams are valid there as well, and what it refuses for other reasons is told apart by the reason it gives.
 *
 *   nghttp2 [STREAMS]      so many valid streams, 4 times as many changed ones, and of each rule a 25th
 */
#include "broken.h"
#include "ours.h"
#include "theirs.h"

static uint8_t bytes[STREAM_BYTES_MAX];
static struct stream stream;
static struct ours ours;
static struct theirs theirs;

/* The stream being compared, for the one who has to look into it. */
static const char *title;
static unsigned long number;

static void show(const char *whose, const struct log *log) {
  fprintf(stderr, "%s: error %u at %u (%s), error of a stream %u, %u frames whole, heads:\n", whose, log->error_code,
          log->error_at, log->reason, log->stream_error_code, log->complete);
  for (uint32_t at = 0; at < log->count; at++) {
    const struct frame *frame = &log->frames[at];
    fprintf(stderr, "  at %u: type %u, flags 0x%x, stream %u, %u bytes\n", frame->seen_at, frame->kind, frame->flags,
            frame->stream_id, frame->length);
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
  uint32_t length = style == 0 ? 1 : style == 1 ? 1 + below(&stream, 16) : style == 2 ? 1 + below(&stream, 3000) : left;
  return length < left ? length : left;
}

/* Gives the stream to both; after every piece of a valid one they have seen the same. */
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
  agree(ours.log.error_code == of_connection && ours.log.stream_error_code == of_stream, "what the table says of ours");
  /* A later version may have learned better. */
  agree(theirs.log.error_code == rule->theirs || (rule->difference != NULL && theirs.log.error_code == rule->ours),
        "what the table says of theirs");
  agree((rule->difference == NULL) == (rule->ours == rule->theirs && !rule->is_of_stream), "a listed difference");
  /* The last frame is refused by its head, or when its first byte has come. */
  uint32_t heads = stream.frames - (stream.frames > 0);
  agree(ours.log.count >= heads && ours.log.count <= stream.frames, "where it is refused");
  agree(theirs.log.count >= heads && theirs.log.count <= stream.frames, "where it is refused");
  agree_on_heads(0, heads);
}

/* Changes up to three fields of heads, or first bytes of payloads. */
static void change(void) {
  for (uint32_t left = 1 + below(&stream, 3); left > 0; left--) {
    /* Not the highest byte of the length: what would be refused as too long at once is no news after a few times. */
    uint32_t at = stream.heads[below(&stream, stream.frames)] + 1 + below(&stream, HEAD_BYTES);
    if (at < stream.length) {
      uint32_t any = below(&stream, 2) == 0 ? below(&stream, 12) : below(&stream, 256);
      bytes[at] = (uint8_t)(below(&stream, 3) == 0 ? any : bytes[at] ^ 1u << below(&stream, 8));
    }
  }
}

/* libnghttp2 has refused it for what the frame layer does not know: states of streams, windows, header blocks. */
static int has_other_reason(void) {
  static const char *const parts[] = {
      "stream in ",        "to idle stream",  "to reserved stream",     "stream not opened", "invalid stream_id",
      "invalid promised_", "client received", "invalid last_stream_id", "invalid SETTINGS_", "depend on itself",
      "increment == 0"};
  if (theirs.log.error_code != PROTOCOL_ERROR && theirs.log.error_code != FRAME_SIZE_ERROR) {
    return 1;
  }
  for (size_t at = 0; at < sizeof parts / sizeof parts[0]; at++) {
    if (strstr(theirs.log.reason, parts[at]) != NULL) {
      return 1;
    }
  }
  return 0;
}

/* Gives both the stream byte by byte, and where ours refuses a frame before it is whole, theirs the rest of it. */
static void feed_bytewise(void) {
  static const uint8_t zero;
  ours_start(&ours, &stream);
  theirs_start(&theirs, &stream);
  for (uint32_t at = 0; at < stream.length; at++) {
    ours_feed(&ours, 1);
    theirs_feed(&theirs, bytes + at, 1);
  }
  if (ours.log.error_code != 0 && stream.length - ours.front >= HEAD_BYTES) {
    const uint8_t *head = bytes + ours.front;
    uint32_t end = ours.front + HEAD_BYTES + ((uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2]);
    while (theirs.given < end && theirs.log.error_code == 0) {
      theirs_feed(&theirs, &zero, 1);
    }
  }
  theirs_end(&theirs);
}

/* Every head that libnghttp2 saw is one of ours, in the same place; it passes over those that it ignores. */
static void agree_on_heads_seen(void) {
  uint32_t own = 0, until = ours.log.error_code != 0 ? ours.log.error_at : UINT32_MAX;
  for (uint32_t at = 0; at < theirs.log.count && theirs.log.frames[at].seen_at < until; at++) {
    while (own < ours.log.count && ours.log.frames[own].seen_at < theirs.log.frames[at].seen_at) {
      own++;
    }
    agree(own < ours.log.count && are_same(&ours.log.frames[own], &theirs.log.frames[at]), "a head");
  }
}

static int has_seen(const struct log *log, const struct frame *frame) {
  for (uint32_t at = 0; at < log->count; at++) {
    if (log->frames[at].seen_at == frame->seen_at) {
      return 1;
    }
  }
  return 0;
}

/* How streams with changed heads ended. */
struct endings {
  unsigned long both_accept, both_refuse, other_reasons;
  /* Listed differences, and padding in a frame of a stream that has ended, which libnghttp2 passes over unread. */
  unsigned long priority_alone, continuation_alone, ignored;
};

static void compare_changed(unsigned long nth, struct endings *endings) {
  do {
    begin("changed", nth, nth % 2);
    for (uint32_t left = 1 + below(&stream, 10); left > 0; left--) {
      stream_add(&stream);
    }
    nth += 1000000007;
  } while (stream.length > 4000);
  change();
  feed_bytewise();
  agree_on_heads_seen();
  const struct log *own = &ours.log, *other = &theirs.log;
  if (theirs.is_done || (other->error_code != 0 && has_other_reason())) {
    endings->other_reasons++;
  } else if (own->stream_error_code != 0 && (own->error_code == 0 || other->error_at < own->error_at)) {
    /* A PRIORITY of another length: listed. */
    agree(other->error_code == own->stream_error_code, "the length of PRIORITY");
    endings->priority_alone++;
  } else if (own->error_code == 0) {
    agree(other->error_code == 0, "what only libnghttp2 refuses");
    endings->both_accept++;
  } else if (other->error_code != 0) {
    /* The same frame. If it breaks two rules, which of them is named is not said anywhere. */
    agree(other->error_at >= own->error_at, "what libnghttp2 refuses before");
    endings->both_refuse++;
  } else if (own->error_code == FRAME_SIZE_ERROR) {
    /* One that is too long: listed. */
    agree(bytes[ours.front + 3] == CONTINUATION, "what only demuxbuf refuses");
    endings->continuation_alone++;
  } else {
    agree(ours.has_head && !has_seen(other, &own->frames[own->count - 1]), "what only demuxbuf refuses");
    endings->ignored++;
  }
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
  CHECK(endings.both_accept > 0 && endings.both_refuse > 0 && endings.other_reasons > 0);
  CHECK(endings.both_accept + endings.both_refuse > 2 * streams);
  printf("changed: %lu accepted by both, %lu refused by both, %lu refused by libnghttp2 for other reasons, %lu times a "
         "listed difference, %lu times ignored\n",
         endings.both_accept, endings.both_refuse, endings.other_reasons,
         endings.priority_alone + endings.continuation_alone, endings.ignored);
  return check_end();
}
