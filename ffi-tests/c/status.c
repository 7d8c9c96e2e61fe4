/* Statuses, their words, the version, and the inline twin of demuxbuf_actions_status. */
#include "check.h"

static const struct {
    int32_t status;
    const char *words;
} known[] = {
    {DEMUXBUF_OK, "done"},
    {DEMUXBUF_STATUS_QUEUED, "queued"},
    {DEMUXBUF_STATUS_NONE, "nothing"},
    {DEMUXBUF_ERR_NOT_ATTACHED, "never attached"},
    {DEMUXBUF_ERR_ALREADY_ATTACHED, "attached already"},
    {DEMUXBUF_ERR_CLOSED, "closed"},
    {DEMUXBUF_ERR_NO_BUFFER, "no buffer is held"},
    {DEMUXBUF_ERR_ALREADY_HELD, "held already"},
    {DEMUXBUF_ERR_ALREADY_WAITING, "queued already"},
    {DEMUXBUF_ERR_CAPACITY_TOO_SMALL, "capacity"},
    {DEMUXBUF_ERR_TOO_MANY_BYTES, "more bytes"},
    {DEMUXBUF_ERR_ZERO_BYTES, "0 bytes"},
    {DEMUXBUF_ERR_NO_REASONS, "reasons is empty"},
    {DEMUXBUF_ERR_AFTER_END, "after the end"},
    {DEMUXBUF_ERR_NOT_PENDING, "not pending"},
    {DEMUXBUF_ERR_IN_FLIGHT, "in flight"},
    {DEMUXBUF_ERR_NULL, "NULL"},
    {DEMUXBUF_ERR_CONFIG, "configuration"},
    {DEMUXBUF_ERR_NO_MEMORY, "memory"},
    {DEMUXBUF_ERR_POISONED, "poisoned"},
    {DEMUXBUF_ERR_STALE, "stale"},
    {DEMUXBUF_ERR_CLASS, "class"},
    {DEMUXBUF_ERR_TABLE_FULL, "table is full"},
    {DEMUXBUF_ERR_NO_BUFFER_FREE, "no buffer is free"},
    {DEMUXBUF_ERR_INTERNAL_EVENT, "by itself"},
    {DEMUXBUF_ERR_PROTOCOL, "protocol"},
    {DEMUXBUF_ERR_RANGE, "out of range"},
    {DEMUXBUF_ERR_INVARIANT, "always hold"},
    {DEMUXBUF_ERR_TOO_LARGE, "could never be granted"},
    {DEMUXBUF_ERR_WRONG_THREAD, "belongs to another thread"},
    {DEMUXBUF_ERR_IN_USE, "has its pool already"},
    {DEMUXBUF_ERR_POOL_CLOSED, "was freed"},
    {DEMUXBUF_ERR_NOT_SHARED, "of one thread"},
    {DEMUXBUF_ERR_TOO_MANY_POOLS, "many pools are alive"},
    {DEMUXBUF_ERR_NOT_MOVABLE, "does not move"},
    {DEMUXBUF_ERR_EXPORTS_FULL, "being exported"},
    {DEMUXBUF_ERR_ADDRESS, "in no buffer"},
    {DEMUXBUF_ERR_DEADLOCK, "wait without end"},
    {DEMUXBUF_ERR_AUDIT_OFF, "audit"},
    {DEMUXBUF_ERR_STRUCT_SIZE, "size of any version"},
    {DEMUXBUF_ERR_UNKNOWN_FIELD, "does not know is not 0"},
    {DEMUXBUF_ERR_EVENT, "event does not exist"},
    {DEMUXBUF_ERR_DEADLINES_OFF, "no lease_ns"},
    {DEMUXBUF_ERR_DRAINING, "takes no new receivers"},
    {DEMUXBUF_ERR_NO_DEADLINE, "has no deadline in"},
    {DEMUXBUF_ERR_IN_PLACE, "in place"},
    {DEMUXBUF_ERR_LOOKED_AT, "looked at"},
};
enum { KNOWN = sizeof known / sizeof known[0] };

