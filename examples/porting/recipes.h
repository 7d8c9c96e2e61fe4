/* Pieces of proxies that docs/porting.md shows. ffi-tests/c/porting.c tests each. */
#ifndef PORTING_RECIPES_H
#define PORTING_RECIPES_H

#include <demuxbuf.h>
#include <stdio.h>
#include <string.h>

/* Classes of a two-sided proxy. Whatever a holder may ask for while it holds is more critical than what it holds. */
enum proxy_class {
    TO_CLIENT,   /* to send a response from; the client drains it, nothing more is asked for */
    FROM_SERVER, /* to collect a response in; asks for TO_CLIENT */
    TO_SERVER,   /* to send a request from; asks for FROM_SERVER */
    RECEIVED,    /* the last: of receivers, and for what is taken from them; asks for TO_SERVER */
    PROXY_CLASSES
};

/* For 16 buffers and more. */
static inline void set_classes(demuxbuf_pool_config *config) {
    uint32_t buffers = (uint32_t)(config->memory_bytes / config->buffer_bytes), step = buffers < 64 ? 1 : buffers / 32;
    config->classes = PROXY_CLASSES;
    for (uint32_t class_index = TO_CLIENT; class_index <= TO_SERVER; class_index++)
        config->reserves[class_index] = class_index * step; /* close together: each class that finishes has a step */
    config->reserves[RECEIVED] = buffers * 2 / 5;           /* new work ends at 60 % */
    config->class_caps[TO_CLIENT] = buffers / 2;            /* clients that do not read leave the other half */
}

/* Cuts bytes out of the middle of what is buffered, in a buffer of the host's own. The machine only counts: bytes that
   are cut anywhere are consumed. */
static inline uint32_t cut_out(demuxbuf_connection *machine, uint8_t *data, uint32_t at, uint32_t bytes) {
    uint32_t behind = demuxbuf_connection_buffered_bytes_inline(machine) - at - bytes;
    memmove(data + at, data + at + bytes, behind);
    return demuxbuf_connection_consumed(machine, bytes);
}

/* Hands the frame at the front on in the buffer that it was received into. 0: it must be copied: no buffer is free in
   place of this one, or a part of the next frame is behind it, whose rest will arrive in another buffer. */
static inline int hand_on(demuxbuf_pool *pool, uint64_t receiver, const demuxbuf_step *step, uint32_t frame,
                          demuxbuf_leased_content *content) {
    return step->bytes == frame && demuxbuf_receiver_take(pool, receiver, content) == DEMUXBUF_OK;
}

/* On the thread that has the connection, once another thread has asked for it. 0: not now; the connection stays. */
static inline int give_up(demuxbuf_pool *pool, uint64_t receiver, demuxbuf_exported_receiver *exported) {
    return demuxbuf_receiver_export(pool, receiver, exported) == DEMUXBUF_OK;
}

/* On the thread that asked. `*is_armed`: the socket is to be registered for reading with the poller of this thread.
   Then do what is pending. 0: no room here; the struct is as it was and can be imported elsewhere. */
static inline int take_over(demuxbuf_pool *pool, demuxbuf_exported_receiver *exported, uint64_t *receiver,
                            int *is_armed) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    if (demuxbuf_receiver_import(pool, exported, receiver) != DEMUXBUF_OK)
        return 0;
    demuxbuf_receiver_describe(pool, *receiver, &info);
    *is_armed = info.armed;
    return 1;
}

/* Moves a connection to a pool with other settings, with a copy of what is buffered. Then take the socket out of the
   poller and report again what you had reported (block, pause_recv, the end of the stream). 0: the new pool has no room
   for it now; the connection stays where it is. In both cases, do what is pending. */
static inline int move_to_pool(demuxbuf_pool *from, uint64_t *receiver, demuxbuf_pool *to, uint32_t class_index) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    demuxbuf_step step = demuxbuf_receiver_pending(from, *receiver);
    uint64_t moved;
    int is_readable = (step.actions & DEMUXBUF_RECV) != 0;
    if (is_readable) /* `data` is the room then, not what is buffered */
        step = demuxbuf_receiver_would_block(from, *receiver);
    int is_known = demuxbuf_receiver_describe(from, *receiver, &info) == DEMUXBUF_OK;
    demuxbuf_attach_options options = {.struct_size = sizeof options, .class_index = class_index, .token = info.token};
    options.bytes = step.data, options.length = info.buffered_bytes;
    if (!is_known || demuxbuf_receiver_attach(to, &options, &moved, NULL, NULL) != DEMUXBUF_OK) {
        if (is_readable)
            demuxbuf_receiver_readable(from, *receiver);
        return 0;
    }
    demuxbuf_receiver_close(from, *receiver);
    *receiver = moved;
    return 1;
}

/* Changes how much memory a pool uses, and returns what it does not use to the system. 1: no more is in use; else call
   it again later. */
static inline int limit_memory(demuxbuf_pool *pool, uint64_t limit_bytes) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    uint64_t trimmed_bytes;
    return demuxbuf_pool_set_memory_limit(pool, limit_bytes, NULL, NULL) == DEMUXBUF_OK &&
           demuxbuf_pool_trim(pool, &trimmed_bytes) == DEMUXBUF_OK &&
           demuxbuf_pool_get_stats(pool, &stats) == DEMUXBUF_OK && stats.to_withhold == 0;
}

/* What a connection waits for, in one line. */
static inline void print_receiver(FILE *log, const demuxbuf_pool *pool, uint64_t receiver) {
    static const char *const ends[] = {"open", "ended", "broken"}, *const holds[] = {"nothing", "a part", "a buffer"};
    static const char *const sheds[] = {"", ", shed at its deadline", ", evicted", ", shed for memory"};
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    char actions[200];
    if (demuxbuf_receiver_describe(pool, receiver, &info) != DEMUXBUF_OK)
        return;
    demuxbuf_actions_str(info.pending, actions, sizeof actions);
    fprintf(log, "%llu: %s, holds %s, %u of %u bytes, pending %s", (unsigned long long)info.token, ends[info.end],
            holds[info.hold], info.buffered_bytes, info.capacity, actions);
    if (info.needed_bytes != 0)
        fprintf(log, ", needs %u", info.needed_bytes);
    if (info.blocked != 0)
        fprintf(log, ", blocked by %#x", info.blocked);
    if (info.waiting)
        fprintf(log, ", queued for %llu ms", (unsigned long long)info.wait_age_ns / 1000000);
    fprintf(log, "%s%s%s%s%s\n", info.armed ? ", armed" : "", info.paused ? ", paused" : "", info.full ? ", full" : "",
            info.yielded ? ", yielded" : "", sheds[info.shed_reason]);
}

/* What a pool is short of, in one line. */
static inline void print_pool(FILE *log, const demuxbuf_pool *pool) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    if (demuxbuf_pool_get_stats(pool, &stats) != DEMUXBUF_OK)
        return;
    fprintf(log, "%u of %u buffers free, %u assigned; %u wait; %u receivers; longest wait %llu of %llu ms; %llu shed\n",
            stats.free, stats.buffers, stats.assigned, stats.waiting, stats.receivers,
            (unsigned long long)stats.longest_claim_ns / 1000000, (unsigned long long)stats.wait_ns_max / 1000000,
            (unsigned long long)stats.shed);
}

#endif
