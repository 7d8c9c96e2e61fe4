/* Requests as a web server sends them, record by record, written without the library. */
#ifndef REQUEST_H
#define REQUEST_H

#include "../check.h"

enum {
    BEGIN_REQUEST = 1,
    ABORT_REQUEST,
    END_REQUEST,
    PARAMS,
    STDIN,
    STDOUT,
    STDERR,
    DATA,
    GET_VALUES,
    GET_VALUES_RESULT,
    UNKNOWN_TYPE
};
enum { RESPONDER = 1, AUTHORIZER, FILTER };
enum { REQUEST_COMPLETE, CANT_MPX_CONN };
enum { HEAD_BYTES = 8, CONTENT_MAX = 1 << 18, BYTES_MAX = 1 << 20, RECORDS_MAX = 4096 };

/* The value of a stream. */
struct value {
    uint32_t length;
    uint8_t bytes[CONTENT_MAX];
};

/* What is in a request and its response. */
struct request {
    uint32_t id, role;
    struct value params, in, data, out, err;
    uint32_t status;
};

/* A record: where it begins and what its header has. */
struct record {
    uint32_t at, id, length;
    uint8_t kind, padding;
};

/* The bytes of a request, and the records in them. */
struct wire {
    uint32_t length, count;
    /* The record behind which the parameters are complete. */
    uint32_t params_end;
    /* Records that the application answers: queries, unknown types, and requests that it has no room for. */
    uint32_t queries, unknown, refused;
    struct record records[RECORDS_MAX];
    uint8_t bytes[BYTES_MAX];
};

/* A check of code that both threads run: it is not counted. */
#define DEMAND(condition) ((condition) ? (void)0 : check_that(0, #condition, __FILE__, __LINE__))

static inline uint32_t below(uint64_t *random, uint32_t limit) {
    return check_random(random) % limit;
}

void value_add(struct value *value, const uint8_t *bytes, uint32_t count);
int value_is(const struct value *value, const struct value *other);

/* Adds a record whose content and padding follow. */
void wire_record(struct wire *wire, uint8_t kind, uint32_t id, const uint8_t *content, uint32_t length,
                 uint8_t padding);
void wire_begin(struct wire *wire, uint32_t id, uint32_t role, int keeps_connection, uint8_t padding);

/* Draws the content of a request; the parameters are name-value pairs (section 3.4). */
void request_draw(struct request *request, uint64_t *random);
/* The pairs as `name=value`, each with its closing 0. */
void params_text(const struct value *params, struct value *text);
/* Writes all records of the request, cut and padded at random, and others in between. */
void request_write(const struct request *request, int keeps_connection, struct wire *wire, uint64_t *random);

#endif
