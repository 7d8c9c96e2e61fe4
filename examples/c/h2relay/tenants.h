/* The tenants that connections request buffers for: a tenant is made with its first connection and ends with its last.
   All threads use one table. */
#ifndef H2RELAY_TENANTS_H
#define H2RELAY_TENANTS_H

#include "buffers.h"
#include "options.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct tenant;

/* The tenants that have connections, found by what their connections have in common. */
struct tenants {
    enum tenant_kind kind;
    pthread_mutex_t lock;  /* of what follows, while a connection comes or goes */
    struct tenant **table; /* chains, by hash; NULL if there are no tenants */
    uint32_t chains;       /* a power of two */
    _Atomic uint32_t count;
};

/* False if there is no memory; tenants_close is due all the same. */
bool tenants_open(struct tenants *tenants, const struct options *options);

void tenants_close(struct tenants *tenants);

/* The tenant of a connection from `address` to this listener, with one connection more; NULL for the default tenant:
   tenants are off, or their table is full. `buffers` are the calling thread's: a tenant is one of all threads. */
struct tenant *tenants_enter(struct tenants *tenants, struct buffers *buffers, const struct address *address,
                             uint32_t listener);

/* One connection less. Harmless for NULL. */
void tenants_leave(struct tenants *tenants, struct buffers *buffers, struct tenant *tenant);

/* Its number for the buffers; 0 for NULL. */
uint64_t tenant_number(const struct tenant *tenant);

#endif
