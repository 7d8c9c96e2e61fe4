/*
 * FastCGI records, compared with libfcgi: a web server with the library's decoder talks over a Unix socket to an
 * application on libfcgi.
 *
 * - Valid requests, cut and padded at random: libfcgi reads the parameters and streams that were sent, and so does the
 *   decoder out of the same bytes, which also finds every record where it was written. Of what libfcgi answers, the
 *   decoder reads what the application wrote.
 * - Requests with one record that breaks a rule: both refuse it, or differ as the table in `broken.c` lists.
 * - Requests with one changed byte in a header: as far as both read, they have read the same.
 *
 * libfcgi is a whole application library with one request at a time, and skips what it need not read.
 *
 *   libfcgi FOLDER [REQUESTS]   the socket is in the folder; this many connections with valid requests, 4 times as many
 *                               changed requests, and a 25th of each rule
 */
#include "broken.h"
#include "ours.h"
#include "theirs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char path[100];
static struct theirs theirs;
static struct request sent, read_by_us, response;
static struct value text;
static struct wire wire;
static struct ours from_server, from_application;
/* Drawn from for what is sent, and for the pieces in which it is, which depend on how both threads run. */
static uint64_t random_state, pieces;

/* What is being compared, for failure messages. */
static const char *title;
static unsigned long number;

static void agree(int do_they, const char *in) {
    if (!do_they) {
        fprintf(stderr, "%s, request %lu: they differ in %s\n", title, number, in);
        fprintf(stderr, "demuxbuf: error %u after %u of %u records, %u and %u bytes of streams\n",
                from_server.error_code, from_server.count, wire.count, read_by_us.in.length, read_by_us.data.length);
        fprintf(stderr, "libfcgi: %s, %u and %u bytes of streams, %u answers to unknown types\n",
                theirs.has_failed ? "failed" : "no error", theirs.seen.in.length, theirs.seen.data.length,
                from_application.unknown);
        exit(1);
    }
    checks_passed++;
}

static void begin(const char *what, unsigned long nth) {
    title = what;
    number = nth;
    random_state = pieces = (nth + 1) * 0x9e3779b97f4a7c15u + (uint64_t)what[0];
}

