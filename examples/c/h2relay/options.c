#define _GNU_SOURCE
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMORY_KIB_DEFAULT = 1024 };

static const char USAGE[] =
    "Usage: h2relay --backend HOST:PORT [OPTION]...\n"
    "Relays HTTP/2 connections (without TLS) to a backend, one to one, receiving into a bounded memory.\n"
    "\n"
    "  --listen HOST:PORT    where to listen; port 0 takes a free one; up to 16 times (default 127.0.0.1:0)\n"
    "  --backend HOST:PORT   where to connect to\n"
    "  --memory-kib N        all memory for received bytes, 1 to 4294967295, at least 8 buffers for each thread; only\n"
    "                        partial frames keep some of it (default 1024 for each thread)\n"
    "  --buffer-size BYTES   size of a buffer, the largest frame that is passed on whole: a multiple of 64, 128 to\n"
    "                        16777216 (default 16448)\n"
    "  --grace-ms MS         while memory is short, how long a frame may take beside the time that its length allows, "
    "1 to\n"
    "                        3600000; a side that does not read has twice as long (default 1000)\n"
    "  --tenant KIND         what shares fairly: none, listener (clients of one listener), address (clients from the\n"
    "                        same /24 of IPv4 or /48 of IPv6) (default none)\n"
    "  --tenants N           most tenants at once, 1 to 1000000; clients of further ones share one (default 1024)\n"
    "  --static-buffers      no pool: a buffer for each connection and direction\n"
    "  --counting            while memory is short, leave partial frames in the kernel until they are whole\n"
    "  --edge-triggered      edge-triggered read interest (EPOLLET)\n"
    "  --connections N       most clients at once, 1 to 1000000; more are closed at once (default 4096)\n"
    "  --threads N           event loops, 1 to 256, each with a listener of its own (SO_REUSEPORT); several share\n"
    "                        the memory and the tenants (default 1)\n"
    "  --json FILE           write statistics there on SIGUSR1 and at exit\n"
    "  --quiet               print no statistics\n"
    "  --help                print this and exit\n";

enum {
    LISTEN = 1,
    BACKEND,
    BUFFER_SIZE,
    MEMORY_KIB,
    GRACE_MS,
    TENANT,
    TENANTS,
    STATIC_BUFFERS,
    COUNTING,
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
    {"buffer-size", required_argument, NULL, BUFFER_SIZE},
    {"memory-kib", required_argument, NULL, MEMORY_KIB},
    {"grace-ms", required_argument, NULL, GRACE_MS},
    {"tenant", required_argument, NULL, TENANT},
    {"tenants", required_argument, NULL, TENANTS},
    {"static-buffers", no_argument, NULL, STATIC_BUFFERS},
    {"counting", no_argument, NULL, COUNTING},
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
    case BUFFER_SIZE: options->buffer_bytes = parse_number("buffer-size", value, 128, 16777216, 64); break;
    case MEMORY_KIB: options->memory_kib = parse_number("memory-kib", value, 1, UINT32_MAX, 1); break;
    case GRACE_MS: options->grace_ms = parse_number("grace-ms", value, 1, 3600000, 1); break;
    case TENANT: options->tenant = parse_tenant(value); break;
    case TENANTS: options->tenants_max = parse_number("tenants", value, 1, 1000000, 1); break;
    case STATIC_BUFFERS: options->static_buffers = true; break;
    case COUNTING: options->counting = true; break;
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

/* There is no pool whose memory it could be, or run short. */
static void set_memory(struct options *options) {
    if (options->counting && options->static_buffers) {
        fputs("h2relay: --counting is given; it goes without --static-buffers\n", stderr);
        exit(2);
    }
    if (options->memory_kib > 0 && options->static_buffers) {
        fprintf(stderr, "h2relay: --memory-kib is \"%u\"; allowed is none with --static-buffers\n",
                options->memory_kib);
        exit(2);
    }
    options->memory_kib = options->memory_kib > 0 ? options->memory_kib : MEMORY_KIB_DEFAULT * options->threads;
}

void options_parse(struct options *options, int argc, char **argv) {
    *options = (struct options){
        .buffer_bytes = 16448,
        .grace_ms = 1000,
        .tenants_max = 1024,
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
    set_memory(options);
}
