#define _GNU_SOURCE
#include "stats.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What receivers have and want now. */
struct held {
    uint64_t client_buffers;
    uint64_t backend_buffers;
    uint64_t keeping; /* receivers that keep a part of a frame without a buffer */
    uint64_t waiting; /* receivers that wait for room */
    uint64_t bytes;
};

static void add(struct figures *figures, const char *name, uint64_t value) {
    assert(figures->count < FIGURES_MAX);
    struct figure *figure = &figures->list[figures->count++];
    snprintf(figure->name, sizeof figure->name, "%s", name);
    figure->value = value;
    figure->is_peak = false;
}

/* The first thread reports what is common to all threads, so that the sums are right. */
static void add_once(struct figures *figures, const struct relay *relay, const char *name, uint64_t value) {
    add(figures, name, relay->thread == 0 ? value : 0);
}

/* A pool is common to all threads, so only the first reports it; static buffers are each thread's own. */
static bool reports_pool(const struct relay *relay) {
    return relay->thread == 0 || relay->options->static_buffers;
}

static void add_pool(struct figures *figures, const struct relay *relay, const char *name, uint64_t value) {
    add(figures, name, reports_pool(relay) ? value : 0);
}

/* Of all threads the greatest counts, not the sum. */
static void add_peak(struct figures *figures, const char *name, uint64_t value) {
    add(figures, name, value);
    figures->list[figures->count - 1].is_peak = true;
}

static void add_frames(struct figures *figures, const char *side, const struct frame_counts *counts) {
    for (uint32_t kind = 0; kind < FRAME_KINDS; kind++) {
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "frames_%s_%s", side, FRAME_NAMES[kind]);
        add(figures, name, counts->by_kind[kind]);
    }
}

static uint64_t look_at(struct endpoint *endpoint, struct held *held) {
    demuxbuf_receiver_info info = {.struct_size = sizeof(demuxbuf_receiver_info)};
    if (endpoint->registration.fd < 0) {
        return 0;
    }
    endpoint->inlet.buffers->kind->describe(&endpoint->inlet, &info);
    held->bytes += info.buffered_bytes;
    held->keeping += info.hold == 1 && info.buffered_bytes > 0 ? 1 : 0;
    held->waiting += info.waiting != 0 ? 1 : 0;
    return info.hold == 2 ? 1 : 0;
}

static struct held held_now(struct relay *relay) {
    struct held held = {0};
    for (struct list *link = relay->pairs.next; link != &relay->pairs; link = link->next) {
        struct pair *pair = LIST_OWNER(link, struct pair, link);
        held.client_buffers += look_at(&pair->client, &held);
        held.backend_buffers += look_at(&pair->backend, &held);
    }
    return held;
}

static uint64_t rss_bytes(void) {
    unsigned long long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm != NULL) {
        if (fscanf(statm, "%*u %llu", &pages) != 1) {
            pages = 0;
        }
        fclose(statm);
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void add_buffers(struct figures *figures, struct relay *relay) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof(demuxbuf_pool_stats)};
    relay->buffers.kind->get_stats(&relay->buffers, &stats);
    struct held held = held_now(relay);
    add(figures, "receivers", stats.receivers);
    add_pool(figures, relay, "buffers", stats.buffers);
    add_once(figures, relay, "buffer_bytes", relay->options->buffer_bytes);
    add_pool(figures, relay, "free", stats.free);
    add_pool(figures, relay, "leased", stats.leased);
    add_pool(figures, relay, "assigned", stats.assigned);
    add_pool(figures, relay, "leased_peak", stats.leased_peak);
    add(figures, "waiting", held.waiting);
    add(figures, "keeping", held.keeping);
    add_once(figures, relay, "grace_ms", relay->options->grace_ms);
    add_pool(figures, relay, "granted_by_handoff", stats.granted_by_handoff);
    add(figures, "copied_bytes", stats.copied_bytes);
    add(figures, "full_kernels", stats.full_kernels);
    add(figures, "received_bytes", stats.received_bytes);
    add(figures, "dropped_bytes", stats.dropped_bytes);
    add_pool(figures, relay, "memory_bytes", stats.memory_bytes);
    add(figures, "claims", stats.claims);
    add(figures, "grants", stats.grants);
    add(figures, "trials", stats.trials);
    add(figures, "shed_at_deadline", stats.shed_at_deadline);
    add(figures, "evicted", stats.evicted);
    add(figures, "shed_for_memory", stats.shed_for_memory);
    add_peak(figures, "longest_claim_ns", stats.longest_claim_ns);
    add_once(figures, relay, "wait_ns_max", stats.wait_ns_max);
    add(figures, "receive_bytes_used", held.bytes);
    add(figures, "client_buffers_held", held.client_buffers);
    add(figures, "backend_buffers_held", held.backend_buffers);
}

