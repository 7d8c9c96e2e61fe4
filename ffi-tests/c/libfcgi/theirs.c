#include "theirs.h"

#include <fcgiapp.h>
#include <unistd.h>

static const char *const roles[] = {"", "RESPONDER", "AUTHORIZER", "FILTER"};

/* Reads a stream to its end in pieces. */
static void read_stream(FCGX_Stream *stream, struct value *value, uint64_t *random) {
    char piece[5000];
    int count, wanted;
    value->length = 0;
    do {
        wanted = 1 + (int)below(random, sizeof piece);
        count = FCGX_GetStr(piece, wanted, stream);
        value_add(value, (const uint8_t *)piece, (uint32_t)count);
    } while (count == wanted);
}

static void read_request(struct theirs *theirs, FCGX_Request *request, uint64_t *random) {
    struct request *seen = &theirs->seen;
    const char *role = FCGX_GetParam("FCGI_ROLE", request->envp);
    seen->role = 0;
    for (uint32_t at = RESPONDER; at <= FILTER; at++) {
        seen->role = role != NULL && strcmp(role, roles[at]) == 0 ? at : seen->role;
    }
    seen->params.length = seen->in.length = seen->data.length = 0;
    /* The first one is the role, which was not sent. */
    for (char **pair = request->envp + 1; *pair != NULL; pair++) {
        value_add(&seen->params, (const uint8_t *)*pair, (uint32_t)strlen(*pair) + 1);
    }
    if (seen->role != AUTHORIZER) {
        read_stream(request->in, &seen->in, random);
    }
    if (seen->role == FILTER && FCGX_GetError(request->in) == 0) {
        DEMAND(FCGX_StartFilterData(request->in) == 0);
        read_stream(request->in, &seen->data, random);
    }
    theirs->has_failed = FCGX_GetError(request->in) != 0;
}

/* Writes both streams, in pieces by turns. */
static void write_response(const struct request *answer, FCGX_Request *request, uint64_t *random) {
    uint32_t out = 0, err = 0;
    while (out < answer->out.length || err < answer->err.length) {
        int is_out = err == answer->err.length || (out < answer->out.length && below(random, 3) > 0);
        const struct value *value = is_out ? &answer->out : &answer->err;
        uint32_t *at = is_out ? &out : &err, left = value->length - *at, piece = 1 + below(random, 9000);
        FCGX_Stream *stream = is_out ? request->out : request->err;
        piece = piece < left ? piece : left;
        if (FCGX_PutStr((const char *)value->bytes + *at, (int)piece, stream) < 0) {
            return;
        }
        if (below(random, 3) == 0) {
            FCGX_FFlush(stream);
        }
        *at += piece;
    }
    FCGX_SetExitStatus((int)answer->status, request->out);
}

static void *run(void *argument) {
    struct theirs *theirs = argument;
    FCGX_Request request;
    int is_last = 0;
    DEMAND(FCGX_InitRequest(&request, theirs->listener, 0) == 0);
    while (!is_last) {
        DEMAND(FCGX_Accept_r(&request) == 0);
        pthread_mutex_lock(&theirs->lock);
        const struct request *answer = theirs->answer;
        uint64_t random = theirs->random;
        is_last = theirs->is_last;
        read_request(theirs, &request, &random);
        theirs->answered++;
        pthread_mutex_unlock(&theirs->lock);
        write_response(answer, &request, &random);
        FCGX_Finish_r(&request);
    }
    FCGX_Free(&request, 1);
    return NULL;
}

void theirs_start(struct theirs *theirs, const char *path) {
    CHECK_NUMBER(FCGX_Init(), 0);
    theirs->listener = FCGX_OpenSocket(path, 16);
    CHECK(theirs->listener >= 0);
    CHECK_NUMBER(pthread_mutex_init(&theirs->lock, NULL), 0);
    CHECK_NUMBER(pthread_create(&theirs->thread, NULL, run, theirs), 0);
}

void theirs_expect(struct theirs *theirs, const struct request *answer, uint64_t random, int is_last) {
    pthread_mutex_lock(&theirs->lock);
    theirs->answer = answer;
    theirs->random = random;
    theirs->is_last = is_last;
    pthread_mutex_unlock(&theirs->lock);
}

void theirs_join(struct theirs *theirs) {
    CHECK_NUMBER(pthread_join(theirs->thread, NULL), 0);
    close(theirs->listener);
    pthread_mutex_destroy(&theirs->lock);
}
