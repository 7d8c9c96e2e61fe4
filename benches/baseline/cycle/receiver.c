/* Receivers of the library: pool, memory and queue are its own. Three calls for a cycle, and one more for a watch that is
 * asked for anew. */
#include "host.h"

#include <demuxbuf.h>
#include <stdbool.h>

static demuxbuf_pool *pool;
static uint64_t receivers[CONNECTIONS];
static bool is_watched[CONNECTIONS];

static void check(int32_t status)
{
	if (status != DEMUXBUF_OK)
		fail(demuxbuf_strerror(status));
}

static inline __attribute__((always_inline)) void run(unsigned index, demuxbuf_step step)
{
	while ((step.actions & (DEMUXBUF_RECV | DEMUXBUF_DEMUX)) != 0) {
		if ((step.actions & DEMUXBUF_RECV) != 0)
			step = demuxbuf_receiver_received(pool, receivers[index], transport_receive(index, step.data, step.bytes));
		else
			step = demuxbuf_receiver_decoded(pool, receivers[index], run_decoder(step.data, step.bytes), 0);
	}
	if ((step.actions & DEMUXBUF_WANT_RECV) != 0) {
		is_watched[index] = true;
		step = demuxbuf_receiver_done(pool, receivers[index], DEMUXBUF_WANT_RECV);
	}
	if (step.actions != 0)
		fail("there is something else to do");
}

static void cycle(unsigned index)
{
	if (!is_watched[index])
		return;
#ifdef ONE_SHOT
	is_watched[index] = false;
#endif
	run(index, demuxbuf_receiver_readable(pool, receivers[index]));
}

static void end_turn(void)
{
	demuxbuf_grant grant;
	check(demuxbuf_pool_handle_timeout(pool, 0));
	while (demuxbuf_pool_poll_grant(pool, &grant) == DEMUXBUF_OK)
		run((unsigned)grant.token, grant.step);
}

static void start(void)
{
	demuxbuf_pool_config config;
	check(demuxbuf_pool_config_init(&config, BUFFERS, CONNECTIONS));
#ifdef ONE_SHOT
	config.policy.mode = DEMUXBUF_MODE_ONE_SHOT;
#endif
	check(demuxbuf_pool_new(&config, &pool, NULL, 0));
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		check(demuxbuf_receiver_attach(pool, 0, i, NULL, 0, &receivers[i]));
		run(i, demuxbuf_receiver_pending(pool, receivers[i]));
	}
}

static void finish(uint64_t cycles)
{
	demuxbuf_pool_stats stats;
	check(demuxbuf_pool_get_stats(pool, &stats));
	if (stats.granted_at_once != cycles || stats.released != cycles || stats.leased != 0)
		fail("not each cycle took a buffer and gave it back");
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		if (!is_watched[i])
			fail("a connection did not come to rest");
	}
	demuxbuf_pool_free(pool);
}
