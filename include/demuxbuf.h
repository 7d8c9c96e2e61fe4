/*
 * demuxbuf: demux buffers for multiplexing proxies.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Generated from src/ffi by cbindgen; `cargo test --test header` says when it is out of date and how to renew it.
 *
 * Conventions: self first, then inputs, then outputs; outputs are written only on success. int32_t results are a
 * status: 0 done, above 0 an outcome, below 0 an error (demuxbuf_strerror). Functions for events return a mask of
 * actions; with DEMUXBUF_ERROR set it is a status instead (demuxbuf_status). NULL is an error, never a crash. No call
 * calls back into the host, blocks, or (after demuxbuf_pool_new) allocates. Pointers are NULL or valid, as ever in C.
 */

#ifndef DEMUXBUF_H
#define DEMUXBUF_H

#include <stdint.h>
#include <stddef.h>

// Level-triggered watch: told again for as long as there is something.
#define DEMUXBUF_MODE_LEVEL 0

// Edge-triggered watch, registered once.
#define DEMUXBUF_MODE_EDGE 1

// A subscription that is over with its first report.
#define DEMUXBUF_MODE_ONE_SHOT 2

// As one-shot, but receives before it subscribes.
#define DEMUXBUF_MODE_OPTIMISTIC 3

// Receives are submitted and complete later.
#define DEMUXBUF_MODE_COMPLETION 4

// Start watching the transport; then report it with `demuxbuf_connection_done`.
#define DEMUXBUF_WANT_RECV 1

// Stop watching the transport; then report it done. A host that cannot ignores it.
#define DEMUXBUF_STOP_RECV 2

// Ask for a buffer; report granted or denied.
#define DEMUXBUF_REQUEST_BUFFER 4

// Leave the queue; then report it done.
#define DEMUXBUF_CANCEL_REQUEST 8

// Give the buffer back; report released.
#define DEMUXBUF_RELEASE_BUFFER 16

// Receive now; report received, would_block, end_of_stream or transport_error.
#define DEMUXBUF_RECV 32

// Run the decoder; report consumed and, if bytes are left, why: need_more, block or yield.
#define DEMUXBUF_DEMUX 64

// Throw away what is buffered; report it consumed.
#define DEMUXBUF_DISCARD 128

// Move the residue to a small slot, give the buffer back; report buffer_parked.
#define DEMUXBUF_PARK 256

// Close this connection: it holds memory that others wait for and makes no progress.
#define DEMUXBUF_SHED 512

// The peer ended and nothing more can be decoded; then report it done.
#define DEMUXBUF_END 1024

// Closed, and nothing is held or waited for.
#define DEMUXBUF_FINISHED 2048

// The element at the front can never fit; then report it done, and fail, close or grow.
#define DEMUXBUF_CANNOT_FIT 4096

// Work is left for the next turn: schedule it, report it done, and report wake in that turn.
#define DEMUXBUF_RESCHEDULE 8192

// Set in a mask of actions that is an error instead: cast it to `int32_t` for the status.
#define DEMUXBUF_ERROR 2147483648

// Done.
#define DEMUXBUF_OK 0

// Not granted at once: queued, and served later through `demuxbuf_pool_poll_grant`.
#define DEMUXBUF_QUEUED 1

// There is nothing to report.
#define DEMUXBUF_NONE 2

// The connection was never attached.
#define DEMUXBUF_ERR_NOT_ATTACHED -1

// The connection is attached already, or not finished yet.
#define DEMUXBUF_ERR_ALREADY_ATTACHED -2

// The connection is closed.
#define DEMUXBUF_ERR_CLOSED -3

// No buffer is held.
#define DEMUXBUF_ERR_NO_BUFFER -4

// A buffer is held already.
#define DEMUXBUF_ERR_ALREADY_HELD -5

// The connection is queued already.
#define DEMUXBUF_ERR_ALREADY_WAITING -6

// The capacity is 0, or below what is buffered.
#define DEMUXBUF_ERR_CAPACITY_TOO_SMALL -7

// More bytes than there was room for, or than were buffered.
#define DEMUXBUF_ERR_TOO_MANY_BYTES -8

// 0 bytes where at least 1 is needed.
#define DEMUXBUF_ERR_ZERO_BYTES -9

