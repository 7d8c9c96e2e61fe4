#include "request.h"

void value_add(struct value *value, const uint8_t *bytes, uint32_t count) {
    DEMAND(value->length + count <= CONTENT_MAX);
    if (count > 0) {
        memcpy(value->bytes + value->length, bytes, count);
    }
    value->length += count;
}

int value_is(const struct value *value, const struct value *other) {
    return value->length == other->length && memcmp(value->bytes, other->bytes, value->length) == 0;
}

void wire_record(struct wire *wire, uint8_t kind, uint32_t id, const uint8_t *content, uint32_t length,
                 uint8_t padding) {
    const uint8_t head[HEAD_BYTES] = {
        1, kind, (uint8_t)(id >> 8), (uint8_t)id, (uint8_t)(length >> 8), (uint8_t)length, padding, 0};
    CHECK(wire->count < RECORDS_MAX && wire->length + HEAD_BYTES + length + padding <= BYTES_MAX);
    wire->records[wire->count++] =
        (struct record){.at = wire->length, .id = id, .length = length, .kind = kind, .padding = padding};
    memcpy(wire->bytes + wire->length, head, HEAD_BYTES);
    if (length > 0) {
        memcpy(wire->bytes + wire->length + HEAD_BYTES, content, length);
    }
    memset(wire->bytes + wire->length + HEAD_BYTES + length, 0xee, padding);
    wire->length += HEAD_BYTES + length + padding;
}

void wire_begin(struct wire *wire, uint32_t id, uint32_t role, int keeps_connection, uint8_t padding) {
    const uint8_t body[8] = {(uint8_t)(role >> 8), (uint8_t)role, keeps_connection != 0};
    wire_record(wire, BEGIN_REQUEST, id, body, sizeof body, padding);
}

/* Bytes that are no version of a header, so that a decoder which loses its place is seen to. */
static void draw_value(struct value *value, uint32_t length, uint64_t *random) {
    value->length = length;
    for (uint32_t at = 0; at < length; at++) {
        value->bytes[at] = (uint8_t)('0' + below(random, 64));
    }
}

static uint32_t draw_length(uint64_t *random) {
    switch (below(random, 8)) {
    case 0: return 0;
    case 1: return below(random, CONTENT_MAX);
    case 2: return 65534 + below(random, 4);
    default: return below(random, 3000);
    }
}

/* A length in one byte, or in four if it must or if the sender likes to (section 3.4: only longer ones take four). */
static void add_length(struct value *params, uint32_t length) {
    const uint8_t four[4] = {(uint8_t)(0x80 | length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8),
                             (uint8_t)length};
    if (length > 127) {
        value_add(params, four, sizeof four);
    } else {
        value_add(params, four + 3, 1);
    }
}

static void add_pair(struct value *params, uint64_t *random) {
    uint8_t bytes[400];
    uint32_t name = 1 + below(random, below(random, 8) == 0 ? 199 : 20),
             content = below(random, below(random, 4) == 0 ? 200 : 30);
    for (uint32_t at = 0; at < name + content; at++) {
        bytes[at] = (uint8_t)('A' + below(random, 26));
    }
    add_length(params, name);
    add_length(params, content);
    value_add(params, bytes, name + content);
}

void request_draw(struct request *request, uint64_t *random) {
    request->id = below(random, 4) == 0 ? 1 + below(random, 65535) : 1 + below(random, 9);
    request->role = RESPONDER + below(random, 3);
    request->params.length = 0;
    for (uint32_t left = below(random, 60); left > 0; left--) {
        add_pair(&request->params, random);
    }
    draw_value(&request->in, draw_length(random), random);
    draw_value(&request->data, request->role == FILTER ? draw_length(random) : 0, random);
    draw_value(&request->out, draw_length(random), random);
    draw_value(&request->err, below(random, 2) == 0 ? 0 : below(random, 3000), random);
    request->status = check_random(random);
}

static uint32_t read_length(const struct value *params, uint32_t *at) {
    const uint8_t *bytes = params->bytes + *at;
    if (bytes[0] < 128) {
        *at += 1;
        return bytes[0];
    }
    *at += 4;
    return (uint32_t)(bytes[0] & 127) << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

void params_text(const struct value *params, struct value *text) {
    text->length = 0;
    for (uint32_t at = 0; at < params->length;) {
        uint32_t name = read_length(params, &at), content = read_length(params, &at);
        CHECK(at + name + content <= params->length);
        value_add(text, params->bytes + at, name);
        value_add(text, (const uint8_t *)"=", 1);
        value_add(text, params->bytes + at + name, content);
        value_add(text, (const uint8_t *)"", 1);
        at += name + content;
    }
}

static uint8_t draw_padding(uint64_t *random) {
    return (uint8_t)(below(random, 3) == 0 ? below(random, 256) : below(random, 2) * below(random, 8));
}

/* A record that has nothing to do with the request. libfcgi skips those of other requests, and answers the others. */
static void add_other(struct wire *wire, uint32_t id, uint64_t *random) {
    static const uint8_t query[] = "\x0e\0FCGI_MAX_CONNS\x0d\0FCGI_MAX_REQS\x03\0ABC\x0f\0FCGI_MPXS_CONNS";
    static const uint8_t kinds[] = {PARAMS, STDIN, DATA};
    uint32_t other = id % 65535 + 1;
    uint8_t padding = draw_padding(random);
    switch (below(random, 4)) {
    case 0:
        wire_record(wire, GET_VALUES, 0, query, sizeof query - 1, padding);
        wire->queries++;
        break;
    case 1:
        wire_record(wire, (uint8_t)(UNKNOWN_TYPE + 1 + below(random, 255 - UNKNOWN_TYPE)), 0, NULL, 0, padding);
        wire->unknown++;
        break;
    case 2:
        wire_begin(wire, other, RESPONDER, 1, padding);
        wire->refused++;
        break;
    default: wire_record(wire, kinds[below(random, 3)], other, query, 1 + below(random, 20), padding);
    }
}

/* A stream, cut and padded at random, with its end. */
static void write_stream(const struct value *value, uint8_t kind, uint32_t id, struct wire *wire, uint64_t *random) {
    const uint32_t styles[] = {20, 1000, 8192, 65535};
    uint32_t style = value->length < 2000 ? below(random, 4) : 1 + below(random, 3);
    for (uint32_t at = 0, length; at < value->length; at += length) {
        length = 1 + below(random, styles[style]);
        length = length < value->length - at ? length : value->length - at;
        if (below(random, 6) == 0) {
            add_other(wire, id, random);
        }
        wire_record(wire, kind, id, value->bytes + at, length, draw_padding(random));
    }
    /* libfcgi does not skip the padding of this one: `main.c` has it among the differences. */
    wire_record(wire, kind, id, NULL, 0, 0);
}

void request_write(const struct request *request, int keeps_connection, struct wire *wire, uint64_t *random) {
    wire->length = wire->count = wire->queries = wire->unknown = wire->refused = 0;
    wire_begin(wire, request->id, request->role, keeps_connection, 0);
    write_stream(&request->params, PARAMS, request->id, wire, random);
    wire->params_end = wire->count;
    if (request->role != AUTHORIZER) {
        write_stream(&request->in, STDIN, request->id, wire, random);
    }
    if (request->role == FILTER) {
        write_stream(&request->data, DATA, request->id, wire, random);
    }
}
