/* A pool that threads share: what each function does and refuses, on one thread; then another thread's calls. */
#include "check.h"

#include <pthread.h>

#define BUFFER_BYTES 256

static demuxbuf_pool_config config_of(uint32_t buffers) {
  demuxbuf_pool_config config;
  CHECK_NUMBER(demuxbuf_pool_config_init(&config, buffers, 4), DEMUXBUF_OK);
  config.buffer_bytes = BUFFER_BYTES;
  config.slots = 2;
  return config;
}

/* A shared pool and the pools of two threads, which are this one. */
struct two {
  demuxbuf_shards *shards;
  demuxbuf_pool *a, *b;
};

static struct two new_two(uint32_t buffers) {
  const demuxbuf_pool_config config = config_of(buffers);
  struct two two;
  CHECK_NUMBER(demuxbuf_shards_new(&config, 2, &two.shards, NULL, 0), DEMUXBUF_OK);
  CHECK_NUMBER(demuxbuf_shards_pool(two.shards, 0, &two.a), DEMUXBUF_OK);
  CHECK_NUMBER(demuxbuf_shards_pool(two.shards, 1, &two.b), DEMUXBUF_OK);
  return two;
}

static void free_two(const struct two *two) {
  CHECK_NUMBER(demuxbuf_pool_check(two->a), DEMUXBUF_OK);
  CHECK_NUMBER(demuxbuf_pool_check(two->b), DEMUXBUF_OK);
  demuxbuf_pool_free(two->a);
  demuxbuf_shards_free(two->shards);
  demuxbuf_pool_free(two->b);
}

static demuxbuf_pool_stats stats_of(const demuxbuf_pool *pool) {
  demuxbuf_pool_stats stats;
  CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
  return stats;
}

/* Attaches a receiver that was told to read. */
static uint64_t reading(demuxbuf_pool *pool, uint64_t token) {
  uint64_t receiver;
  CHECK_NUMBER(demuxbuf_receiver_attach(pool, 0, token, NULL, 0, &receiver), DEMUXBUF_OK);
  CHECK_REFUSED(demuxbuf_receiver_readable(pool, receiver).actions, DEMUXBUF_OK);
  return receiver;
}

static demuxbuf_step receive(demuxbuf_pool *pool, uint64_t receiver, int byte, uint32_t bytes) {
  const demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
  CHECK((step.actions & DEMUXBUF_RECV) != 0 && step.bytes >= bytes);
  memset(step.data, byte, bytes);
  return demuxbuf_receiver_received(pool, receiver, bytes);
}

/* What is buffered is `bytes` times this byte. */
static void check_data(demuxbuf_pool *pool, uint64_t receiver, int byte, uint32_t bytes) {
  demuxbuf_receiver_info info;
  CHECK_NUMBER(demuxbuf_receiver_describe(pool, receiver, &info), DEMUXBUF_OK);
  CHECK_NUMBER(info.connection.level, bytes);
  const demuxbuf_step step = demuxbuf_receiver_pending(pool, receiver);
  CHECK((step.actions & DEMUXBUF_DEMUX) != 0);
  CHECK_NUMBER(step.bytes, bytes);
  for (uint32_t at = 0; at < bytes; at++) {
    CHECK_NUMBER(step.data[at], byte);
  }
}

static uint64_t moved(demuxbuf_pool *from, uint64_t receiver, demuxbuf_pool *to) {
  static const demuxbuf_moving nobody;
  demuxbuf_moving moving;
  uint64_t there;
  CHECK_NUMBER(demuxbuf_receiver_export(from, receiver, &moving), DEMUXBUF_OK);
  CHECK_REFUSED(demuxbuf_receiver_wake(from, receiver).actions, DEMUXBUF_ERR_STALE);
  CHECK_NUMBER(demuxbuf_receiver_import(to, &moving, &there), DEMUXBUF_OK);
  CHECK_SAME(&moving, &nobody, sizeof moving);
  return there;
}