static int connected(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(fd >= 0 && strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path));
    CHECK_NUMBER(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_NUMBER(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* Sends a piece; returns how many bytes of the wire have been sent. */
static uint32_t send_piece(int fd, uint32_t at) {
    uint32_t left = wire.length - at, piece = 1 + below(&pieces, 40000);
    ssize_t count = send(fd, wire.bytes + at, piece < left ? piece : left, MSG_NOSIGNAL);
    if (count < 0 && (errno == EPIPE || errno == ECONNRESET)) {
        /* The application reads no more. */
        return wire.length;
    }
    CHECK(count > 0 || errno == EAGAIN);
    return at + (count > 0 ? (uint32_t)count : 0);
}

/* Receives a piece of the answer; returns whether there may be more. */
static int receive_piece(int fd) {
    uint8_t piece[20000];
    ssize_t count = recv(fd, piece, 1 + below(&pieces, sizeof piece), 0);
    if (count == 0 || (count < 0 && errno == ECONNRESET)) {
        return 0;
    }
    CHECK(count > 0);
    ours_feed(&from_application, piece, (uint32_t)count);
    agree(from_application.error_code == 0, "what an application may send");
    return 1;
}

/* Sends the wire and reads the answer, until the request has ended or the application has closed the connection. */
static void exchange(int fd, int is_all) {
    uint32_t at = 0;
    int is_open = 1;
    ours_start(&from_application, DEMUXBUF_FCGI_APPLICATION, sent.id, &response);
    while (is_open && from_application.ended == 0) {
        struct pollfd ready = {.fd = fd, .events = (short)(POLLIN | (at < wire.length ? POLLOUT : 0))};
        CHECK_NUMBER(poll(&ready, 1, 300000), 1);
        if ((ready.revents & POLLOUT) != 0) {
            at = send_piece(fd, at);
            if (is_all && at == wire.length) {
                shutdown(fd, SHUT_WR);
            }
        }
        if ((ready.revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
            is_open = receive_piece(fd);
        }
    }
}

/* The decoder reads the wire in pieces of its own. */
static void read_wire(void) {
    static const uint32_t styles[] = {1, 30, 3000, 100000};
    uint32_t style = below(&random_state, wire.length < 20000 ? 4 : 2) + (wire.length < 20000 ? 0 : 2);
    ours_start(&from_server, DEMUXBUF_FCGI_WEB_SERVER, sent.id, &read_by_us);
    for (uint32_t at = 0, length; at < wire.length; at += length) {
        length = 1 + below(&random_state, styles[style]);
        length = length < wire.length - at ? length : wire.length - at;
        ours_feed(&from_server, wire.bytes + at, length);
    }
}

static int are_same(const struct record *one, const struct record *other) {
    return one->at == other->at && one->id == other->id && one->length == other->length && one->kind == other->kind &&
           one->padding == other->padding;
}

static int has_read_params(void) {
    params_text(&sent.params, &text);
    return value_is(&theirs.seen.params, &text);
}

static void compare_request(void) {
    agree(from_server.error_code == 0 && from_server.count == wire.count, "the number of records");
    for (uint32_t at = 0; at < wire.count; at++) {
        agree(are_same(&from_server.records[at], &wire.records[at]), "a record");
    }
    agree(from_server.content_left + from_server.padding_left + from_server.buffered == 0, "the end");
    agree(value_is(&read_by_us.params, &sent.params), "the parameters that the decoder read");
    agree(read_by_us.role == sent.role && theirs.seen.role == sent.role, "the role");
    agree(has_read_params() && theirs.has_failed == 0, "the parameters that libfcgi read");
    if (sent.role != AUTHORIZER) {
        agree(value_is(&read_by_us.in, &sent.in) && value_is(&theirs.seen.in, &sent.in), "STDIN");
    }
    agree(value_is(&read_by_us.data, &sent.data) && value_is(&theirs.seen.data, &sent.data), "DATA");
}

static void compare_response(void) {
    agree(from_application.ended == 1 && from_application.buffered == 0, "the end of the answer");
    agree(value_is(&response.out, &sent.out) && value_is(&response.err, &sent.err), "the answer's streams");
    agree(response.status == sent.status && from_application.protocol_status == REQUEST_COMPLETE, "the statuses");
    agree(from_application.results == wire.queries && from_application.unknown == wire.unknown &&
              from_application.refused == wire.refused,
          "the answers beside the request's");
}

/* Up to four requests on a connection. */
static void compare_valid(unsigned long nth, unsigned long *others) {
    begin("valid", nth);
    int fd = connected();
    for (uint32_t left = 1 + below(&random_state, 4); left > 0; left--) {
        request_draw(&sent, &random_state);
        request_write(&sent, left > 1, &wire, &random_state);
        theirs_expect(&theirs, &sent, random_state, 0);
        read_wire();
        exchange(fd, 0);
        pthread_mutex_lock(&theirs.lock);
        compare_request();
        compare_response();
        pthread_mutex_unlock(&theirs.lock);
        others[0] += wire.queries;
        others[1] += wire.unknown;
        others[2] += wire.refused;
    }
    close(fd);
}

/* A request in short, which `request_write` writes otherwise than the rules of `broken.c` need it. */
static void draw_small(uint32_t role) {
    do {
        request_draw(&sent, &random_state);
    } while (sent.in.length < 100 || sent.in.length > 3000 || sent.data.length > 3000 || sent.out.length > 3000 ||
             sent.params.length == 0 || sent.role != role);
}

/* Sends the wire on a connection of its own, to its end; returns whether libfcgi has come to a request. */
static int compare_alone(void) {
    uint32_t before = theirs.answered;
    theirs_expect(&theirs, &sent, random_state, 0);
    read_wire();
    int fd = connected();
    exchange(fd, 1);
    close(fd);
    pthread_mutex_lock(&theirs.lock);
    int has_answered = theirs.answered != before;
    pthread_mutex_unlock(&theirs.lock);
    return has_answered;
}

static void compare_broken(const struct rule *rule, unsigned long nth) {
    begin(rule->name, nth);
    draw_small(RESPONDER);
    rule_write(rule, &sent, &wire);
    int has_answered = compare_alone();
    int takes = has_answered && theirs.has_failed == 0 && has_read_params() && value_is(&theirs.seen.in, &sent.in);
    enum outcome outcome = !takes ? REFUSES : from_application.unknown > 0 ? ANSWERS : TAKES;
    agree(from_server.error_code == rule->ours, "our error in the table");
    if (rule->ours == 0) {
        agree(value_is(&read_by_us.params, &sent.params) && value_is(&read_by_us.in, &sent.in), "what we read");
    }
    int are_alike = (outcome == REFUSES) == (rule->ours != 0);
    /* A later version may have learned better. */
    agree(outcome == rule->theirs || (rule->difference != NULL && are_alike), "their outcome in the table");
    agree((rule->difference == NULL) == ((rule->theirs == REFUSES) == (rule->ours != 0)), "a listed difference");
}

/* How requests with a changed header ended. */
struct endings {
    unsigned long both_read_all, both_refuse, ours_refuses, listed;
};

static int is_prefix(const struct value *value, const struct value *of) {
    return value->length <= of->length && memcmp(value->bytes, of->bytes, value->length) == 0;
}

/* What libfcgi makes of the records that the decoder found, as far as the table of differences allows to know. */
static enum expectation expect_all(struct request *expected) {
    struct reading reading = {.kind = STDIN, .role = sent.role};
    expected->in.length = expected->data.length = 0;
    for (uint32_t at = wire.params_end; at < from_server.count; at++) {
        const struct record *record = &from_server.records[at];
        enum expectation expectation = expect(&reading, record, sent.id);
        if (expectation == TAKE) {
            uint32_t begin_at = record->at + HEAD_BYTES, left = wire.length - begin_at;
            value_add(reading.kind == STDIN ? &expected->in : &expected->data, wire.bytes + begin_at,
                      record->length < left ? record->length : left);
        } else if (expectation != PASS) {
            return expectation;
        }
    }
    return from_server.error_code != 0 ? DIFFER : REFUSE;
}

/* Changes a byte of a header behind the parameters. libfcgi trusts lengths of names and values, so that parameters and
 * queries must stay as they are. */
static void change(void) {
    const struct record *record;
    do {
        record = &wire.records[wire.params_end + below(&random_state, wire.count - wire.params_end)];
    } while (record->kind == GET_VALUES);
    uint32_t at = record->at + below(&random_state, HEAD_BYTES - 1);
    wire.bytes[at] ^= (uint8_t)(1u << below(&random_state, below(&random_state, 2) == 0 ? 3 : 8));
}

static void compare_changed(unsigned long nth, struct endings *endings) {
    static struct request expected;
    begin("changed", nth);
    draw_small(nth % 2 == 0 ? RESPONDER : FILTER);
    request_write(&sent, 0, &wire, &random_state);
    change();
    int has_answered = compare_alone();
    agree(has_answered, "the parameters");
    enum expectation expectation = expect_all(&expected);
    agree(is_prefix(&expected.in, &read_by_us.in) && is_prefix(&expected.data, &read_by_us.data), "what we read");
    agree(is_prefix(&expected.in, &theirs.seen.in) && is_prefix(&expected.data, &theirs.seen.data), "what both read");
    if (expectation == DIFFER) {
        endings->ours_refuses += from_server.error_code != 0;
        endings->listed += from_server.error_code == 0;
        return;
    }
    agree(value_is(&expected.in, &theirs.seen.in) && value_is(&expected.data, &theirs.seen.data), "what libfcgi read");
    agree((theirs.has_failed != 0) == (expectation == REFUSE), "whether libfcgi refuses");
    endings->both_read_all += expectation == DONE;
    endings->both_refuse += expectation == REFUSE;
}

static void stop(void) {
    begin("stop", 0);
    draw_small(RESPONDER);
    request_write(&sent, 0, &wire, &random_state);
    theirs_expect(&theirs, &sent, 1, 1);
    int fd = connected();
    exchange(fd, 0);
    theirs_join(&theirs);
    close(fd);
    unlink(path);
}

int main(int count, char **arguments) {
    unsigned long requests = count > 2 ? strtoul(arguments[2], NULL, 10) : 300, others[3] = {0};
    struct endings endings = {0};
    CHECK(count > 1 && snprintf(path, sizeof path, "%s/libfcgi", arguments[1]) < (int)sizeof path);
    theirs_start(&theirs, path);
    for (unsigned long nth = 0; nth < requests; nth++) {
        compare_valid(nth, others);
    }
    CHECK(others[0] > 0 && others[1] > 0 && others[2] > 0);
    for (uint32_t at = 0; at < rules_count; at++) {
        if (rules[at].difference != NULL) {
            printf("listed: %s: section %s\n", rules[at].name, rules[at].difference);
        }
        for (unsigned long nth = 0; nth < 1 + requests / 25; nth++) {
            compare_broken(&rules[at], nth);
        }
    }
    for (unsigned long nth = 0; nth < 4 * requests; nth++) {
        compare_changed(nth, &endings);
    }
    printf("%lu requests with a changed header: %lu read to their end by both, %lu refused by libfcgi as expected, %lu "
           "refused by demuxbuf, %lu listed\n",
           4 * requests, endings.both_read_all, endings.both_refuse, endings.ours_refuses, endings.listed);
    CHECK(endings.both_read_all > 0 && endings.both_refuse > 0 && endings.ours_refuses > 0 && endings.listed > 0);
    stop();
    return check_end();
}
