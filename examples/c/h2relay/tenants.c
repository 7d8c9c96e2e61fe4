#define _GNU_SOURCE
#include "tenants.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

struct tenant {
    struct tenant *next;
    uint64_t key;
    uint64_t number; /* of the buffers */
    uint32_t connections;
};

enum { KEY_IPV4 = 1, KEY_IPV6, KEY_OTHER };

static uint64_t key_of(uint64_t kind, const uint8_t *prefix, uint32_t bytes) {
    uint64_t key = kind;
    for (uint32_t at = 0; at < bytes; at++) {
        key = key << 8 | prefix[at];
    }
    return key;
}

/* A network that usually belongs to one customer: many addresses in it are one tenant. */
static uint64_t key_of_address(const struct address *address) {
    static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *ip = (const struct sockaddr_in *)(const void *)&address->storage;
        return key_of(KEY_IPV4, (const uint8_t *)&ip->sin_addr, 3);
    }
    if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *ip = (const struct sockaddr_in6 *)(const void *)&address->storage;
        const uint8_t *bytes = ip->sin6_addr.s6_addr;
        bool is_mapped = memcmp(bytes, MAPPED, sizeof MAPPED) == 0;
        return is_mapped ? key_of(KEY_IPV4, bytes + sizeof MAPPED, 3) : key_of(KEY_IPV6, bytes, 6);
    }
    return KEY_OTHER;
}

/* The chain of a key. The multiplier is odd, and its high bits mix all bits of the key. */
static struct tenant **chain_of(struct tenants *tenants, uint64_t key) {
    uint64_t mixed = key * UINT64_C(0x9e3779b97f4a7c15);
    return &tenants->table[(mixed >> 32) & (tenants->chains - 1)];
}

bool tenants_open(struct tenants *tenants, const struct options *options) {
    *tenants = (struct tenants){.kind = options->tenant};
    pthread_mutex_init(&tenants->lock, NULL);
    if (options->tenant == TENANT_NONE) {
        return true;
    }
    tenants->chains = 1;
    while (tenants->chains < options->tenants_max) {
        tenants->chains *= 2;
    }
    tenants->table = calloc(tenants->chains, sizeof(struct tenant *));
    return tenants->table != NULL;
}

void tenants_close(struct tenants *tenants) {
    free(tenants->table);
    pthread_mutex_destroy(&tenants->lock);
}

/* The tenant with this key, which is made if there is none; NULL if it cannot be. */
static struct tenant *find_or_create(struct tenants *tenants, struct buffers *buffers, uint64_t key) {
    struct tenant **chain = chain_of(tenants, key);
    struct tenant *tenant = *chain;
    while (tenant != NULL && tenant->key != key) {
        tenant = tenant->next;
    }
    if (tenant == NULL) {
        uint64_t number = buffers->kind->create_tenant(buffers);
        tenant = number != 0 ? malloc(sizeof *tenant) : NULL;
        if (tenant == NULL) {
            if (number != 0) {
                buffers->kind->remove_tenant(buffers, number);
            }
            return NULL;
        }
        *tenant = (struct tenant){.next = *chain, .key = key, .number = number};
        *chain = tenant;
        atomic_fetch_add(&tenants->count, 1);
    }
    return tenant;
}

struct tenant *tenants_enter(struct tenants *tenants, struct buffers *buffers, const struct address *address,
                             uint32_t listener) {
    if (tenants->kind == TENANT_NONE) {
        return NULL;
    }
    uint64_t key = tenants->kind == TENANT_LISTENER ? listener : key_of_address(address);
    pthread_mutex_lock(&tenants->lock);
    struct tenant *tenant = find_or_create(tenants, buffers, key);
    if (tenant != NULL) {
        tenant->connections++;
    }
    pthread_mutex_unlock(&tenants->lock);
    return tenant;
}

static void end(struct tenants *tenants, struct buffers *buffers, struct tenant *tenant) {
    struct tenant **link = chain_of(tenants, tenant->key);
    while (*link != tenant) {
        link = &(*link)->next;
    }
    *link = tenant->next;
    buffers->kind->remove_tenant(buffers, tenant->number);
    atomic_fetch_sub(&tenants->count, 1);
    free(tenant);
}

void tenants_leave(struct tenants *tenants, struct buffers *buffers, struct tenant *tenant) {
    if (tenant == NULL) {
        return;
    }
    pthread_mutex_lock(&tenants->lock);
    if (--tenant->connections == 0) {
        end(tenants, buffers, tenant);
    }
    pthread_mutex_unlock(&tenants->lock);
}

uint64_t tenant_number(const struct tenant *tenant) {
    return tenant != NULL ? tenant->number : 0;
}
