#define _GNU_SOURCE
#include "options.h"

#include "budget.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFERS_DEFAULT = 64 };

static const char USAGE[] =
    "Usage: h2relay --backend HOST:PORT [OPTION]...\n"
    "Relays HTTP/2 connections (without TLS) to a backend, one to one, receiving into a bounded pool of buffers.\n"
    "\n"
    "  --listen HOST:PORT    where to listen; port 0 takes a free one; up to 16 times (default 127.0.0.1:0)\n"
    "  --backend HOST:PORT   where to connect to\n"
    "  --buffers N           receive buffers in the pool, 1 to 1000000 (default 64)\n"
    "  --buffer-size BYTES   size of each: a multiple of 64, 64 to 16777216 (default 16448)\n"
    "  --memory-kib N        instead of --buffers: as many as fit into this memory beside the parking slots, which\n"
    "                        get the rest; 1 to 4294967295\n"
    "  --memory-model        receivers share the memory of --memory-kib or --buffers by the memory model: only "
    "partial\n"
    "                        frames keep some of it, and each wait for it ends at a known time; no parking, one "
    "thread,\n"
    "                        no tenants; --lease-ms is the grace of a frame while memory is short, and twice that is\n"
    "                        the time for a peer that does not read\n"
    "  --park BYTES          largest partial frame to park, 0 to 4096; up to 64 at once, more only while others wait;\n"
    "                        0 turns parking and lifeline off (default 4096)\n"
    "  --slot-percent N      memory for slots of each size above 64 bytes (256, 1024, 4096, as --park needs them), in\n"
    "                        percent of the buffers', 0 to 100; there is one of 64 bytes for each side of each\n"
    "                        connection (default 100)\n"
    "  --lease-ms MS         while others wait, close a client that holds a buffer without progress for this time,\n"
    "                        0 to 3600000; asked to park after a quarter of it; 0 is never (default 2000)\n"
    "  --tenant KIND         what shares fairly: none, listener (clients of one listener), address (clients from the\n"
    "                        same /24 of IPv4 or /48 of IPv6) (default none)\n"
    "  --tenants N           most tenants at once, 1 to 1000000; clients of further ones share one (default 1024)\n"
    "  --class-reserve N     buffers that new requests leave free for responses and for what partial frames miss,\n"
    "                        0 to one less than --buffers (default an eighth of --buffers)\n"
    "  --static-buffers      no pool: a buffer for each connection and direction\n"
    "  --edge-triggered      edge-triggered read interest (EPOLLET)\n"
    "  --connections N       most clients at once, 1 to 1000000; more are closed at once (default 4096)\n"
    "  --threads N           event loops, 1 to 256, each with a listener of its own (SO_REUSEPORT); all share the "
    "pool;\n"
    "                        several allow no tenants (default 1)\n"
    "  --json FILE           write statistics there on SIGUSR1 and at exit\n"
    "  --quiet               print no statistics\n"
    "  --help                print this and exit\n";

enum {
    LISTEN = 1,
    BACKEND,
    BUFFERS,
    BUFFER_SIZE,
    MEMORY_KIB,
    MEMORY_MODEL,
    PARK,
    SLOT_PERCENT,
    LEASE_MS,
    TENANT,
    TENANTS,
    CLASS_RESERVE,
    STATIC_BUFFERS,
    EDGE_TRIGGERED,
    CONNECTIONS,
    THREADS,
    JSON,
    QUIET,
    HELP,
};

