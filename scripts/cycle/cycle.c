/* Receive cycles in C, for scripts/cycle.sh to count: cycle COUNT. */
#include <demuxbuf.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  demuxbuf_pool_config config;
  demuxbuf_pool_stats stats;
  demuxbuf_pool *pool;
  uint64_t receiver;
  char message[128];
  if (argc != 2) return fprintf(stderr, "usage: cycle COUNT\n"), 2;
  uint64_t count = strtoull(argv[1], NULL, 10);
  demuxbuf_pool_config_init(&config, 4, 4);
  if (demuxbuf_pool_new(&config, &pool, message, sizeof message) != DEMUXBUF_OK) {
    return fprintf(stderr, "%s\n", message), 1;
  }
  demuxbuf_receiver_attach(pool, 0, 0, NULL, 0, &receiver);
  demuxbuf_receiver_done(pool, receiver, DEMUXBUF_WANT_RECV);
  for (uint64_t cycle = 0; cycle < count; cycle++) {
    demuxbuf_receiver_readable(pool, receiver);
    demuxbuf_receiver_received(pool, receiver, 100);
    demuxbuf_receiver_decoded(pool, receiver, 100, 0);
  }
  demuxbuf_pool_get_stats(pool, &stats);
  if (stats.granted_at_once != count || stats.leased != 0) {
    return fprintf(stderr, "not each cycle takes a buffer and releases it\n"), 1;
  }
  demuxbuf_pool_free(pool);
  return 0;
}