void stats_collect(struct figures *figures, struct relay *relay) {
    const struct relay_counts *counts = &relay->counts;
    figures->count = 0;
    add_once(figures, relay, "uptime_ns", loop_now_ns() - relay->common->started_ns);
    add_once(figures, relay, "connections", atomic_load(&relay->common->connections));
    add_once(figures, relay, "connections_peak", atomic_load(&relay->common->connections_peak));
    add(figures, "connections_total", counts->connections_total);
    add(figures, "refused", counts->refused);
    add_buffers(figures, relay);
    add_once(figures, relay, "tenants", atomic_load(&relay->common->tenants.count));
    add(figures, "relayed_bytes", counts->relayed_bytes);
    add(figures, "shed", counts->shed);
    add(figures, "goaway_sent", counts->goaway_sent);
    add(figures, "protocol_errors", counts->protocol_errors);
    add(figures, "backends_lost", counts->backends_lost);
    add(figures, "truncated_frames", counts->truncated_frames);
    add(figures, "misuses", counts->misuses);
    add(figures, "oversized_headers", counts->client_frames.oversized + counts->backend_frames.oversized);
    add(figures, "requests", counts->client_frames.streams_opened);
    add(figures, "responses_ended", counts->backend_frames.streams_ended);
    add_frames(figures, "client", &counts->client_frames);
    add_frames(figures, "backend", &counts->backend_frames);
    add(figures, "threads", 1);
    add(figures, "wakes", counts->wakes);
    add(figures, "iterations", counts->iterations);
    add_peak(figures, "clock_gap_max_ns", counts->clock_gap_max_ns);
    add_peak(figures, "iteration_max_ns", relay->loop.iteration_max_ns);
    add(figures, "epoll_ctl_calls", relay->loop.ctl_calls);
    add(figures, "recv_calls", counts->recv_calls);
    add(figures, "send_calls", counts->send_calls);
    add_once(figures, relay, "rss_bytes", relay->thread == 0 ? rss_bytes() : 0);
}

static void print_text(const struct figures *figures, FILE *out) {
    for (uint32_t index = 0; index < figures->count; index++) {
        const struct figure *figure = &figures->list[index];
        fprintf(out, "%-32s%20llu\n", figure->name, (unsigned long long)figure->value);
    }
    fflush(out);
}

static void print_json(const struct figures *figures, FILE *out) {
    for (uint32_t index = 0; index < figures->count; index++) {
        const struct figure *figure = &figures->list[index];
        fprintf(out, "%s\"%s\": %llu", index == 0 ? "{" : ", ", figure->name, (unsigned long long)figure->value);
    }
    fputs("}\n", out);
}

static void write_json(const struct figures *figures, const char *path) {
    char temporary[4096];
    int length = snprintf(temporary, sizeof temporary, "%s.new", path);
    FILE *out = length > 0 && (size_t)length < sizeof temporary ? fopen(temporary, "we") : NULL;
    if (out == NULL) {
        fprintf(stderr, "h2relay: --json \"%s\": %s\n", path, strerror(errno));
        return;
    }
    print_json(figures, out);
    bool is_written = ferror(out) == 0;
    is_written = fclose(out) == 0 && is_written;
    if (!is_written || rename(temporary, path) != 0) {
        fprintf(stderr, "h2relay: --json \"%s\": %s\n", path, strerror(errno));
        unlink(temporary);
    }
}

void stats_add(struct figures *sum, const struct figures *figures) {
    for (uint32_t index = 0; index < sum->count; index++) {
        struct figure *figure = &sum->list[index];
        uint64_t value = figures->list[index].value;
        figure->value = !figure->is_peak ? figure->value + value : figure->value < value ? value : figure->value;
    }
}

void stats_report(const struct figures *figures, const struct options *options) {
    if (!options->quiet) {
        print_text(figures, stderr);
    }
    if (options->json != NULL) {
        write_json(figures, options->json);
    }
}
