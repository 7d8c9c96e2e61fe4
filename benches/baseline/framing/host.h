/* What every decoder of frames is measured in: a server that receives what a client sends, a buffer at a time. A
 * decoder is a source file that includes this one and defines what is declared here. It takes from each frame what only
 * its payload has (the increment of a WINDOW_UPDATE, the eight bytes of a PING or a BEGIN_REQUEST), so that none is
 * merely skipped.
 *
 * Usage: PROGRAM FILE PROLOGUE_BYTES TIMES; what is behind the prologue is decoded TIMES times. Prints the frames, the
 * bytes of their payloads, the sum of what was taken from them, and the nanoseconds of the processor that they took. */
#ifndef HOST_H
#define HOST_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What one receive brings at the most: a buffer's size. */
#define PIECE_BYTES 16384

enum { DATA = 0, PING = 6, WINDOW_UPDATE = 8 };

typedef struct {
    uint64_t frames;
    uint64_t payload_bytes;
    uint64_t content;
} counts_t;

static counts_t counts;

/* Gets ready, and takes the prologue, if any: what must come before frames that are all alike. */
static void start(const uint8_t *prologue, size_t bytes);
/* Returns how many bytes it took; the remaining ones come again, in front of the next. */
static size_t decode(const uint8_t *data, size_t bytes);
static void finish(void);

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static inline void count(uint32_t payload_bytes) {
    counts.frames++;
    counts.payload_bytes += payload_bytes;
}

static inline void count_eight(const uint8_t *payload) {
    uint64_t content;
    memcpy(&content, payload, sizeof content);
    counts.content += content;
}

static void receive(const uint8_t *data, size_t bytes) {
    size_t taken = 0, received = 0;
    while (received < bytes) {
        received += bytes - received < PIECE_BYTES ? bytes - received : PIECE_BYTES;
        taken += decode(data + taken, received - taken);
    }
    if (taken != bytes)
        fail("a part of a frame is left");
}

static uint8_t *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        fail(path);
    *bytes = (size_t)ftell(file);
    uint8_t *data = malloc(*bytes);
    rewind(file);
    if (data == NULL || fread(data, 1, *bytes, file) != *bytes)
        fail(path);
    fclose(file);
    return data;
}

/* Of this process alone: it does not matter how often another one has its turn. */
static uint64_t processor_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv) {
    size_t bytes;
    if (argc != 4)
        fail("usage: PROGRAM FILE PROLOGUE_BYTES TIMES");
    uint8_t *data = read_file(argv[1], &bytes);
    size_t prologue = strtoul(argv[2], NULL, 10);
    uint64_t times = strtoull(argv[3], NULL, 10);
    start(data, prologue);
    counts = (counts_t){0};
    uint64_t begin = processor_ns();
    for (uint64_t time = 0; time < times; time++)
        receive(data + prologue, bytes - prologue);
    uint64_t spent = processor_ns() - begin;
    finish();
    free(data);
    printf("%llu %llu %llu %llu\n", (unsigned long long)counts.frames, (unsigned long long)counts.payload_bytes,
           (unsigned long long)counts.content, (unsigned long long)spent);
    return 0;
}

#endif