// The mask of reasons is empty.
#define DEMUXBUF_ERR_NO_REASONS -10

// Bytes after the end of the stream.
#define DEMUXBUF_ERR_AFTER_END -11

// An action was reported done that is not pending, or is not reported this way.
#define DEMUXBUF_ERR_NOT_PENDING -12

// A pointer is NULL that must not be.
#define DEMUXBUF_ERR_NULL -32

// A configuration is not allowed; the message names the field, the value and what is allowed.
#define DEMUXBUF_ERR_CONFIG -33

// Memory could not be reserved.
#define DEMUXBUF_ERR_NO_MEMORY -34

// A call inside the library panicked before: the object is poisoned and can only be freed.
#define DEMUXBUF_ERR_POISONED -35

// The handle is stale, was given back already, or belongs to another pool.
#define DEMUXBUF_ERR_STALE -36

// The class does not exist.
#define DEMUXBUF_ERR_CLASS -37

// The table of waiters or of receivers is full.
#define DEMUXBUF_ERR_TABLE_FULL -38

// No buffer is free, and this call does not queue.
#define DEMUXBUF_ERR_NO_BUFFER_FREE -39

// The receiver drives this by itself; the host does not report it.
#define DEMUXBUF_ERR_INTERNAL_EVENT -40

// The bytes break a rule of the framed protocol; see the outputs.
#define DEMUXBUF_ERR_PROTOCOL -41

// A number is outside what is allowed.
#define DEMUXBUF_ERR_RANGE -42

// Major version of the header.
#define DEMUXBUF_VERSION_MAJOR 0

// Minor version of the header.
#define DEMUXBUF_VERSION_MINOR 1

// Patch version of the header.
#define DEMUXBUF_VERSION_PATCH 0

// One connection's receive state: a plain value that the host embeds in its own struct. All-zero is not attached. It
// may be moved with memcpy while it is not queued, and needs no destructor unless it holds or waits for something.
// The fields are private to the library; the header's inline tests read them.
typedef struct {
  uint32_t capacity;
  uint32_t level;
  uint32_t state[5];
} demuxbuf_connection;

// The settings of one connection. All-zero is the default of each, but for `struct_size`.
typedef struct {
  // `sizeof(demuxbuf_policy)`.
  uint32_t struct_size;
  // A full buffer receives again once so many bytes are free; 0 for any room.
  uint32_t resume_at;
  // Residues of at most so many bytes are parked as soon as their receive ran dry; 0 for never.
  uint16_t park_bytes;
  // One of `DEMUXBUF_MODE_*`.
  uint8_t mode;
  // Receives in one turn before the machine yields; 0 for 4.
  uint8_t reads_per_wake;
  // Not 0: stop receiving while decoding is blocked, instead of when the buffer is full.
  uint8_t pause_when_blocked;
} demuxbuf_policy;

// Everything there is to print about a connection.
typedef struct {
  // Bytes buffered.
  uint32_t level;
  // Size of what is held, in bytes.
  uint32_t capacity;
  // Bytes that must arrive before the decoder can go on.
  uint32_t short_bytes;
  // The host's reasons why decoding cannot go on.
  uint32_t blocked;
  // What is to be done now: a mask of `DEMUXBUF_*` actions.
  uint32_t pending;
  // Bytes that can never be decoded, once the stream ended.
  uint32_t residue;
  // 0 nothing held, 1 a parking slot, 2 a buffer.
  uint8_t hold;
  // 0 open, 1 ended, 2 broken.
  uint8_t end;
  // Not 0: queued for a buffer.
  uint8_t waiting;
  // Not 0: the host's watch is on, as far as it was reported.
  uint8_t armed;
  // Not 0: the transport is believed to have something.
  uint8_t ready;
  // Not 0: the decoder failed; what arrives is discarded.
  uint8_t failed;
  // Not 0: attached and not closed.
  uint8_t open;
  // One of `DEMUXBUF_MODE_*`.
  uint8_t mode;
} demuxbuf_connection_info;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Prepares a connection with a policy. An all-zero connection has the default policy already.
//
// The connection must not be attached: this call writes over what is there. `policy` may be NULL for the default.
// Thread rule: one thread at a time per connection.
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_CONFIG` for a wrong `struct_size` or `mode`.
int32_t demuxbuf_connection_init(demuxbuf_connection *connection,
                                 const demuxbuf_policy *policy);

// The connection starts: with `capacity` 0 for no buffer, else with a buffer of any size that already holds `level` bytes.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_ALREADY_ATTACHED`, `DEMUXBUF_ERR_CAPACITY_TOO_SMALL`.
uint32_t demuxbuf_connection_attach(demuxbuf_connection *connection,
                                    uint32_t level,
                                    uint32_t capacity);

