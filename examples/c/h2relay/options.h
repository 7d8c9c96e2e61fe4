/* The command line. */
#ifndef H2RELAY_OPTIONS_H
#define H2RELAY_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* A socket address of any family. */
struct address {
    struct sockaddr_storage storage;
    socklen_t bytes;
};

/* The tenant that a connection requests buffers for. */
enum tenant_kind {
    TENANT_NONE,     /* the default tenant: all are served alike */
    TENANT_LISTENER, /* that of the address it connected to */
    TENANT_ADDRESS,  /* that of the network it came from: /24 of IPv4, /48 of IPv6 */
};

enum { LISTENERS_MAX = 16, THREADS_MAX = 256 };

struct options {
    struct address listen[LISTENERS_MAX];
    uint32_t listeners;
    struct address backend;
    uint32_t memory_kib; /* all memory of the pool */
    uint32_t buffer_bytes;
    uint32_t grace_ms; /* of a frame, while memory is short */
    enum tenant_kind tenant;
    uint32_t tenants_max;
    uint32_t connections_max;
    uint32_t threads;
    bool static_buffers;
    bool counting;
    bool edge_triggered;
    bool quiet;
    const char *json; /* NULL for none */
};

/* Reads the command line. Does not return if it asks for help (exit status 0) or is wrong (exit status 2). */
void options_parse(struct options *options, int argc, char **argv);

#endif
