#define _GNU_SOURCE
#include "crew.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static uint32_t threads_of(const struct crew *crew) {
    return crew->common.options->threads;
}

/* The end of each loop iteration of a thread that is not the first. */
static void answer(struct worker *worker) {
    struct crew *crew = worker->crew;
    if (atomic_exchange(&worker->is_asked, false)) {
        stats_collect(&worker->figures, &worker->relay);
        if (atomic_fetch_sub(&crew->unanswered, 1) == 1) {
            relay_wake(&crew->common, 0);
        }
    }
}

/* All of a thread's life, from its pool to its last figures: the pool is for this thread alone. */
static void *work(void *argument) {
    struct worker *worker = argument;
    struct crew *crew = worker->crew;
    struct relay *relay = &worker->relay;
    uint32_t index = (uint32_t)(worker - crew->workers);
    if (relay_open(relay, &crew->common, index)) {
        worker->is_open = relay_listen(relay);
        bool is_open = worker->is_open;
        sem_post(&crew->opened);
        while (is_open && !atomic_load(&crew->is_over)) {
            relay_iterate(relay);
            answer(worker);
        }
        relay_close_all(relay);
        stats_collect(&worker->figures, relay);
        relay_close(relay);
    } else {
        sem_post(&crew->opened);
    }
    return NULL;
}

/* Starts a thread; true once it is ready. */
static bool start(struct worker *worker) {
    int error = pthread_create(&worker->thread, NULL, work, worker);
    worker->is_started = error == 0;
    if (error != 0) {
        fprintf(stderr, "h2relay: cannot start a thread: %s\n", strerror(error));
        return false;
    }
    while (sem_wait(&worker->crew->opened) != 0) {
    }
    return worker->is_open;
}

static void end_others(struct crew *crew) {
    atomic_store(&crew->is_over, true);
    for (uint32_t index = 1; index < threads_of(crew); index++) {
        if (crew->workers[index].is_started) {
            relay_wake(&crew->common, index);
            pthread_join(crew->workers[index].thread, NULL);
        }
    }
}

static void free_all(struct crew *crew) {
    demuxbuf_shared_pool_free(crew->common.shared_pool);
    tenants_close(&crew->common.tenants);
    for (uint32_t index = 0; index < threads_of(crew); index++) {
        if (crew->common.wake_fds[index] >= 0) {
            close(crew->common.wake_fds[index]);
        }
    }
    sem_destroy(&crew->opened);
    free(crew->workers);
}

/* The state of each thread before it starts. */
static bool reserve(struct crew *crew) {
    const struct options *options = crew->common.options;
    char message[256] = "no memory";
    bool has_fds = true;
    for (uint32_t index = 0; index < options->threads; index++) {
        crew->common.wake_fds[index] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        has_fds = has_fds && crew->common.wake_fds[index] >= 0;
    }
    crew->workers = calloc(options->threads, sizeof *crew->workers);
    bool has_table = tenants_open(&crew->common.tenants, options);
    if (!has_fds || !has_table || crew->workers == NULL) {
        fprintf(stderr, "h2relay: %s\n", strerror(errno));
        return false;
    }
    if (options->threads > 1 && !options->static_buffers &&
        !buffers_open_shared_pool(&crew->common.shared_pool, options, message, sizeof message)) {
        fprintf(stderr, "h2relay: %s\n", message);
        return false;
    }
    return true;
}

bool crew_open(struct crew *crew, const struct options *options, struct registration *signals) {
    *crew = (struct crew){.common = {.options = options, .started_ns = loop_now_ns()}};
    sem_init(&crew->opened, 0, 0);
    bool is_reserved = reserve(crew);
    struct relay *first = is_reserved ? &crew->workers[0].relay : NULL;
    if (!is_reserved || !relay_open(first, &crew->common, 0)) {
        free_all(crew);
        return false;
    }
    bool is_open = relay_listen(first);
    if (is_open && !loop_set(&first->loop, signals, EPOLLIN)) {
        fprintf(stderr, "h2relay: %s\n", strerror(errno));
        is_open = false;
    }
    for (uint32_t index = 1; is_open && index < options->threads; index++) {
        crew->workers[index].crew = crew;
        is_open = start(&crew->workers[index]);
    }
    if (!is_open) {
        end_others(crew);
        relay_close(first);
        free_all(crew);
        return false;
    }
    relay_announce(&crew->common);
    return true;
}

/* Prints with current figures of the first thread, which calls this. */
static void report(struct crew *crew) {
    struct relay *first = &crew->workers[0].relay;
    struct figures sum;
    /* For the files. */
    relay_free_descriptor(first);
    stats_collect(&sum, first);
    for (uint32_t index = 1; index < threads_of(crew); index++) {
        stats_add(&sum, &crew->workers[index].figures);
    }
    stats_report(&sum, crew->common.options);
    relay_keep_descriptor(first);
}

void crew_ask(struct crew *crew) {
    if (crew->is_reporting) {
        /* Some have answered already, and not about what they do now. */
        crew->is_asked_again = true;
        return;
    }
    crew->is_reporting = true;
    atomic_store(&crew->unanswered, threads_of(crew) - 1);
    for (uint32_t index = 1; index < threads_of(crew); index++) {
        atomic_store(&crew->workers[index].is_asked, true);
        relay_wake(&crew->common, index);
    }
}

void crew_iterate(struct crew *crew) {
    relay_iterate(&crew->workers[0].relay);
    while (crew->is_reporting && atomic_load(&crew->unanswered) == 0) {
        report(crew);
        crew->is_reporting = false;
        if (crew->is_asked_again) {
            crew->is_asked_again = false;
            crew_ask(crew);
        }
    }
}

bool crew_close(struct crew *crew) {
    struct relay *first = &crew->workers[0].relay;
    relay_close_all(first);
    end_others(crew);
    relay_pick_up(first);
    report(crew);
    relay_close(first);
    uint64_t misuses = 0;
    for (uint32_t index = 0; index < threads_of(crew); index++) {
        misuses += crew->workers[index].relay.counts.misuses;
    }
    free_all(crew);
    return misuses == 0;
}
