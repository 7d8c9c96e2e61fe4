#include "broken.h"

#define VERSION_ERROR DEMUXBUF_FCGI_ERROR_VERSION
#define DIRECTION_ERROR DEMUXBUF_FCGI_ERROR_DIRECTION
#define REQUEST_ID_ERROR DEMUXBUF_FCGI_ERROR_REQUEST_ID
#define LENGTH_ERROR DEMUXBUF_FCGI_ERROR_CONTENT_LENGTH

const struct rule rules[] = {
    {"version 0 at the start", AS_BEGIN, 0, BEGIN_REQUEST, 0, TO_REQUEST, 8, VERSION_ERROR, REFUSES, NULL},
    {"version 2 in PARAMS", IN_PARAMS, 2, PARAMS, 0, TO_REQUEST, 8, VERSION_ERROR, REFUSES, NULL},
    {"version 0 in STDIN", IN_STDIN, 0, STDIN, 3, TO_REQUEST, 8, VERSION_ERROR, REFUSES, NULL},
    {"version 2 of an unknown type", IN_STDIN, 2, 12, 0, TO_NONE, 0, VERSION_ERROR, REFUSES, NULL},
    {"BEGIN_REQUEST of 7 bytes", AS_BEGIN, 1, BEGIN_REQUEST, 1, TO_REQUEST, 7, LENGTH_ERROR, REFUSES, NULL},
    {"BEGIN_REQUEST of 16 bytes", AS_BEGIN, 1, BEGIN_REQUEST, 0, TO_REQUEST, 16, LENGTH_ERROR, REFUSES, NULL},
    {"BEGIN_REQUEST of 0 bytes", IN_STDIN, 1, BEGIN_REQUEST, 0, TO_OTHER, 0, LENGTH_ERROR, REFUSES, NULL},
    {"BEGIN_REQUEST without a request", AS_BEGIN, 1, BEGIN_REQUEST, 0, TO_NONE, 8, REQUEST_ID_ERROR, REFUSES, NULL},
    {"GET_VALUES of a request", IN_STDIN, 1, GET_VALUES, 0, TO_REQUEST, 0, REQUEST_ID_ERROR, REFUSES, NULL},
    {"STDOUT from a web server", IN_STDIN, 1, STDOUT, 0, TO_REQUEST, 5, DIRECTION_ERROR, REFUSES, NULL},
    {"STDERR from a web server", IN_PARAMS, 1, STDERR, 0, TO_REQUEST, 0, DIRECTION_ERROR, REFUSES, NULL},
    {"END_REQUEST from a web server", IN_STDIN, 1, END_REQUEST, 0, TO_REQUEST, 8, DIRECTION_ERROR, REFUSES, NULL},
    {"ABORT_REQUEST with content", IN_STDIN, 1, ABORT_REQUEST, 0, TO_REQUEST, 1, LENGTH_ERROR, REFUSES, NULL},
    {"unknown type without content", IN_STDIN, 1, 200, 9, TO_NONE, 0, 0, ANSWERS, NULL},
    {"STDIN of another request", IN_STDIN, 1, STDIN, 9, TO_OTHER, 7, 0, TAKES, NULL},

    {"STDIN without a request", IN_STDIN, 1, STDIN, 0, TO_NONE, 0, REQUEST_ID_ERROR, ANSWERS,
     "A: libfcgi answers every type without a request that it does not know there"},
    {"ABORT_REQUEST without a request", IN_STDIN, 1, ABORT_REQUEST, 0, TO_NONE, 0, REQUEST_ID_ERROR, ANSWERS,
     "A: the same"},
    {"GET_VALUES_RESULT from a web server", IN_PARAMS, 1, GET_VALUES_RESULT, 5, TO_NONE, 0, DIRECTION_ERROR, ANSWERS,
     "A: the same"},
    {"STDOUT of another request", IN_STDIN, 1, STDOUT, 0, TO_OTHER, 5, DIRECTION_ERROR, TAKES,
     "A: libfcgi skips everything of other requests"},
    {"ABORT_REQUEST", IN_STDIN, 1, ABORT_REQUEST, 0, TO_REQUEST, 0, 0, REFUSES, "5.4: libfcgi has none"},
    {"unknown type of the request", IN_STDIN, 1, 12, 0, TO_REQUEST, 0, 0, REFUSES,
     "4.2, which has a rule for records without a request only"},
    {"unknown type with content", IN_STDIN, 1, 12, 0, TO_NONE, 9, 0, REFUSES,
     "4.2: libfcgi takes its content for the stream's"},
    {"empty record of another request", IN_STDIN, 1, STDIN, 0, TO_OTHER, 0, 0, REFUSES,
     "3.3: libfcgi skips the content of the next record"},
    {"padding of BEGIN_REQUEST", AS_BEGIN, 1, BEGIN_REQUEST, 9, TO_REQUEST, 8, 0, REFUSES,
     "3.3: libfcgi takes it for a header"},
    {"padding of the end of PARAMS", AS_PARAMS_END, 1, PARAMS, 9, TO_REQUEST, 0, 0, REFUSES, "3.3: the same"},
};
const uint32_t rules_count = sizeof rules / sizeof rules[0];

/* The record of the rule. What has content begins like a BEGIN_REQUEST of a responder. */
static void add(const struct rule *rule, const struct request *request, struct wire *wire) {
    static const uint8_t content[16] = {0, RESPONDER};
    const uint32_t ids[] = {0, request->id, request->id % 65535 + 1};
    uint32_t at = wire->length;
    wire_record(wire, rule->kind, ids[rule->belongs], content, rule->length, rule->padding);
    wire->bytes[at] = rule->version;
}

void rule_write(const struct rule *rule, const struct request *request, struct wire *wire) {
    const struct value *params = &request->params, *in = &request->in;
    uint32_t id = request->id, half = in->length / 2;
    wire->length = wire->count = 0;
    if (rule->place == AS_BEGIN) {
        add(rule, request, wire);
    } else {
        wire_begin(wire, id, RESPONDER, 0, 0);
    }
    wire_record(wire, PARAMS, id, params->bytes, params->length, 3);
    if (rule->place == IN_PARAMS) {
        add(rule, request, wire);
    }
    if (rule->place == AS_PARAMS_END) {
        add(rule, request, wire);
    } else {
        wire_record(wire, PARAMS, id, NULL, 0, 0);
    }
    wire_record(wire, STDIN, id, in->bytes, half, 5);
    if (rule->place == IN_STDIN) {
        add(rule, request, wire);
    }
    wire_record(wire, STDIN, id, in->bytes + half, in->length - half, 0);
    wire_record(wire, STDIN, id, NULL, 0, 0);
}

enum expectation expect(struct reading *reading, const struct record *record, uint32_t id) {
    if (record->kind == BEGIN_REQUEST) {
        return PASS;
    }
    if (record->id == 0) {
        return record->kind == GET_VALUES || record->length == 0 ? PASS : DIFFER;
    }
    if (record->id != id) {
        return record->length == 0 ? DIFFER : PASS;
    }
    if (record->kind != reading->kind) {
        return REFUSE;
    }
    if (record->length > 0) {
        return TAKE;
    }
    if (reading->kind == STDIN && reading->role == FILTER) {
        reading->kind = DATA;
        return record->padding > 0 ? DIFFER : PASS;
    }
    return DONE;
}