// The transport has bytes, an end of stream or an error to report. Begins a new turn. Repeats are harmless.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_readable(demuxbuf_connection *connection);

// The host has a buffer of `capacity` bytes for this connection; or a larger one, which now holds what was buffered.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_CAPACITY_TOO_SMALL`, `DEMUXBUF_ERR_ALREADY_HELD`, `DEMUXBUF_ERR_CLOSED`.
uint32_t demuxbuf_connection_buffer_granted(demuxbuf_connection *connection,
                                            uint32_t capacity);

// No buffer could be had; the host has queued the connection. It must not be moved until granted or cancelled.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_ALREADY_WAITING`, `DEMUXBUF_ERR_ALREADY_HELD`, `DEMUXBUF_ERR_CLOSED`.
uint32_t demuxbuf_connection_buffer_denied(demuxbuf_connection *connection);

// What was buffered is now in a slot of `capacity` bytes and the buffer was given back; or a slot was lent while waiting.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_CAPACITY_TOO_SMALL`, `DEMUXBUF_ERR_CLOSED`.
uint32_t demuxbuf_connection_buffer_parked(demuxbuf_connection *connection,
                                           uint32_t capacity);

// The buffer is no longer held: given back, or handed to somebody else with what was in it.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_NO_BUFFER`.
uint32_t demuxbuf_connection_buffer_released(demuxbuf_connection *connection);

// One receive brought `bytes` bytes, at most `demuxbuf_connection_recv_max`.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_ZERO_BYTES` (report the end of the stream instead), `DEMUXBUF_ERR_TOO_MANY_BYTES`, `DEMUXBUF_ERR_NO_BUFFER`, `DEMUXBUF_ERR_AFTER_END`, `DEMUXBUF_ERR_CLOSED`.
uint32_t demuxbuf_connection_received(demuxbuf_connection *connection,
                                      uint32_t bytes);

// One receive found nothing.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_would_block(demuxbuf_connection *connection);

// The peer will send no more. In any state, with or without a receive.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_end_of_stream(demuxbuf_connection *connection);

// The transport failed. In any state, with or without a receive.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_transport_error(demuxbuf_connection *connection);

// The decoder took `bytes` bytes from the front; 0 is harmless.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_TOO_MANY_BYTES`.
uint32_t demuxbuf_connection_consumed(demuxbuf_connection *connection,
                                      uint32_t bytes);

// The decoder cannot go on until at least `bytes` more bytes have arrived. `DEMUXBUF_CANNOT_FIT` if there is no room for them.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_ZERO_BYTES`, `DEMUXBUF_ERR_TOO_MANY_BYTES`, `DEMUXBUF_ERR_CLOSED`.
uint32_t demuxbuf_connection_need_more(demuxbuf_connection *connection,
                                       uint32_t bytes);

// Decoding cannot go on for these reasons of the host's. They add up.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_NO_REASONS`.
uint32_t demuxbuf_connection_block(demuxbuf_connection *connection,
                                   uint32_t reasons);

// These reasons are gone; decoding resumes when none is left.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_NO_REASONS`.
uint32_t demuxbuf_connection_unblock(demuxbuf_connection *connection,
                                     uint32_t reasons);

// The host stopped decoding for its own budget; bytes are left and nothing is wrong.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_yield(demuxbuf_connection *connection);

// A new turn of the host's loop begins for this connection.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_wake(demuxbuf_connection *connection);

// The host wants no reading for reasons of its own.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_pause_recv(demuxbuf_connection *connection);

// The host's reasons for pausing are gone.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_resume_recv(demuxbuf_connection *connection);

// The decoder found a fatal error: from now on what arrives is discarded.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_CLOSED`.
uint32_t demuxbuf_connection_fail(demuxbuf_connection *connection);

// The host's allocator is short: park as soon as possible.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_reclaim_requested(demuxbuf_connection *connection);