static void null_is_refused_everywhere(void) {
  const demuxbuf_pool_config config = config_of(1);
  struct two two = new_two(1);
  demuxbuf_shards *shards;
  demuxbuf_pool *pool;
  demuxbuf_moving moving;
  uint64_t receiver;
  uint32_t index;
  FILL(shards), FILL(pool), FILL(moving), FILL(receiver), FILL(index);
  CHECK_NUMBER(demuxbuf_shards_new(NULL, 1, &shards, NULL, 0), DEMUXBUF_ERR_NULL);
  CHECK_NUMBER(demuxbuf_shards_new(&config, 1, NULL, NULL, 0), DEMUXBUF_ERR_NULL);
  CHECK_NUMBER(demuxbuf_shards_pool(NULL, 0, &pool), DEMUXBUF_ERR_NULL);
  CHECK_NUMBER(demuxbuf_shards_pool(two.shards, 0, NULL), DEMUXBUF_ERR_NULL);
  CHECK_NUMBER(demuxbuf_shards_poll_wake(NULL, &index), DEMUXBUF_ERR_NULL);
  CHECK_NUMBER(demuxbuf_shards_poll_wake(two.shards, NULL), DEMUXBUF_ERR_NULL);
  CHECK_NUMBER(demuxbuf_pool_poll_wake(NULL, &index), DEMUXBUF_ERR_NULL);
  CHECK_NUMBER(demuxbuf_pool_poll_wake(two.a, NULL), DEMUXBUF_ERR_NULL);
  CHECK_NUMBER(demuxbuf_receiver_export(NULL, 0, &moving), DEMUXBUF_ERR_NULL);
  CHECK_NUMBER(demuxbuf_receiver_export(two.a, 0, NULL), DEMUXBUF_ERR_NULL);
  CHECK_NUMBER(demuxbuf_receiver_import(NULL, &moving, &receiver), DEMUXBUF_ERR_NULL);
  CHECK_NUMBER(demuxbuf_receiver_import(two.a, NULL, &receiver), DEMUXBUF_ERR_NULL);
  CHECK_NUMBER(demuxbuf_receiver_import(two.a, &moving, NULL), DEMUXBUF_ERR_NULL);
  CHECK_UNTOUCHED(shards), CHECK_UNTOUCHED(pool), CHECK_UNTOUCHED(moving), CHECK_UNTOUCHED(receiver);
  CHECK_UNTOUCHED(index);
  demuxbuf_shards_free(NULL);
  free_two(&two);
}

static void a_wrong_configuration_is_explained(void) {
  demuxbuf_pool_config config = config_of(4);
  demuxbuf_shards *shards;
  char message[128];
  FILL(shards);
  CHECK_NUMBER(demuxbuf_shards_new(&config, 0, &shards, message, sizeof message), DEMUXBUF_ERR_CONFIG);
  CHECK(strcmp(message, "shards is 0; allowed is 1 to 1024") == 0);
  config.tenants_max = 3;
  CHECK_NUMBER(demuxbuf_shards_new(&config, 2, &shards, message, sizeof message), DEMUXBUF_ERR_CONFIG);
  CHECK(strcmp(message, "tenants_max is 3; allowed is 0 to 0") == 0);
  config.tenants_max = 0;
  config.other_buffer_bytes[0] = 2 * BUFFER_BYTES;
  CHECK_NUMBER(demuxbuf_shards_new(&config, 2, &shards, message, sizeof message), DEMUXBUF_ERR_CONFIG);
  CHECK(strcmp(message, "sizes[1] is 2; allowed is 0 to 0") == 0);
  config.struct_size++;
  CHECK_NUMBER(demuxbuf_shards_new(&config, 2, &shards, NULL, 0), DEMUXBUF_ERR_CONFIG);
  CHECK_UNTOUCHED(shards);
}

static void each_thread_has_one_pool_at_a_time(void) {
  struct two two = new_two(2);
  demuxbuf_pool *pool;
  uint32_t index;
  FILL(pool);
  CHECK_NUMBER(demuxbuf_shards_pool(two.shards, 2, &pool), DEMUXBUF_ERR_RANGE);
  CHECK_NUMBER(demuxbuf_shards_pool(two.shards, 0, &pool), DEMUXBUF_ERR_IN_USE);
  CHECK_UNTOUCHED(pool);
  /* What a pool that is freed held goes to the waiter of another. */
  for (int count = 0; count < 2; count++) {
    CHECK_NUMBER(receive(two.a, reading(two.a, 1), 1, 100).bytes, 100);
  }
  const uint64_t waiter = reading(two.b, 2);
  demuxbuf_pool_free(two.a);
  CHECK_NUMBER(demuxbuf_shards_poll_wake(two.shards, &index), DEMUXBUF_OK);
  CHECK_NUMBER(index, 1);
  CHECK_NUMBER(demuxbuf_shards_poll_wake(two.shards, &index), DEMUXBUF_NONE);
  demuxbuf_grant grant;
  CHECK_NUMBER(demuxbuf_pool_poll_grant(two.b, &grant), DEMUXBUF_OK);
  CHECK(grant.receiver == waiter && grant.token == 2);
  CHECK_NUMBER(stats_of(two.b).free, 1);
  CHECK_NUMBER(demuxbuf_shards_pool(two.shards, 0, &two.a), DEMUXBUF_OK);
  free_two(&two);
}