/* An error that is taken for a mask of actions asks for nothing: its number is a multiple of 65536. */
static void s66_error_status_has_no_action_bits(void) {
    static const uint32_t actions = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_REQUEST_BUFFER |
                                    DEMUXBUF_CANCEL_REQUEST | DEMUXBUF_RELEASE_BUFFER | DEMUXBUF_RECV |
                                    DEMUXBUF_DECODE | DEMUXBUF_DISCARD | DEMUXBUF_PARK | DEMUXBUF_SHED | DEMUXBUF_END |
                                    DEMUXBUF_FINISHED | DEMUXBUF_CANNOT_FIT | DEMUXBUF_RESCHEDULE;
    int errors = 0;
    for (int at = 0; at < KNOWN; at++) {
        if (known[at].status < 0) {
            CHECK_NUMBER((uint32_t)known[at].status & actions, 0);
            CHECK(((uint32_t)known[at].status & DEMUXBUF_ERROR) != 0);
            CHECK_NUMBER(known[at].status % 65536, 0);
            errors++;
        }
    }
    CHECK_NUMBER(errors, KNOWN - 3);
    CHECK_NUMBER(DEMUXBUF_ERR_NOT_ATTACHED, -65536);
    CHECK_NUMBER(DEMUXBUF_ERR_STALE, -2359296);
}

static int is_known(int32_t status) {
    for (int at = 0; at < KNOWN; at++) {
        if (known[at].status == status) {
            return 1;
        }
    }
    return 0;
}

static void strerror_texts_are_distinct(void) {
    const char *unknown = demuxbuf_strerror(INT32_MIN);
    for (int at = 0; at < KNOWN; at++) {
        const char *words = demuxbuf_strerror(known[at].status);
        CHECK(strstr(words, known[at].words) != NULL);
        CHECK(strcmp(words, unknown) != 0);
        for (int other = 0; other < at; other++) {
            CHECK(known[at].status != known[other].status);
            CHECK(strcmp(words, demuxbuf_strerror(known[other].status)) != 0);
        }
    }
}

static void strerror_of_unknown_numbers(void) {
    const char *unknown = demuxbuf_strerror(INT32_MIN);
    CHECK(unknown != NULL);
    for (int32_t status = -2000; status <= 2000; status++) {
        if (!is_known(status)) {
            CHECK(strcmp(demuxbuf_strerror(status), unknown) == 0);
        }
    }
    for (int bit = 0; bit < 32; bit++) {
        int32_t status = (int32_t)(UINT32_C(1) << bit);
        CHECK(is_known(status) || strcmp(demuxbuf_strerror(status), unknown) == 0);
        status = -(int32_t)((UINT32_C(1) << bit) >> 1) - 1;
        CHECK(is_known(status) || strcmp(demuxbuf_strerror(status), unknown) == 0);
    }
    CHECK(strcmp(demuxbuf_strerror(INT32_MAX), unknown) == 0);
}

static void compare_status(uint32_t actions) {
    int32_t twin = demuxbuf_actions_status(actions);
    CHECK_NUMBER(demuxbuf_actions_status_inline(actions), twin);
    CHECK((actions & DEMUXBUF_ERROR) != 0 ? twin < 0 && (uint32_t)twin == actions : twin == DEMUXBUF_OK);
}

static void inline_status_equals_its_twin(void) {
    /* The first loop tries every pattern of one, two and three bits, and its complement. The second loop has an odd
     stride, so that its samples cover every combination of the low 19 bits. The third loop tries each value near
     the ends of the range and near the sign bit, where a wrong sign would show. */
    for (int first = 0; first < 32; first++) {
        for (int second = 0; second < 32; second++) {
            for (int third = 0; third < 32; third++) {
                uint32_t bits = (UINT32_C(1) << first) | (UINT32_C(1) << second) | (UINT32_C(1) << third);
                compare_status(bits);
                compare_status(~bits);
            }
        }
    }
    for (uint64_t sample = 0; sample <= UINT32_MAX; sample += 4099) {
        compare_status((uint32_t)sample);
    }
    for (uint32_t near = 0; near < 100000; near++) {
        compare_status(near);
        compare_status(UINT32_MAX - near);
        compare_status(DEMUXBUF_ERROR - 50000u + near);
    }
    for (int at = 0; at < KNOWN; at++) {
        if (known[at].status < 0) {
            CHECK_NUMBER(demuxbuf_actions_status_inline((uint32_t)known[at].status), known[at].status);
        }
    }
}

