// The header from C++, in two translation units: one definition of each inline test, C linkage of every function.
#include <type_traits>

#include "check.h"

int32_t other_status(uint32_t actions);
uint32_t other_buffered_bytes(const demuxbuf_connection *connection);
uint32_t other_capacity(const demuxbuf_connection *connection);
demuxbuf_step other_receive(demuxbuf_pool *pool, uint64_t receiver);
uint32_t other_version();

// A host may do all this with them: memcpy, memset to zero, embed anywhere.
static_assert(std::is_trivial<demuxbuf_connection>::value && std::is_standard_layout<demuxbuf_connection>::value, "");
static_assert(std::is_trivial<demuxbuf_step>::value && std::is_standard_layout<demuxbuf_step>::value, "");
static_assert(std::is_trivial<demuxbuf_h2_decoder>::value && std::is_trivial<demuxbuf_pool_config>::value, "");
static_assert(sizeof(demuxbuf_connection) <= 32, "a connection is at most 32 bytes");
static_assert(std::is_same<decltype(&demuxbuf_version), uint32_t (*)()>::value, "");

static void the_inline_tests_are_the_same_in_both_units() {
    for (uint64_t sample = 0; sample <= UINT32_MAX; sample += 99991) {
        const uint32_t actions = static_cast<uint32_t>(sample);
        CHECK_NUMBER(demuxbuf_actions_status_inline(actions), other_status(actions));
        CHECK_NUMBER(demuxbuf_actions_status_inline(actions), demuxbuf_actions_status(actions));
    }
    demuxbuf_connection connection{};
    CHECK_NUMBER(demuxbuf_connection_attach(&connection, 17, 99), DEMUXBUF_WANT_RECV | DEMUXBUF_DECODE);
    CHECK(demuxbuf_connection_buffered_bytes_inline(&connection) == 17 && other_buffered_bytes(&connection) == 17);
    CHECK(demuxbuf_connection_capacity_inline(&connection) == 99 && other_capacity(&connection) == 99);
    CHECK(demuxbuf_connection_buffered_bytes_inline(nullptr) == 0 && other_buffered_bytes(nullptr) == 0 &&
          other_capacity(nullptr) == 0);
}

static void a_receive_cycle_across_both_units() {
    demuxbuf_pool_config config;
    config.struct_size = sizeof config;
    demuxbuf_pool *pool = nullptr;
    uint64_t receiver = 0;
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 1 << 20, 1), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, nullptr, nullptr), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, nullptr, &receiver, nullptr, nullptr), DEMUXBUF_OK);
    const demuxbuf_step step = other_receive(pool, receiver);
    CHECK((step.actions & DEMUXBUF_DECODE) != 0 && step.bytes == 5);
    CHECK_SAME(step.data, "bytes", 5);
    CHECK_NUMBER(demuxbuf_receiver_decoded(pool, receiver, 5, 0).actions, DEMUXBUF_WANT_RECV);
    demuxbuf_pool_free(pool);
}

int main() {
    the_inline_tests_are_the_same_in_both_units();
    a_receive_cycle_across_both_units();
    CHECK_NUMBER(other_version(), DEMUXBUF_VERSION);
    return check_end();
}