static void a_buffer_reaches_the_waiter_of_another_thread(void) {
  struct two two = new_two(1);
  const uint64_t holder = reading(two.a, 1);
  uint32_t index;
  uint64_t wait;
  receive(two.a, holder, 1, 100);
  CHECK_NUMBER(demuxbuf_pool_request(two.b, 0, 7, &wait), DEMUXBUF_QUEUED);
  CHECK_NUMBER(demuxbuf_pool_cancel(two.a, wait), DEMUXBUF_ERR_STALE);
  CHECK_NUMBER(demuxbuf_pool_poll_wake(two.a, &index), DEMUXBUF_NONE);
  CHECK_REFUSED(demuxbuf_receiver_decoded(two.a, holder, 100, 0).actions, DEMUXBUF_OK);
  CHECK_NUMBER(demuxbuf_pool_poll_wake(two.a, &index), DEMUXBUF_OK);
  CHECK_NUMBER(index, 1);
  CHECK_NUMBER(demuxbuf_pool_poll_wake(two.a, &index), DEMUXBUF_NONE);
  demuxbuf_grant grant;
  CHECK_NUMBER(demuxbuf_pool_poll_grant(two.a, &grant), DEMUXBUF_NONE);
  CHECK_NUMBER(demuxbuf_pool_poll_grant(two.b, &grant), DEMUXBUF_OK);
  CHECK(grant.wait == wait && grant.token == 7 && grant.receiver == 0);
  /* A buffer of the host's own goes with its content to another thread, which gives it back. */
  uint8_t *here, *there;
  uint32_t bytes;
  CHECK_NUMBER(demuxbuf_pool_buffer(two.b, grant.lease, &here, &bytes), DEMUXBUF_OK);
  CHECK_NUMBER(bytes, BUFFER_BYTES);
  CHECK_NUMBER(demuxbuf_pool_buffer(two.a, grant.lease, &there, &bytes), DEMUXBUF_OK);
  CHECK(here == there);
  CHECK_NUMBER(demuxbuf_pool_release(two.a, grant.lease), DEMUXBUF_OK);
  CHECK_NUMBER(demuxbuf_pool_release(two.b, grant.lease), DEMUXBUF_ERR_STALE);
  /* A receiver's is its thread's. */
  receive(two.a, holder, 2, 100);
  demuxbuf_handover content;
  CHECK_NUMBER(demuxbuf_receiver_take(two.a, holder, &content), DEMUXBUF_OK);
  uint64_t receiver;
  CHECK_NUMBER(demuxbuf_receiver_adopt(two.b, 0, 3, &content, &receiver), DEMUXBUF_OK);
  check_data(two.b, receiver, 2, 100);
  CHECK_NUMBER(demuxbuf_pool_release(two.a, content.lease), DEMUXBUF_ERR_STALE);
  CHECK_NUMBER(demuxbuf_receiver_adopt(two.a, 0, 3, &content, &receiver), DEMUXBUF_ERR_STALE);
  free_two(&two);
}

static void a_receiver_moves_in_any_state(void) {
  struct two two = new_two(1);
  uint64_t receiver;
  demuxbuf_grant grant;
  CHECK_NUMBER(demuxbuf_receiver_attach(two.a, 0, 9, NULL, 0, &receiver), DEMUXBUF_OK);
  receiver = moved(two.a, receiver, two.b); /* idle */
  CHECK_REFUSED(demuxbuf_receiver_readable(two.b, receiver).actions, DEMUXBUF_OK);
  receive(two.b, receiver, 1, 40);
  CHECK_REFUSED(demuxbuf_receiver_decoded(two.b, receiver, 0, 60).actions, DEMUXBUF_OK);
  CHECK_NUMBER(stats_of(two.b).slots_in_use, 1);
  receiver = moved(two.b, receiver, two.a); /* parked */
  CHECK_NUMBER(stats_of(two.a).slots_in_use, 1);
  CHECK_NUMBER(stats_of(two.b).slots_in_use, 0);
  CHECK_REFUSED(demuxbuf_receiver_readable(two.a, receiver).actions, DEMUXBUF_OK);
  receive(two.a, receiver, 1, 60);
  CHECK_REFUSED(demuxbuf_receiver_decoded(two.a, receiver, 10, 0).actions, DEMUXBUF_OK);
  receiver = moved(two.a, receiver, two.b); /* holding a buffer */
  check_data(two.b, receiver, 1, 90);
  uint64_t waiter = moved(two.a, reading(two.a, 8), two.b); /* waiting */
  waiter = moved(two.b, waiter, two.a);
  CHECK_REFUSED(demuxbuf_receiver_close(two.b, receiver).actions, DEMUXBUF_OK);
  waiter = moved(two.a, waiter, two.b); /* served, and not told yet */
  CHECK_NUMBER(demuxbuf_pool_poll_grant(two.a, &grant), DEMUXBUF_NONE);
  CHECK_NUMBER(demuxbuf_pool_poll_grant(two.b, &grant), DEMUXBUF_OK);
  CHECK(grant.receiver == waiter && grant.token == 8 && (grant.step.actions & DEMUXBUF_RECV) != 0);
  free_two(&two);
}