/* The masks of all actions and the error bit never overlap. */
static void action_bits_are_distinct(void) {
    const uint32_t actions[] = {
        DEMUXBUF_WANT_RECV,      DEMUXBUF_STOP_RECV,  DEMUXBUF_REQUEST_BUFFER,
        DEMUXBUF_CANCEL_REQUEST, DEMUXBUF_RECV,       DEMUXBUF_RELEASE_BUFFER,
        DEMUXBUF_DECODE,         DEMUXBUF_DISCARD,    DEMUXBUF_PARK,
        DEMUXBUF_SHED,           DEMUXBUF_END,        DEMUXBUF_FINISHED,
        DEMUXBUF_ERROR,          DEMUXBUF_CANNOT_FIT, DEMUXBUF_RESCHEDULE,
    };
    uint32_t seen = 0;
    for (size_t at = 0; at < sizeof actions / sizeof actions[0]; at++) {
        CHECK(actions[at] != 0 && (actions[at] & (actions[at] - 1)) == 0);
        CHECK((seen & actions[at]) == 0);
        seen |= actions[at];
    }
}

/* Negative numbers are in parentheses, or this would not compile. */
static void numbers_can_be_negated(void) {
    CHECK_NUMBER(-DEMUXBUF_ERR_NULL, 32 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_IN_FLIGHT, 13 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_INVARIANT, 43 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_TOO_LARGE, 45 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_WRONG_THREAD, 47 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_IN_USE, 48 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_POOL_CLOSED, 49 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_NOT_SHARED, 50 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_TOO_MANY_POOLS, 51 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_NOT_MOVABLE, 53 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_EXPORTS_FULL, 55 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_ADDRESS, 56 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_DEADLOCK, 57 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_AUDIT_OFF, 58 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_STRUCT_SIZE, 60 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_UNKNOWN_FIELD, 61 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_EVENT, 62 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_DEADLINES_OFF, 63 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_NO_DEADLINE, 64 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_DRAINING, 65 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_IN_PLACE, 66 * 65536);
    CHECK_NUMBER(0 - DEMUXBUF_ERR_LOOKED_AT, 67 * 65536);
}

static void actions_str_is_cut_and_returns_its_length(void) {
    static const char whole[] = "RECV|DECODE";
    for (size_t room = 0; room <= sizeof whole + 1; room++) {
        char text[32];
        FILL(text);
        CHECK_NUMBER(demuxbuf_actions_str(DEMUXBUF_RECV | DEMUXBUF_DECODE, text, room), sizeof whole);
        size_t written = room < sizeof whole ? room : sizeof whole;
        CHECK(written == 0 || (text[written - 1] == 0 && strncmp(text, whole, written - 1) == 0));
        check_pattern(text + written, sizeof text - written, "what is behind the text", __FILE__, __LINE__);
    }
    CHECK_NUMBER(demuxbuf_actions_str(0, NULL, SIZE_MAX), sizeof "NONE");
    CHECK_NUMBER(demuxbuf_actions_str((uint32_t)DEMUXBUF_ERR_NULL, NULL, 0),
                 strlen(demuxbuf_strerror(DEMUXBUF_ERR_NULL)) + 1);
}

static void header_version_is_the_library_version(void) {
    CHECK_NUMBER(demuxbuf_version(), DEMUXBUF_VERSION);
    CHECK_NUMBER(DEMUXBUF_VERSION >> 16, DEMUXBUF_VERSION_MAJOR);
    CHECK_NUMBER((DEMUXBUF_VERSION >> 8) & 0xff, DEMUXBUF_VERSION_MINOR);
    CHECK_NUMBER(DEMUXBUF_VERSION & 0xff, DEMUXBUF_VERSION_PATCH);
}

int main(void) {
    strerror_texts_are_distinct();
    s66_error_status_has_no_action_bits();
    strerror_of_unknown_numbers();
    inline_status_equals_its_twin();
    action_bits_are_distinct();
    numbers_can_be_negated();
    actions_str_is_cut_and_returns_its_length();
    header_version_is_the_library_version();
    return check_end();
}