static const struct option LONG_OPTIONS[] = {
    {"listen", required_argument, NULL, LISTEN},
    {"backend", required_argument, NULL, BACKEND},
    {"buffers", required_argument, NULL, BUFFERS},
    {"buffer-size", required_argument, NULL, BUFFER_SIZE},
    {"memory-kib", required_argument, NULL, MEMORY_KIB},
    {"memory-model", no_argument, NULL, MEMORY_MODEL},
    {"park", required_argument, NULL, PARK},
    {"slot-percent", required_argument, NULL, SLOT_PERCENT},
    {"lease-ms", required_argument, NULL, LEASE_MS},
    {"tenant", required_argument, NULL, TENANT},
    {"tenants", required_argument, NULL, TENANTS},
    {"class-reserve", required_argument, NULL, CLASS_RESERVE},
    {"static-buffers", no_argument, NULL, STATIC_BUFFERS},
    {"edge-triggered", no_argument, NULL, EDGE_TRIGGERED},
    {"connections", required_argument, NULL, CONNECTIONS},
    {"threads", required_argument, NULL, THREADS},
    {"json", required_argument, NULL, JSON},
    {"quiet", no_argument, NULL, QUIET},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

_Noreturn static void refuse(const char *name, const char *value, const char *allowed) {
    fprintf(stderr, "h2relay: --%s is \"%s\"; allowed is %s\n", name, value, allowed);
    exit(2);
}

static uint32_t parse_number(const char *name, const char *value, uint32_t min, uint32_t max, uint32_t multiple_of) {
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    /* strtoull takes a sign and blanks, which are no numbers here. */
    bool is_number = value[0] >= '0' && value[0] <= '9' && *end == '\0' && errno == 0;
    if (!is_number || number < min || number > max || number % multiple_of != 0) {
        char allowed[80];
        if (multiple_of > 1) {
            snprintf(allowed, sizeof allowed, "a multiple of %u from %u to %u", multiple_of, min, max);
        } else {
            snprintf(allowed, sizeof allowed, "a number from %u to %u", min, max);
        }
        refuse(name, value, allowed);
    }
    return (uint32_t)number;
}

static void parse_address(struct address *address, const char *name, const char *value) {
    static const char ALLOWED[] = "HOST:PORT, an IPv6 address in brackets";
    const char *colon = strrchr(value, ':');
    if (colon == NULL || colon == value) {
        refuse(name, value, ALLOWED);
    }
    const char *start = value;
    size_t length = (size_t)(colon - value);
    if (value[0] == '[' && colon[-1] == ']') {
        start += 1;
        length -= 2;
    }
    char host[256];
    if (length == 0 || length >= sizeof host) {
        refuse(name, value, ALLOWED);
    }
    memcpy(host, start, length);
    host[length] = '\0';
    parse_number(name, colon + 1, 0, 65535, 1);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int status = getaddrinfo(host, colon + 1, &hints, &found);
    if (status != 0) {
        fprintf(stderr, "h2relay: --%s is \"%s\": %s\n", name, value, gai_strerror(status));
        exit(2);
    }
    memcpy(&address->storage, found->ai_addr, found->ai_addrlen);
    address->bytes = found->ai_addrlen;
    freeaddrinfo(found);
}

static void add_listener(struct options *options, const char *value) {
    if (options->listeners == LISTENERS_MAX) {
        fprintf(stderr, "h2relay: --listen is given more than %d times\n", LISTENERS_MAX);
        exit(2);
    }
    parse_address(&options->listen[options->listeners++], "listen", value);
}

static const char *const TENANT_NAMES[] = {"none", "listener", "address"};

static enum tenant_kind parse_tenant(const char *value) {
    for (int kind = TENANT_NONE; kind <= TENANT_ADDRESS; kind++) {
        if (strcmp(value, TENANT_NAMES[kind]) == 0) {
            return (enum tenant_kind)kind;
        }
    }
    refuse("tenant", value, "none, listener or address");
}

static void parse_option(struct options *options, int option, const char *value) {
    switch (option) {
    case LISTEN: add_listener(options, value); break;
    case BACKEND: parse_address(&options->backend, "backend", value); break;
    case BUFFERS: options->buffers = parse_number("buffers", value, 1, BUFFERS_MAX, 1); break;
    case BUFFER_SIZE: options->buffer_bytes = parse_number("buffer-size", value, 64, 16777216, 64); break;
    case MEMORY_KIB: options->memory_kib = parse_number("memory-kib", value, 1, UINT32_MAX, 1); break;
    case MEMORY_MODEL: options->memory_model = true; break;
    case PARK: options->park_bytes = (uint16_t)parse_number("park", value, 0, 4096, 1); break;
    case SLOT_PERCENT: options->slot_percent = parse_number("slot-percent", value, 0, 100, 1); break;
    case LEASE_MS: options->lease_ms = parse_number("lease-ms", value, 0, 3600000, 1); break;
    case TENANT: options->tenant = parse_tenant(value); break;
    case TENANTS: options->tenants_max = parse_number("tenants", value, 1, 1000000, 1); break;
    case CLASS_RESERVE: options->class_reserve = parse_number("class-reserve", value, 0, 999999, 1); break;
    case STATIC_BUFFERS: options->static_buffers = true; break;
    case EDGE_TRIGGERED: options->edge_triggered = true; break;
    case CONNECTIONS: options->connections_max = parse_number("connections", value, 1, 1000000, 1); break;
    case THREADS: options->threads = parse_number("threads", value, 1, THREADS_MAX, 1); break;
    case JSON: options->json = value; break;
    case QUIET: options->quiet = true; break;
    case HELP: fputs(USAGE, stdout); exit(0);
    default:
        /* getopt_long has printed the error. */
        fputs("h2relay: --help lists the options\n", stderr);
        exit(2);
    }
}

/* There is nothing beside the buffers; the library refuses too few of them. */
static uint32_t buffers_without_slots(const struct options *options) {
    uint64_t buffers = (uint64_t)options->memory_kib * 1024 / options->buffer_bytes;
    return buffers > BUFFERS_MAX ? BUFFERS_MAX : buffers == 0 ? 1 : (uint32_t)buffers;
}

/* Either is given, and the other follows from it. */
static void set_buffers(struct options *options) {
    if (options->memory_kib == 0) {
        options->buffers = options->buffers == 0 ? BUFFERS_DEFAULT : options->buffers;
        return;
    }
    if (options->static_buffers) {
        fprintf(stderr, "h2relay: --memory-kib is \"%u\"; allowed is none with --static-buffers\n",
                options->memory_kib);
        exit(2);
    }
    if (options->buffers > 0) {
        fprintf(stderr, "h2relay: --buffers is \"%u\"; allowed is none with --memory-kib\n", options->buffers);
        exit(2);
    }
    options->buffers = options->memory_model ? buffers_without_slots(options) : budget_buffers(options);
    if (options->buffers == 0) {
        fprintf(stderr,
                "h2relay: --memory-kib is \"%u\"; allowed is a number from %llu on with --connections %u, --threads %u "
                "and --buffer-size %u\n",
                options->memory_kib, (unsigned long long)budget_least_kib(options), options->connections_max,
                options->threads, options->buffer_bytes);
        exit(2);
    }
}

/* A given reserve must leave new work a buffer; the default follows from the number of buffers. */
static void set_reserve(struct options *options) {
    if (options->class_reserve == UINT32_MAX) {
        uint32_t eighth = options->buffers / 8;
        options->class_reserve = options->buffers < 2 ? 0 : eighth == 0 ? 1 : eighth;
    } else if (options->class_reserve >= options->buffers) {
        fprintf(stderr, "h2relay: --class-reserve is \"%u\"; allowed is a number from 0 to %u with --buffers %u\n",
                options->class_reserve, options->buffers - 1, options->buffers);
        exit(2);
    }
}

/* The turns of tenants need one place that decides, which a shared pool does not have. */
static void check_tenant(const struct options *options) {
    if (options->threads > 1 && options->tenant != TENANT_NONE) {
        fprintf(stderr, "h2relay: --tenant is \"%s\"; allowed is none with --threads %u\n",
                TENANT_NAMES[options->tenant], options->threads);
        exit(2);
    }
}

/* A pool on the memory model is for one thread, and its receivers have no tenants. */
static void check_memory_model(const struct options *options) {
    if (!options->memory_model) {
        return;
    }
    if (options->threads > 1) {
        fprintf(stderr, "h2relay: --threads is \"%u\"; allowed is 1 with --memory-model\n", options->threads);
        exit(2);
    }
    if (options->tenant != TENANT_NONE) {
        fprintf(stderr, "h2relay: --tenant is \"%s\"; allowed is none with --memory-model\n",
                TENANT_NAMES[options->tenant]);
        exit(2);
    }
    if (options->static_buffers) {
        fputs("h2relay: --static-buffers is given; allowed is none with --memory-model\n", stderr);
        exit(2);
    }
}

void options_parse(struct options *options, int argc, char **argv) {
    *options = (struct options){
        .buffer_bytes = 16448,
        .park_bytes = 4096,
        .slot_percent = 100,
        .lease_ms = 2000,
        .tenants_max = 1024,
        .class_reserve = UINT32_MAX,
        .connections_max = 4096,
        .threads = 1,
    };
    int option;
    while ((option = getopt_long(argc, argv, "", LONG_OPTIONS, NULL)) != -1) {
        parse_option(options, option, optarg);
    }
    if (optind < argc) {
        fprintf(stderr, "h2relay: \"%s\" is not an option; --help lists them\n", argv[optind]);
        exit(2);
    }
    if (options->backend.bytes == 0) {
        fputs("h2relay: --backend is missing; allowed is HOST:PORT\n", stderr);
        exit(2);
    }
    if (options->listeners == 0) {
        add_listener(options, "127.0.0.1:0");
    }
    set_buffers(options);
    set_reserve(options);
    check_tenant(options);
    check_memory_model(options);
}
