#include "stream.h"

static const uint8_t preface[24] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

uint8_t known_flags(uint32_t kind) {
    static const uint8_t known[] = {END_STREAM | PADDED,
                                    END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY,
                                    0,
                                    0,
                                    ACK,
                                    END_HEADERS | PADDED,
                                    ACK,
                                    0,
                                    0,
                                    END_HEADERS};
    return kind < sizeof known ? known[kind] : 0xff;
}

static void put(struct stream *stream, const uint8_t *bytes, uint32_t count) {
    CHECK(stream->length + count <= STREAM_BYTES_MAX);
    if (count > 0) {
        memcpy(stream->bytes + stream->length, bytes, count);
    }
    stream->length += count;
}

void stream_preface(struct stream *stream) {
    put(stream, preface, sizeof preface);
}

void stream_frame(struct stream *stream, uint32_t kind, uint32_t flags, uint32_t id, const uint8_t *payload,
                  uint32_t length) {
    const uint8_t head[HEAD_BYTES] = {(uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length,
                                      (uint8_t)kind,           (uint8_t)flags,         (uint8_t)(id >> 24),
                                      (uint8_t)(id >> 16),     (uint8_t)(id >> 8),     (uint8_t)id};
    CHECK(stream->frames < FRAMES_MAX);
    stream->heads[stream->frames++] = stream->length;
    put(stream, head, sizeof head);
    put(stream, payload, length);
}

/* As `stream_frame`, sometimes with flags that mean nothing and with the reserved bit: both must be ignored. */
static void add_frame(struct stream *stream, uint32_t kind, uint32_t flags, uint32_t id, const uint8_t *payload,
                      uint32_t length) {
    if (below(stream, 8) == 0) {
        flags |= below(stream, 256) & ~(uint32_t)known_flags(kind);
    }
    if (below(stream, 8) == 0) {
        id |= 1u << 31;
    }
    stream_frame(stream, kind, flags, id, payload, length);
}

/* Mostly short, now and then as long as it may be. */
static uint32_t some_length(struct stream *stream) {
    switch (below(stream, 32)) {
    case 0: return stream->max_frame_size - below(stream, 3);
    case 1: return below(stream, stream->max_frame_size);
    default: return below(stream, 40);
    }
}

void stream_fields(struct stream *stream, uint8_t *block, uint32_t length) {
    uint32_t at = 0;
    while (at < length) {
        uint32_t left = length - at, value = 1 + below(stream, 100);
        if (left >= value + 4 && below(stream, 4) != 0) {
            /* A literal that is not indexed: a name of one letter, and a value (RFC 7541 section 6.2.2). */
            const uint8_t start[4] = {0, 1, (uint8_t)('a' + below(stream, 26)), (uint8_t)value};
            memcpy(block + at, start, sizeof start);
            memset(block + at + sizeof start, 'x', value);
            at += 4 + value;
        } else {
            /* An entry of the static table (section 6.1). */
            block[at++] = (uint8_t)(0x80 | (1 + below(stream, 61)));
        }
    }
}

/* A header block in up to six frames; the first starts with `fixed` bytes that its flags and type ask for. */
static void add_block(struct stream *stream, uint32_t kind, uint32_t flags, uint32_t id, const uint8_t *fixed,
                      uint32_t fixed_bytes) {
    static uint8_t block[STREAM_BYTES_MAX], payload[STREAM_BYTES_MAX];
    uint32_t length = some_length(stream), at = 0;
    stream_fields(stream, block, length);
    uint32_t padding = below(stream, 4) == 0 ? 1 + below(stream, 256) : 0;
    if (fixed_bytes + padding > stream->max_frame_size / 2) {
        padding = 0;
    }
    for (uint32_t part = 0; part < 6; part++) {
        uint32_t before = part > 0 ? 0 : fixed_bytes + (padding > 0),
                 behind = part > 0 || padding == 0 ? 0 : padding - 1;
        uint32_t room = stream->max_frame_size - before - behind;
        uint32_t bytes = part == 5 || below(stream, 3) != 0 ? length - at : below(stream, length - at + 1);
        bytes = bytes < room ? bytes : room;
        uint32_t is_last = at + bytes == length;
        uint32_t all = before + bytes + behind;
        memset(payload, 0, all);
        if (part == 0 && padding > 0) {
            payload[0] = (uint8_t)behind;
        }
        if (part == 0 && fixed_bytes > 0) {
            memcpy(payload + (padding > 0), fixed, fixed_bytes);
        }
        if (bytes > 0) {
            memcpy(payload + before, block + at, bytes);
        }
        uint32_t own = part == 0 ? flags | (padding > 0 ? PADDED : 0) : 0;
        add_frame(stream, part == 0 ? kind : CONTINUATION, own | (is_last ? END_HEADERS : 0), id, payload, all);
        at += bytes;
        if (is_last) {
            return;
        }
    }
    CHECK(!"the last part takes all that is left");
}

static void close_stream(struct stream *stream, const struct open_stream *open) {
    stream->open[open - stream->open] = stream->open[--stream->open_count];
}

/* HEADERS, on a new stream or on one that is there: then they may be its first or its last. */
static void add_headers(struct stream *stream, struct open_stream *open) {
    static const uint8_t depends_on_nothing[5] = {0, 0, 0, 0, 200};
    int with_priority = below(stream, 4) == 0;
    uint32_t ends = (open->has_headers || below(stream, 8) == 0) && open->id != stream->kept_id ? END_STREAM : 0;
    add_block(stream, HEADERS, ends | (with_priority ? WITH_PRIORITY : 0), open->id, depends_on_nothing,
              with_priority ? sizeof depends_on_nothing : 0);
    open->has_headers = 1;
    if (ends != 0) {
        close_stream(stream, open);
    }
}

/* A stream that is open, preferably another each time; a client opens one if there is none. NULL if there is none. */
static struct open_stream *some_open(struct stream *stream, int with_headers) {
    uint32_t first = below(stream, OPEN_MAX);
    for (uint32_t nth = 0; nth < stream->open_count; nth++) {
        struct open_stream *open = &stream->open[(first + nth) % stream->open_count];
        if (open->has_headers || !with_headers) {
            return open;
        }
    }
    return NULL;
}

static struct open_stream *open_new(struct stream *stream) {
    CHECK(stream->open_count < OPEN_MAX);
    struct open_stream *open = &stream->open[stream->open_count++];
    *open = (struct open_stream){.id = stream->next_id};
    stream->next_id += 2;
    return open;
}

uint32_t stream_usable(struct stream *stream) {
    struct open_stream *open = some_open(stream, 1);
    if (open == NULL) {
        open = stream->side == DEMUXBUF_H2_CLIENT ? open_new(stream) : some_open(stream, 0);
        CHECK(open != NULL);
        stream_frame(stream, HEADERS, END_HEADERS, open->id, (const uint8_t[]){0x82}, 1);
        open->has_headers = 1;
    }
    return open->id;
}

static void add_promise(struct stream *stream, uint32_t id) {
    uint32_t promised = open_new(stream)->id;
    const uint8_t fixed[4] = {(uint8_t)(promised >> 24), (uint8_t)(promised >> 16), (uint8_t)(promised >> 8),
                              (uint8_t)promised};
    add_block(stream, PUSH_PROMISE, 0, id, fixed, sizeof fixed);
}

static void add_data(struct stream *stream, struct open_stream *open) {
    static uint8_t payload[STREAM_BYTES_MAX];
    uint32_t length = some_length(stream);
    uint32_t flags = below(stream, 8) == 0 && open->id != stream->kept_id ? END_STREAM : 0;
    memset(payload, 'd', length);
    if (length > 0 && below(stream, 3) == 0) {
        uint32_t longest = length - 1 < 255 ? length - 1 : 255;
        payload[0] = (uint8_t)(below(stream, 2) == 0 ? longest : below(stream, longest + 1));
        memset(payload + length - payload[0], 0, payload[0]);
        flags |= PADDED;
    }
    add_frame(stream, DATA, flags, open->id, payload, length);
    if ((flags & END_STREAM) != 0) {
        close_stream(stream, open);
    }
}

static void add_settings(struct stream *stream) {
    /* Settings that both sides may send, with an unknown one (RFC 9113 section 6.5.2). */
    static const uint8_t all[5][6] = {
        {0, 1, 0, 0, 16, 0}, {0, 3, 0, 0, 0, 100}, {0, 4, 0, 0, 127, 0}, {0, 5, 0, 0, 64, 0}, {0x7f, 0x7f, 1, 2, 3, 4}};
    uint8_t payload[sizeof all];
    uint32_t count = below(stream, 6);
    for (uint32_t at = 0; at < count; at++) {
        memcpy(payload + 6 * at, all[below(stream, 5)], 6);
    }
    add_frame(stream, SETTINGS, 0, 0, payload, 6 * count);
}

static void add_acknowledgement(struct stream *stream) {
    if (stream->sizes_acknowledged < SIZES_MAX) {
        add_frame(stream, SETTINGS, ACK, 0, NULL, 0);
        stream->max_frame_size = stream->sizes[stream->sizes_acknowledged++];
    }
}

static void add_unknown(struct stream *stream) {
    static uint8_t payload[STREAM_BYTES_MAX];
    uint32_t length = some_length(stream);
    memset(payload, 'u', length);
    add_frame(stream, CONTINUATION + 1 + below(stream, 246), below(stream, 256), below(stream, 50), payload, length);
}

/* A server takes all that were requested; a client knows of no promise. */
static void add_goaway(struct stream *stream) {
    uint8_t payload[8 + 30] = {0};
    for (uint32_t at = 0; at < stream->open_count && stream->kept_id == 0; at++) {
        if (stream->open[at].id % 2 == 1) {
            stream->kept_id = stream->open[at].id;
        }
    }
    if (stream->kept_id != 0) {
        memset(payload, 0xff, stream->side == DEMUXBUF_H2_SERVER ? 4 : 0);
        payload[0] &= 0x7f;
        add_frame(stream, GOAWAY, 0, 0, payload, 8 + below(stream, 31));
    }
}

/* The frames that belong to the connection. */
static void add_of_connection(struct stream *stream) {
    static const uint8_t eight[8] = {1, 2, 3, 4, 5, 6, 7, 8}, increment[4] = {0, 0, 0, 9};
    switch (below(stream, 6)) {
    case 0: add_settings(stream); break;
    case 1: add_acknowledgement(stream); break;
    case 2: add_frame(stream, PING, below(stream, 2) * ACK, 0, eight, sizeof eight); break;
    case 3: add_frame(stream, WINDOW_UPDATE, 0, 0, increment, sizeof increment); break;
    case 4: add_goaway(stream); break;
    default: add_unknown(stream);
    }
}

void stream_add(struct stream *stream) {
    static const uint8_t priority[5] = {0, 0, 0, 0, 7}, cancel[4] = {0, 0, 0, 8}, increment[4] = {0, 0, 0, 3};
    struct open_stream *open = some_open(stream, 0), *with_headers = some_open(stream, 1);
    int can_open = stream->open_count < OPEN_MAX, is_client = stream->side == DEMUXBUF_H2_CLIENT;
    uint32_t choice = below(stream, 12);
    if (choice < 3 && with_headers != NULL) {
        add_data(stream, with_headers);
    } else if (choice < 5 && can_open && is_client) {
        add_headers(stream, open_new(stream));
    } else if (choice < 5 && can_open && !is_client && with_headers != NULL && with_headers->id % 2 == 1) {
        add_promise(stream, with_headers->id);
    } else if (choice < 7 && open != NULL) {
        add_headers(stream, open);
    } else if (choice == 7 && open != NULL) {
        add_frame(stream, PRIORITY, 0, open->id, priority, sizeof priority);
    } else if (choice == 8 && with_headers != NULL) {
        add_frame(stream, WINDOW_UPDATE, 0, with_headers->id, increment, sizeof increment);
    } else if (choice == 9 && with_headers != NULL && with_headers->id != stream->kept_id) {
        add_frame(stream, RST_STREAM, 0, with_headers->id, cancel, sizeof cancel);
        close_stream(stream, with_headers);
    } else {
        add_of_connection(stream);
    }
}

void stream_start(struct stream *stream, uint32_t side, uint8_t *bytes, uint64_t seed) {
    *stream = (struct stream){.side = side, .bytes = bytes, .max_frame_size = 16384, .random = seed};
    stream->next_id = side == DEMUXBUF_H2_CLIENT ? 1 : 2;
    for (uint32_t at = 0; at < SIZES_MAX; at++) {
        stream->sizes[at] = 16384 + (below(stream, 2) == 0 ? 0 : below(stream, 8192));
    }
    if (side == DEMUXBUF_H2_CLIENT) {
        stream_preface(stream);
    } else {
        for (uint32_t nth = 0; nth < REQUESTED; nth++) {
            stream->open[stream->open_count++] = (struct open_stream){.id = 2 * nth + 1};
        }
        stream->kept_id = 1;
    }
    add_settings(stream);
}
