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

struct options {
    struct address listen;
    struct address backend;
    uint32_t buffers;
    uint32_t buffer_bytes;
    uint16_t park_bytes;
    uint32_t lease_ms; /* 0 for no deadline */
    uint32_t connections_max;
    bool static_buffers;
    bool edge_triggered;
    bool quiet;
    const char *json; /* NULL for none */
};

/* Reads the command line. Does not return if it asks for help (exit status 0) or is wrong (exit status 2). */
void options_parse(struct options *options, int argc, char **argv);

#endif
