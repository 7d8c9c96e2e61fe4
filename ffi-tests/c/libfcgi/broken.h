/* Records that break a rule, or that libfcgi takes otherwise than the specification has it. */
#ifndef BROKEN_H
#define BROKEN_H

#include "request.h"

/* What an application on libfcgi does: it reads the whole request, answers a record by UNKNOWN_TYPE and reads the whole
 * request, or does not read what was sent. */
enum outcome { TAKES, ANSWERS, REFUSES };

/* Where the record stands: in the place of BEGIN_REQUEST or of the end of PARAMS, or inside of a stream. */
enum place { AS_BEGIN, IN_PARAMS, AS_PARAMS_END, IN_STDIN };

/* Whose record it is. */
enum belonging { TO_NONE, TO_REQUEST, TO_OTHER };

struct rule {
    const char *name;
    enum place place;
    uint8_t version, kind, padding;
    enum belonging belongs;
    uint32_t length;
    /* The decoder's error code, 0 for none. */
    uint32_t ours;
    enum outcome theirs;
    /* The section that they differ about, and how. */
    const char *difference;
};

extern const struct rule rules[];
extern const uint32_t rules_count;

/* Writes the request with this record in it. */
void rule_write(const struct rule *rule, const struct request *request, struct wire *wire);

/* Where libfcgi stands in a request behind its parameters. */
struct reading {
    uint8_t kind;
    uint32_t role;
};

/* What it does with a record: takes the content, passes it over, refuses it, or differs from the decoder by the table;
 * or it has read the whole request. */
enum expectation { TAKE, PASS, REFUSE, DIFFER, DONE };

/* Moves on behind a record that the decoder found. */
enum expectation expect(struct reading *reading, const struct record *record, uint32_t id);

#endif