static void what_cannot_move_says_why(void) {
  demuxbuf_pool_config config = config_of(2);
  struct two two = new_two(2);
  demuxbuf_pool *alone;
  demuxbuf_moving moving;
  uint64_t receiver, other, refused;
  uint32_t index;
  CHECK_NUMBER(demuxbuf_pool_new(&config, &alone, NULL, 0), DEMUXBUF_OK);
  CHECK_NUMBER(demuxbuf_receiver_attach(alone, 0, 0, NULL, 0, &receiver), DEMUXBUF_OK);
  FILL(moving), FILL(refused);
  CHECK_NUMBER(demuxbuf_receiver_export(alone, receiver, &moving), DEMUXBUF_ERR_NOT_SHARED);
  CHECK_NUMBER(demuxbuf_receiver_export(two.a, receiver, &moving), DEMUXBUF_ERR_STALE);
  CHECK_UNTOUCHED(moving);
  CHECK_NUMBER(demuxbuf_receiver_import(two.a, &moving, &refused), DEMUXBUF_ERR_STALE);
  memset(&moving, 0, sizeof moving);
  CHECK_NUMBER(demuxbuf_receiver_import(two.a, &moving, &refused), DEMUXBUF_ERR_STALE);
  CHECK_NUMBER(demuxbuf_receiver_import(alone, &moving, &refused), DEMUXBUF_ERR_NOT_SHARED);
  CHECK_NUMBER(demuxbuf_pool_poll_wake(alone, &index), DEMUXBUF_NONE);
  /* One that holds a buffer is imported once, whatever copies there are, and by the pool it is of. */
  struct two others = new_two(2);
  receiver = reading(two.a, 1);
  receive(two.a, receiver, 3, 100);
  CHECK_NUMBER(demuxbuf_receiver_export(two.a, receiver, &moving), DEMUXBUF_OK);
  demuxbuf_moving copy = moving;
  CHECK_NUMBER(demuxbuf_receiver_import(others.a, &copy, &refused), DEMUXBUF_ERR_STALE);
  CHECK_NUMBER(demuxbuf_receiver_import(two.b, &moving, &receiver), DEMUXBUF_OK);
  CHECK_NUMBER(demuxbuf_receiver_import(two.a, &copy, &refused), DEMUXBUF_ERR_STALE);
  check_data(two.b, receiver, 3, 100);
  /* Any bytes at all are refused or make no more than a strange connection. */
  uint64_t random = 7;
  for (int round = 0; round < 20000; round++) {
    CHECK_NUMBER(demuxbuf_receiver_export(two.b, receiver, &moving), DEMUXBUF_OK);
    copy = moving;
    ((uint8_t *)&copy)[check_random(&random) % sizeof copy] ^= (uint8_t)(1u << check_random(&random) % 8);
    if (demuxbuf_receiver_import(two.b, &copy, &receiver) != DEMUXBUF_OK) {
      CHECK_NUMBER(demuxbuf_receiver_import(two.b, &moving, &receiver), DEMUXBUF_OK);
    } else {
      CHECK_NUMBER(demuxbuf_receiver_close(two.b, receiver).actions, DEMUXBUF_FINISHED);
      CHECK_NUMBER(stats_of(two.b).leased, 0);
      receiver = reading(two.b, 1);
      receive(two.b, receiver, 3, 100);
    }
  }
  /* A full table. */
  for (int count = 0; count < 4; count++) {
    CHECK_NUMBER(demuxbuf_receiver_attach(two.a, 0, 0, NULL, 0, &other), DEMUXBUF_OK);
  }
  CHECK_NUMBER(demuxbuf_receiver_export(two.b, receiver, &moving), DEMUXBUF_OK);
  CHECK_NUMBER(demuxbuf_receiver_import(two.a, &moving, &refused), DEMUXBUF_ERR_TABLE_FULL);
  CHECK_UNTOUCHED(refused);
  CHECK_NUMBER(demuxbuf_receiver_import(two.b, &moving, &receiver), DEMUXBUF_OK);
  demuxbuf_pool_free(alone);
  free_two(&others);
  free_two(&two);
}