// The deadline of the buffer passed without progress: park, or else shed.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_lease_expired(demuxbuf_connection *connection);

// These pending actions are done: any of want_recv, stop_recv, cancel_request, shed, end, cannot_fit, reschedule.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_NOT_PENDING`.
uint32_t demuxbuf_connection_done(demuxbuf_connection *connection,
                                  uint32_t actions);

// The connection is going away, in whatever state it is. Repeats are harmless.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_close(demuxbuf_connection *connection);

// The host's own buffer and flags are the truth: one call beside the decoder replaces counting at every site.
//
// `level` and `capacity` describe the buffer (capacity 0: none); `blocked` is the whole mask of reasons; `short_of_data`
// not 0: the decoder cannot go on before more bytes arrive; `armed` not 0: the subscription is on.
// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_CAPACITY_TOO_SMALL` (level above capacity), `DEMUXBUF_ERR_CLOSED`.
uint32_t demuxbuf_connection_sync(demuxbuf_connection *connection,
                                  uint32_t level,
                                  uint32_t capacity,
                                  uint32_t blocked,
                                  uint8_t short_of_data,
                                  uint8_t armed);

// What is to be done now, without reporting anything.
//
// Thread rule: one thread at a time per connection. Returns the mask of actions, 0 for a connection that is not
// attached, or with `DEMUXBUF_ERROR` set `DEMUXBUF_ERR_NULL` or `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_pending(const demuxbuf_connection *connection);

// The most bytes one receive may bring now; 0 unless `DEMUXBUF_RECV` is pending, and for NULL.
//
// Thread rule: one thread at a time per connection.
uint32_t demuxbuf_connection_recv_max(const demuxbuf_connection *connection);

// Bytes buffered; 0 for NULL. Twin of the header's `demuxbuf_level`.
//
// Thread rule: one thread at a time per connection.
uint32_t demuxbuf_connection_level(const demuxbuf_connection *connection);

// Size of what is held, in bytes; 0 if nothing is, and for NULL. Twin of the header's `demuxbuf_capacity`.
//
// Thread rule: one thread at a time per connection.
uint32_t demuxbuf_connection_capacity(const demuxbuf_connection *connection);

// The status inside what an event function returned: `DEMUXBUF_OK` for a mask of actions. Twin of the header's
// `demuxbuf_status`. Thread rule: any thread, any time.
int32_t demuxbuf_actions_status(uint32_t actions);

// Writes everything there is to print about a connection.
//
// Thread rule: one thread at a time per connection.
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, and nothing is written.
int32_t demuxbuf_connection_describe(const demuxbuf_connection *connection, demuxbuf_connection_info *info);

// Says in words what a status means.
//
// Returns a string that lives for ever; never NULL, also for numbers that mean nothing.
// Thread rule: any thread, any time.
const char *demuxbuf_strerror(int32_t status);

// Version of the library in use, as `(major << 16) | (minor << 8) | patch`; compare with `DEMUXBUF_VERSION`.
// Thread rule: any thread, any time.
uint32_t demuxbuf_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* Hot tests, each with an exported twin of the same meaning. `static inline` needs no symbol of the library. */

/* The status inside what an event function returned: 0 for a mask of actions. Twin: demuxbuf_actions_status. */
static inline int32_t demuxbuf_status(uint32_t actions) {
  return (actions & DEMUXBUF_ERROR) != 0u ? -(int32_t)(UINT32_MAX - actions) - 1 : DEMUXBUF_OK;
}

/* Bytes buffered; 0 for NULL. Twin: demuxbuf_connection_level. */
static inline uint32_t demuxbuf_level(const demuxbuf_connection *connection) {
  return connection != 0 ? connection->level : 0u;
}

/* Size of what is held, in bytes; 0 if nothing is, and for NULL. Twin: demuxbuf_connection_capacity. */
static inline uint32_t demuxbuf_capacity(const demuxbuf_connection *connection) {
  return connection != 0 ? connection->capacity : 0u;
}

/* Version of this header, to compare with demuxbuf_version(). */
#define DEMUXBUF_VERSION ((uint32_t)((DEMUXBUF_VERSION_MAJOR << 16) | (DEMUXBUF_VERSION_MINOR << 8) | DEMUXBUF_VERSION_PATCH))

#endif /* DEMUXBUF_H */