static void a_pool_that_outlives_the_shared_one_takes_nobody_in(void) {
  struct two two = new_two(2);
  const uint64_t receiver = reading(two.a, 1), waiter = reading(two.b, 2);
  uint64_t refused;
  receive(two.a, receiver, 1, 100);
  receive(two.b, waiter, 2, 100);
  demuxbuf_shards_free(two.shards);
  FILL(refused);
  CHECK_NUMBER(demuxbuf_receiver_attach(two.a, 0, 0, NULL, 0, &refused), DEMUXBUF_ERR_POOL_CLOSED);
  CHECK_NUMBER(demuxbuf_receiver_attach(two.a, 0, 0, (const uint8_t *)"early", 5, &refused), DEMUXBUF_ERR_POOL_CLOSED);
  CHECK_NUMBER(demuxbuf_pool_request(two.b, 0, 0, &refused), DEMUXBUF_ERR_POOL_CLOSED);
  demuxbuf_handover content;
  CHECK_NUMBER(demuxbuf_receiver_take(two.a, receiver, &content), DEMUXBUF_OK);
  CHECK_NUMBER(demuxbuf_receiver_adopt(two.b, 0, 0, &content, &refused), DEMUXBUF_ERR_POOL_CLOSED);
  CHECK_UNTOUCHED(refused);
  CHECK_NUMBER(demuxbuf_pool_release(two.a, content.lease), DEMUXBUF_OK);
  /* Those that are there go on. */
  CHECK_REFUSED(demuxbuf_receiver_readable(two.a, receiver).actions, DEMUXBUF_OK);
  receive(two.a, receiver, 3, 100);
  check_data(two.a, receiver, 3, 100);
  check_data(two.b, waiter, 2, 100);
  demuxbuf_pool_free(two.a);
  CHECK_NUMBER(stats_of(two.b).free, 1);
  demuxbuf_pool_free(two.b);
}

/* The calls that are refused from another thread in every build. */
static void *call_from_elsewhere(void *argument) {
  demuxbuf_pool *pool = argument;
  demuxbuf_moving moving;
  uint64_t receiver;
  uint32_t index;
  memset(&moving, 0, sizeof moving);
  CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 1), DEMUXBUF_ERR_WRONG_THREAD);
  CHECK_NUMBER(demuxbuf_pool_poll_wake(pool, &index), DEMUXBUF_ERR_WRONG_THREAD);
  CHECK_NUMBER(demuxbuf_receiver_attach(pool, 0, 0, NULL, 0, &receiver), DEMUXBUF_ERR_WRONG_THREAD);
  CHECK_NUMBER(demuxbuf_receiver_adopt(pool, 0, 0, &(demuxbuf_handover){0}, &receiver), DEMUXBUF_ERR_WRONG_THREAD);
  CHECK_NUMBER(demuxbuf_receiver_export(pool, 0, &moving), DEMUXBUF_ERR_WRONG_THREAD);
  CHECK_NUMBER(demuxbuf_receiver_import(pool, &moving, &receiver), DEMUXBUF_ERR_WRONG_THREAD);
  return NULL;
}

static void another_thread_is_refused_and_may_free(void) {
  struct two two = new_two(1);
  pthread_t thread;
  /* Checks are counted by one thread at a time. */
  const int created = pthread_create(&thread, NULL, call_from_elsewhere, two.a), joined = pthread_join(thread, NULL);
  CHECK(created == 0 && joined == 0);
  CHECK_NUMBER(demuxbuf_pool_handle_timeout(two.a, 1), DEMUXBUF_OK);
  free_two(&two);
}

int main(void) {
  null_is_refused_everywhere();
  a_wrong_configuration_is_explained();
  each_thread_has_one_pool_at_a_time();
  a_buffer_reaches_the_waiter_of_another_thread();
  a_receiver_moves_in_any_state();
  what_cannot_move_says_why();
  a_pool_that_outlives_the_shared_one_takes_nobody_in();
  another_thread_is_refused_and_may_free();
  return check_end();
}
