/*
 * demuxbuf: demux buffers for multiplexing proxies.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Generated from capi/src by cbindgen; the test `header` fails when it is out of date.
 *
 * Conventions:
 *
 * - Self first, then inputs, then outputs. Outputs are written only on success, may be uninitialised
 *   before, and overlap no other argument.
 * - An int32_t result is a status: 0 done, above 0 an outcome, below 0 an error (demuxbuf_strerror). Functions for
 *   events return a mask of actions; with DEMUXBUF_ERROR set it is a status instead (demuxbuf_actions_status_inline).
 * - Pointers are NULL or valid. NULL is DEMUXBUF_ERR_NULL, never a crash, unless the function allows it.
 * - A defect of the library poisons the object: every call is DEMUXBUF_ERR_POISONED then, and the object can be freed.
 *   No panic crosses into C.
 * - No call calls back into the host. No call allocates, but those that make pools.
 * - Structs that begin with struct_size grow in later versions. Set it to the struct's sizeof before each first use, also
 *   of an output: `demuxbuf_pool_stats stats = {.struct_size = sizeof stats};`. Fields that an older program does not
 *   know have their defaults. Fields that an older library does not know must be 0. Of an output, the shorter of both
 *   structs is written, and struct_size is then the number of bytes written. A struct_size that no version has is
 *   DEMUXBUF_ERR_STRUCT_SIZE; a field that must be 0 and is not is DEMUXBUF_ERR_UNKNOWN_FIELD.
 */

#ifndef DEMUXBUF_H
#define DEMUXBUF_H

#include <stdint.h>
#include <stddef.h>

/* ==== Start ====
 *
 * Statuses, actions, and how a pool is configured. The functions here work on no object: any thread may call
 * them at any time.
 */

// Done.
#define DEMUXBUF_OK 0

// Not granted at once: queued, and served later through `demuxbuf_pool_poll_notice`.
#define DEMUXBUF_STATUS_QUEUED 1

// There is nothing to report, or nothing was granted and the call does not queue.
#define DEMUXBUF_STATUS_NONE 2

// The connection was never attached.
#define DEMUXBUF_ERR_NOT_ATTACHED (-65536)

// The connection is attached already, or not finished yet.
#define DEMUXBUF_ERR_ALREADY_ATTACHED (-2 * 65536)

// The connection is closed.
#define DEMUXBUF_ERR_CLOSED (-3 * 65536)

// No buffer is held.
#define DEMUXBUF_ERR_NO_BUFFER (-4 * 65536)

// A buffer is held already.
#define DEMUXBUF_ERR_ALREADY_HELD (-5 * 65536)

// The connection is queued already.
#define DEMUXBUF_ERR_ALREADY_WAITING (-6 * 65536)

// The capacity is 0, or below what is buffered.
#define DEMUXBUF_ERR_CAPACITY_TOO_SMALL (-7 * 65536)

// More bytes than there was room for, or than were buffered.
#define DEMUXBUF_ERR_TOO_MANY_BYTES (-8 * 65536)

// 0 bytes where at least 1 is needed.
#define DEMUXBUF_ERR_ZERO_BYTES (-9 * 65536)

// The mask of reasons is empty.
#define DEMUXBUF_ERR_NO_REASONS (-10 * 65536)

// Bytes after the end of the stream.
#define DEMUXBUF_ERR_AFTER_END (-11 * 65536)

// An action was reported done that is not pending, or is not reported this way.
#define DEMUXBUF_ERR_NOT_PENDING (-12 * 65536)

// A receive is in flight into what is held.
#define DEMUXBUF_ERR_IN_FLIGHT (-13 * 65536)

// A pointer is NULL that must not be.
#define DEMUXBUF_ERR_NULL (-32 * 65536)

// A configuration is not allowed; the message names the field, the value and what is allowed.
#define DEMUXBUF_ERR_CONFIG (-33 * 65536)

// Memory could not be reserved.
#define DEMUXBUF_ERR_NO_MEMORY (-34 * 65536)

// A call inside the library panicked before: the object is poisoned and can only be freed.
#define DEMUXBUF_ERR_POISONED (-35 * 65536)

// The handle is stale, was released already, or belongs to another pool.
#define DEMUXBUF_ERR_STALE (-36 * 65536)

// The class does not exist.
#define DEMUXBUF_ERR_CLASS (-37 * 65536)

// The table of waiters, of receivers or of tenants is full.
#define DEMUXBUF_ERR_TABLE_FULL (-38 * 65536)

// No buffer is free, and this call does not queue.
#define DEMUXBUF_ERR_NO_BUFFER_FREE (-39 * 65536)

// The receiver drives this by itself; the host does not report it.
#define DEMUXBUF_ERR_INTERNAL_EVENT (-40 * 65536)

// The bytes break a rule of the framed protocol; see the outputs.
#define DEMUXBUF_ERR_PROTOCOL (-41 * 65536)

// A number is outside what is allowed.
#define DEMUXBUF_ERR_RANGE (-42 * 65536)

// A rule that must always hold is broken: a defect of the library, found by `demuxbuf_pool_check_invariants`.
#define DEMUXBUF_ERR_INVARIANT (-43 * 65536)

// It could never be granted: a reserve or a cap leaves less.
#define DEMUXBUF_ERR_TOO_LARGE (-45 * 65536)

// The pool is another thread's.
#define DEMUXBUF_ERR_WRONG_THREAD (-47 * 65536)

// The thread has its pool already.
#define DEMUXBUF_ERR_IN_USE (-48 * 65536)

// The shared pool was freed: it takes no new receivers and requests.
#define DEMUXBUF_ERR_POOL_CLOSED (-49 * 65536)

// The pool is of one thread, so nothing can move.
#define DEMUXBUF_ERR_NOT_SHARED (-50 * 65536)

// As many pools are alive in the process as have tags, 1023; a shared pool counts once.
#define DEMUXBUF_ERR_TOO_MANY_POOLS (-51 * 65536)

// The receiver is to be shed, so it does not move.
#define DEMUXBUF_ERR_NOT_MOVABLE (-53 * 65536)

// As many receivers are exported and not imported yet as can be.
#define DEMUXBUF_ERR_EXPORTS_FULL (-55 * 65536)

// The address lies in no buffer of the pool.
#define DEMUXBUF_ERR_ADDRESS (-56 * 65536)

// Jobs that hold a buffer and ask for another one can wait for each other without end; the message names the classes.
#define DEMUXBUF_ERR_DEADLOCK (-57 * 65536)

// The configuration did not ask for an audit.
#define DEMUXBUF_ERR_AUDIT_OFF (-58 * 65536)

// The receiver cannot count: not in its mode, under a layer that reads ahead, or of unknown length; the message names
// it.
#define DEMUXBUF_ERR_CANNOT_COUNT (-59 * 65536)

// `struct_size` is below the size of the struct's first version, or above 4096.
#define DEMUXBUF_ERR_STRUCT_SIZE (-60 * 65536)

// A field is not 0 that is reserved, or that a newer header has and this library does not know.
#define DEMUXBUF_ERR_UNKNOWN_FIELD (-61 * 65536)

// The event does not exist.
#define DEMUXBUF_ERR_EVENT (-62 * 65536)

// A request asks for a lease with a deadline, and the configuration of the pool has no `lease_ns`.
#define DEMUXBUF_ERR_DEADLINES_OFF (-63 * 65536)

// The lease has no deadline in this pool.
#define DEMUXBUF_ERR_NO_DEADLINE (-64 * 65536)

// The pool drains: it takes no new receivers.
#define DEMUXBUF_ERR_DRAINING (-65 * 65536)

// Delivered bytes are in place, in the host's memory: report on them first, with `demuxbuf_receiver_delivered`.
#define DEMUXBUF_ERR_IN_PLACE (-66 * 65536)

// Bytes are looked at in the kernel: report on all of them first, and receive away what was decoded.
#define DEMUXBUF_ERR_LOOKED_AT (-67 * 65536)

// Major version of the header.
#define DEMUXBUF_VERSION_MAJOR 0

// Minor version of the header.
#define DEMUXBUF_VERSION_MINOR 1

// Patch version of the header.
#define DEMUXBUF_VERSION_PATCH 0

// Start to poll the transport (completion: submit a poll); then report it with `demuxbuf_connection_done`.
#define DEMUXBUF_WANT_RECV 1

// Stop polling the transport (completion: cancel the receive or poll that is submitted); then report it done. A host
// that cannot ignores it.
#define DEMUXBUF_STOP_RECV 2

// Ask for a buffer; report granted or denied.
#define DEMUXBUF_REQUEST_BUFFER 4

// Leave the queue; then report it done.
#define DEMUXBUF_CANCEL_REQUEST 8

// Release the buffer; report released.
#define DEMUXBUF_RELEASE_BUFFER 16

// Receive now; report received, would_block, end_of_stream or transport_error. Completion: submit a receive and report
// it done, then its outcome; would_block if it was cancelled and brought nothing.
#define DEMUXBUF_RECV 32

// Run the decoder; report consumed and, if bytes are left, why: need_more, block or yield.
#define DEMUXBUF_DECODE 64

// Connections: throw away what is buffered; report it consumed. Receivers that count, beside RECV and RECV_WHOLE:
// receive what was decoded when it was looked at, drop it, and report it received.
#define DEMUXBUF_DISCARD 128

// Connections only: move the undecoded bytes to a parking slot, release the buffer; report buffer_parked.
#define DEMUXBUF_PARK 256

// Close this connection: it holds memory that others wait for and makes no progress.
#define DEMUXBUF_SHED 512

// The peer ended and nothing more can be decoded; then report it done.
#define DEMUXBUF_END 1024

// Closed, and nothing is held or waited for.
#define DEMUXBUF_FINISHED 2048

// The frame at the front can never fit; then report it done, and fail or close. Or decode what is there, and report
// that and what the next piece needs. Connections also: or report a larger buffer as granted.
#define DEMUXBUF_CANNOT_FIT 4096

// Work is left for the next loop iteration: schedule it, report it done, and report wake in that iteration.
#define DEMUXBUF_RESCHEDULE 8192

// Receivers that count only: look at what is in the kernel (`MSG_PEEK`), at most `bytes` at `data`; report need_more
// with the bytes that the frame has, from the first one in the kernel on, or would_block. With RECV_WHOLE: look if all
// of `bytes` is there, report that received, and decode it.
#define DEMUXBUF_PEEK 16384

// Receivers that count only, beside RECV or PEEK: receive or look if all of `bytes` is there; else report would_block.
#define DEMUXBUF_RECV_WHOLE 32768

// Set in a mask of actions that is an error instead: cast it to `int32_t` for the status. No action is set beside it.
#define DEMUXBUF_ERROR 2147483648u

// Level-triggered: reported again for as long as there is something. As in one-shot mode, a receive that brings less
// than the room is taken to have emptied the transport, unless the policy has `reads_ahead`.
#define DEMUXBUF_MODE_LEVEL 0

// Edge-triggered, registered once.
#define DEMUXBUF_MODE_EDGE 1

// Read interest is off again with its first report.
#define DEMUXBUF_MODE_ONE_SHOT 2

// As one-shot, but receives before it arms read interest.
#define DEMUXBUF_MODE_OPTIMISTIC 3

// Receives (RECV) and polls (WANT_RECV) are submitted and complete later; STOP_RECV cancels what is submitted.
#define DEMUXBUF_MODE_COMPLETION 4

// Classes of requests there can be.
#define DEMUXBUF_CLASSES_MAX 8

// A pool: buffers, cells for partial frames, a queue of requests, and the receivers that use them. Made by
// `demuxbuf_pool_new` for one thread at a time, or by `demuxbuf_shared_pool_shard` for one of the threads that
// share its buffers.
typedef struct demuxbuf_pool demuxbuf_pool;

// The settings of a pool. Fill it with `demuxbuf_pool_config_init`, then change what you want
// otherwise.
typedef struct {
  // `sizeof(demuxbuf_pool_config)`.
  uint32_t struct_size;
  // The most receivers at once.
  uint32_t receivers_max;
  // All memory for received bytes and for buffers of the host's own: the hard cap. Rounded down to whole buffers, of
  // which there must be 8, and 3 beside those that are cut for partial frames of up to 64 bytes.
  uint64_t memory_bytes;
  // While memory is short, how long a frame may take to arrive, in nanoseconds, beside the time that its length
  // allows (8192 bytes in a second); at least 8. An eighth of it is the most that one advance of the clock counts
  // for.
  uint64_t frame_grace_ns;
  // While memory is short, how long the host may hold bytes that it does not decode, in nanoseconds; at least 8.
  uint64_t blocked_ns;
  // Size of a buffer, in bytes: the largest frame that the decoder needs whole, with its header, rounded up to a
  // multiple of 64; from 128 to 16777216.
  uint32_t buffer_bytes;
  // The most waits of the host's own requests at once. Receivers need none.
  uint32_t waiters_max;
  // Classes of the host's requests, from 1 to 8, of a shared pool to 7; class 0 is the most critical. Receivers use
  // memory in the last.
  uint32_t classes;
  // Grants of other classes that a class lets pass before it goes first; at least 1.
  uint32_t class_burst;
  // A class is eligible only while more buffers than its reserve are free. That of the last class has to leave
  // receivers the buffer to receive into, those for the smallest cells and two more. Of a shared pool, each class
  // has to leave the first two and one more for each thread, and another one.
  uint32_t reserves[DEMUXBUF_CLASSES_MAX];
  // The most buffers a class may hold; UINT32_MAX for no cap. That of the last class is at least what its reserve
  // has to leave.
  uint32_t class_caps[DEMUXBUF_CLASSES_MAX];
  // The most tenants at once, beside the one of those that name none; of a shared pool for all threads together.
  uint32_t tenants_max;
  // As in `demuxbuf_policy`, of the receivers.
  uint32_t resume_free_bytes;
  // One of `DEMUXBUF_MODE_*`.
  uint8_t mode;
  // As in `demuxbuf_policy`.
  uint8_t reads_per_wake;
  // As in `demuxbuf_policy`.
  uint8_t pause_when_blocked;
  // As in `demuxbuf_policy`.
  uint8_t reads_ahead;
  // Not 0: `demuxbuf_pool_poll_audit` may be called.
  uint8_t audit;
  // Not 0: what is not needed any more is overwritten with zeros: buffers, the pieces of them that hold partial
  // frames, and the receive buffer after each use. Every event takes the slow path.
  uint8_t wipe;
  // Not 0: the memory is left out of core dumps. Linux only.
  uint8_t no_dump;
  // As in `demuxbuf_policy`.
  uint8_t counting;
  // The most receives in flight at once, of receivers of one thread in completion mode, at most as many as there are
  // buffers; 0 for an eighth of the buffers, divided by the threads, and at least 1. Each has a whole buffer. A
  // receiver whose wait for memory comes to its end has one more if need be.
  uint32_t in_flight_max;
  // Must be 0.
  uint32_t reserved_word;
  // While others wait for memory, how long a lease of the host's own that was requested with `has_deadline` may be
  // held before a notice names it, in nanoseconds. An eighth of it is the most that one advance of the clock counts
  // for. 0: leases have no deadlines.
  uint64_t lease_ns;
} demuxbuf_pool_config;

// While a job of the host's holds a buffer of one class, it may ask for one of another.
typedef struct {
  // Class of the buffer that it holds.
  uint32_t holds;
  // Class that it asks in, before it releases that buffer.
  uint32_t asks;
} demuxbuf_nested_request;

// The settings of one connection. Zero selects the default of every field except `struct_size`.
typedef struct {
  // `sizeof(demuxbuf_policy)`.
  uint32_t struct_size;
  // A full buffer receives again once this many bytes are free; 0 for any room.
  uint32_t resume_free_bytes;
  // Of `demuxbuf_connection` alone: partial frames of at most this many bytes are parked as soon as their transport
  // has no more; 0 for never. It makes no difference for a receiver, of which nothing is parked.
  uint16_t park_bytes;
  // Of `demuxbuf_connection` alone: partial frames of at most this many bytes are parked when the host's allocator
  // asks; below `park_bytes` it means that.
  uint16_t reclaim_bytes;
  // One of `DEMUXBUF_MODE_*`.
  uint8_t mode;
  // Receives in one loop iteration before the machine yields; 0 for 4.
  uint8_t reads_per_wake;
  // Not 0: stop receiving while decoding is blocked, instead of when the buffer is full.
  uint8_t pause_when_blocked;
  // Not 0: a layer between transport and host, such as a TLS library, may hold more bytes than it handed on; or the
  // transport is TCP with urgent data, at which a receive stops short. Only `would_block` means that there is
  // nothing to receive, in every mode. `RESCHEDULE` appears in level-triggered mode when the budget of receives is
  // used up. A waiting connection receives nothing.
  uint8_t reads_ahead;
  // Of a receiver, not 0: it counts. Its host knows how many bytes wait in the kernel, and can leave a partial frame
  // there until it is whole (TCP with `SO_RCVLOWAT`). While memory is short, `PEEK`, `RECV_WHOLE`, `DISCARD` and the
  // mark with `WANT_RECV` ask for that. It does not go with `DEMUXBUF_MODE_OPTIMISTIC`, `reads_ahead` and
  // `unknown_length`. A policy that sets it later leaves a claim that waits, and what is granted to it, as they are.
  uint8_t counting;
  // Must be 0.
  uint8_t reserved[3];
} demuxbuf_policy;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Says in words what a status means.
//
// Returns a static string; never NULL, also for numbers that mean nothing.
// Thread rule: any thread, any time.
const char *demuxbuf_strerror(int32_t status);

// Version of the library in use, as `(major << 16) | (minor << 8) | patch`; compare with `DEMUXBUF_VERSION`.
// Thread rule: any thread, any time.
uint32_t demuxbuf_version(void);

// The status inside what an event function returned: `DEMUXBUF_OK` for a mask of actions. Twin of the header's
// `demuxbuf_actions_status_inline`. Thread rule: any thread, any time.
int32_t demuxbuf_actions_status(uint32_t actions);

// Writes a mask of actions in words, for logs: the names without `DEMUXBUF_`, with `|` between them; `NONE` for none;
// bits that are no action as one hexadecimal number. A mask with `DEMUXBUF_ERROR` is written as `demuxbuf_strerror`
// has its status.
//
// `bytes` is the room at `buffer`. The text is cut there, always with a closing 0. `buffer` may be NULL.
// Thread rule: any thread, any time. Returns the room that the whole text needs, with its closing 0.
size_t demuxbuf_actions_str(uint32_t actions,
                            char *buffer,
                            size_t bytes);

// Fills the settings: buffers of 16448 bytes, a grace of 1 s for frames, 2 s for what the host blocks, one class,
// `receivers_max` waits for the host's own requests, no tenants, level-triggered. Set `struct_size` before the call.
//
// Thread rule: any thread. Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, and nothing is
// written.
int32_t demuxbuf_pool_config_init(demuxbuf_pool_config *config,
                                  uint64_t memory_bytes,
                                  uint32_t receivers_max);

// Whether jobs that ask for a buffer of the host's own while they hold one can wait for each other without end in a
// pool with these settings: for the start of a program, or its tests. `shards` is that of `demuxbuf_shared_pool_new`,
// or 0 for a pool of `demuxbuf_pool_new`. `nested` has all `count` pairs that can occur: for a job that holds several
// buffers, one for each of them. Jobs that ask for nothing, and receivers, release their buffers by themselves. As a
// rule, what is asked for is more critical than what is held, and its reserve is smaller by a buffer at least.
//
// Tenants are not looked at: a tenant's cap has to leave room for what its own holders ask for. `message` and
// `message_bytes` are as for `demuxbuf_pool_new`; the sentence names the first pair that can be part of a deadlock.
// Thread rule: any thread. Cost: O(pairs). Returns `DEMUXBUF_OK` if no pair can; `DEMUXBUF_ERR_DEADLOCK`;
// `DEMUXBUF_ERR_NULL` (also: `nested` NULL and `count` not 0), `DEMUXBUF_ERR_STRUCT_SIZE`,
// `DEMUXBUF_ERR_UNKNOWN_FIELD`, `DEMUXBUF_ERR_CONFIG` (a setting is not allowed, or a class does not exist).
int32_t demuxbuf_pool_config_check_nested_requests(const demuxbuf_pool_config *config,
                                                   uint32_t shards,
                                                   const demuxbuf_nested_request *nested,
                                                   size_t count,
                                                   char *message,
                                                   size_t *message_bytes);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* ==== Receivers ====
 *
 * A receiver is one connection bound to a pool. Each call reports what happened and returns what to do next.
 * Thread rule: one thread at a time per pool. Cost: O(1), no allocation, no system call.
 */

// The transport has bytes, an end of stream or an error to report.
#define DEMUXBUF_EVENT_READABLE 1

// One receive brought `value` bytes.
#define DEMUXBUF_EVENT_RECEIVED 2

// One receive found nothing.
#define DEMUXBUF_EVENT_WOULD_BLOCK 3

// The peer will send no more.
#define DEMUXBUF_EVENT_END_OF_STREAM 4

// The transport failed.
#define DEMUXBUF_EVENT_TRANSPORT_ERROR 5

// The decoder took `value` bytes from the front.
#define DEMUXBUF_EVENT_CONSUMED 6

// The decoder needs at least `value` more bytes.
#define DEMUXBUF_EVENT_NEED_MORE 7

// Decoding cannot go on for the reasons in the mask `value`.
#define DEMUXBUF_EVENT_BLOCK 8

// The reasons in the mask `value` are gone.
#define DEMUXBUF_EVENT_UNBLOCK 9

// The host stopped decoding for its own budget. Bytes are left, and nothing is wrong.
#define DEMUXBUF_EVENT_YIELD 10

// A new loop iteration begins for this connection.
#define DEMUXBUF_EVENT_WAKE 11

// The host pauses reading.
#define DEMUXBUF_EVENT_PAUSE_RECV 12

// The host resumes reading.
#define DEMUXBUF_EVENT_RESUME_RECV 13

// The decoder found a fatal error.
#define DEMUXBUF_EVENT_FAIL 14

// The pending actions in the mask `value` are done.
#define DEMUXBUF_EVENT_DONE 15

// The connection is going away.
#define DEMUXBUF_EVENT_CLOSE 16

// Connections only: a buffer of `value` bytes is there; or a larger one, which now holds what was buffered.
#define DEMUXBUF_EVENT_BUFFER_GRANTED 17

// Connections only: no buffer could be had, and the host has queued the connection.
#define DEMUXBUF_EVENT_BUFFER_DENIED 18

// Connections only: what was buffered is in a slot of `value` bytes now; or a slot was lent while waiting.
#define DEMUXBUF_EVENT_BUFFER_PARKED 19

// Connections only: the buffer is no longer held.
#define DEMUXBUF_EVENT_BUFFER_RELEASED 20

// Connections only: the allocator of the host that lends the buffers is exhausted: park as soon as possible.
#define DEMUXBUF_EVENT_RECLAIM_REQUESTED 21

// Connections only: the buffer is held for too long without progress: park, or else shed.
#define DEMUXBUF_EVENT_LEASE_EXPIRED 22

// The reasons in the mask `value`, and no others, are why decoding cannot go on; 0 for none.
#define DEMUXBUF_EVENT_SET_BLOCKED 23

// One receive found nothing, and read interest is armed.
#define DEMUXBUF_EVENT_WOULD_BLOCK_ARMED 24

// The peer will send no more, and bytes may still be unread (`EPOLLRDHUP`, a hang-up). As readable; and from then on
// only would_block or an end means that there is nothing to receive, in every mode.
#define DEMUXBUF_EVENT_PEER_CLOSED 25

// Of a receiver that counts: the kernel reported it though its mark is not reached and its peer has not closed, so it
// will hold no more of this frame. Else as readable.
#define DEMUXBUF_EVENT_KERNEL_FULL 26

// Its frame was not whole at its deadline, and there was no place for it.
#define DEMUXBUF_SHED_REASON_DEADLINE 1

// Its deadline had passed, or its tenant held more than its share, and another receiver or a request of the host's own
// needed the place.
#define DEMUXBUF_SHED_REASON_EVICTED 2

// Its decoder left bytes for which there was no place.
#define DEMUXBUF_SHED_REASON_MEMORY 3

// The receiver `receiver` may receive, for which it had waited, or is to be shed; `step` has what it is to do now.
#define DEMUXBUF_NOTICE_RECEIVER 1

// The host's own request `wait` was granted: `lease`.
#define DEMUXBUF_NOTICE_LEASE 2

// A connection can be attached: the table of receivers was full, is not any more, and an attach had asked for this
// notice (`notify_if_full`).
#define DEMUXBUF_NOTICE_ATTACHABLE 3

// The host's own `lease` is held for `lease_ns` since it began or was renewed, and a request or a receiver waits for
// memory, or a limit of it is not met: release it if you can. It comes once, until `demuxbuf_pool_renew_lease`.
#define DEMUXBUF_NOTICE_OVERDUE 4

// The pool takes no new receivers since `demuxbuf_pool_drain`, and nothing is left. It comes once.
#define DEMUXBUF_NOTICE_DRAINED 5

// What is to be done now, and where. Returned by value.
typedef struct {
  // With `DEMUXBUF_RECV`, which is never pending together with `DEMUXBUF_DECODE`: where to receive to; with
  // `DEMUXBUF_PEEK` where to look to, under the same rules. Else, of a receiver that counts, NULL with
  // `DEMUXBUF_WANT_RECV`. Else what is buffered: one contiguous piece, for `DEMUXBUF_DECODE` and for `DEMUXBUF_END`
  // the bytes that can never be decoded; NULL if nothing is.
  //
  // Where `DEMUXBUF_RECV` or `DEMUXBUF_DECODE` is pending, it is valid until the next event for this receiver, and
  // no longer than the next `demuxbuf_pool_handle_timeout`, which keeps what was not decoded yet. Else it is valid
  // until the next call for the pool, of whichever receiver, that is not `demuxbuf_receiver_pending` or one that
  // only reads. `demuxbuf_receiver_pending` has the new place. While `DEMUXBUF_DECODE` is pending, pause_recv,
  // resume_recv and unblock do not end it. Where a submitted receive goes stays until its outcome, whatever the loop
  // iteration (completion).
  //
  // While `DEMUXBUF_DECODE` is pending the host may write to it, to decode or to change frames in place. To take a
  // hole out, move the bytes before the hole up to its end, and report the bytes of the hole as consumed: they are
  // at the front then. The same cuts bytes off at the end. Not so the host of a receiver that counts, which may
  // change only what it consumes: the rest may be looked at again as it came.
  uint8_t *data;
  // Bytes at `data`: the room to receive into, or what is buffered. With `DEMUXBUF_RECV_WHOLE` the least to receive
  // or to look at, too. Of a receiver that counts, with `DEMUXBUF_WANT_RECV` and none of RECV, PEEK, DECODE, END,
  // CANNOT_FIT and SHED: the mark, which is the number of bytes in the kernel at which the poller is to report
  // (`SO_RCVLOWAT`).
  uint32_t bytes;
  // Mask of `DEMUXBUF_*` actions: WANT_RECV, STOP_RECV, RECV, DECODE, SHED, END, FINISHED, CANNOT_FIT, RESCHEDULE,
  // PEEK, RECV_WHOLE, and DISCARD with these.
  // With `DEMUXBUF_ERROR` set it is a status instead (`demuxbuf_actions_status_inline`), and nothing is changed.
  uint32_t actions;
} demuxbuf_step;

// What a connection is attached with: a new field has its default if it is 0. Class, tenant and policy can be changed
// later: `demuxbuf_receiver_set_class`, `_set_tenant`, `_set_policy`.
typedef struct {
  // `sizeof(demuxbuf_attach_options)`.
  uint32_t struct_size;
  // Its class, for `demuxbuf_receiver_describe`: receivers use memory in the last class, whatever theirs is.
  uint32_t class_index;
  // Comes back in notices.
  uint64_t token;
  // The tenant that its memory counts for; 0 for none.
  uint64_t tenant;
  // Bytes at `bytes`; 0 for none.
  uint64_t length;
  // Not 0: if the table of receivers is full, a notice follows once it is not any more:
  // `DEMUXBUF_NOTICE_ATTACHABLE`, once, however many calls were refused.
  uint32_t notify_if_full;
  // Not 0: its decoder reports only that it needs more, not how much. The pool gives room by it.
  uint32_t unknown_length;
  // How it receives; NULL for the policy of the pool. Read by the call alone.
  const demuxbuf_policy *policy;
  // What was received already (a protocol upgrade): `length` bytes, which are copied. Read by the call alone.
  const uint8_t *bytes;
} demuxbuf_attach_options;

// A buffer that leaves or enters a receiver with its content.
typedef struct {
  // The buffer; release it with `demuxbuf_pool_release`.
  uint64_t lease;
  // Where the content starts in the buffer, in bytes.
  uint32_t offset;
  // Length of the content, in bytes.
  uint32_t buffered_bytes;
} demuxbuf_leased_content;

// Everything there is to print about a receiver, and about its connection.
typedef struct {
  // `sizeof(demuxbuf_receiver_info)`, set before the call; then how many bytes were written.
  uint32_t struct_size;
  // Its class, as the host gave it.
  uint32_t class_index;
  // What the host gave at attach.
  uint64_t token;
  // For how long it has waited for room, in nanoseconds of the pool's clock; 0 if it does not.
  uint64_t wait_age_ns;
  // Bytes buffered.
  uint32_t buffered_bytes;
  // Size of what is held, in bytes: of what is kept, or of what may be borrowed.
  uint32_t capacity;
  // Bytes that must arrive before the decoder can go on.
  uint32_t needed_bytes;
  // The host's reasons why decoding cannot go on.
  uint32_t blocked;
  // What is to be done now: a mask of `DEMUXBUF_*` actions.
  uint32_t pending;
  // Bytes that can never be decoded, once the stream ended.
  uint32_t truncated_bytes;
  // 0 nothing held, 1 a partial frame is kept, 2 a buffer is borrowed.
  uint8_t hold;
  // `DEMUXBUF_END_KIND_*`: 0 open, 1 ended, 2 broken.
  uint8_t end;
  // Not 0: it waits for room.
  uint8_t waiting;
  // Not 0: read interest is armed, as far as it was reported.
  uint8_t armed;
  // Not 0: the transport is believed to have something.
  uint8_t ready;
  // Not 0: the decoder failed; what arrives is discarded.
  uint8_t failed;
  // Not 0: attached and not closed.
  uint8_t open;
  // One of `DEMUXBUF_MODE_*`.
  uint8_t mode;
  // Not 0: the host wants no reading.
  uint8_t paused;
  // Not 0: what is held was filled, and not enough of it is free again.
  uint8_t full;
  // Not 0: the host stopped decoding until its next loop iteration.
  uint8_t yielded;
  // Not 0: a receive was submitted and is not complete.
  uint8_t in_flight;
  // `DEMUXBUF_SHED_REASON_*`: why it was shed; 0 if it was not.
  uint8_t shed_reason;
  // Not 0: the peer will send no more, as far as it was reported; bytes may still be unread.
  uint8_t peer_closed;
  // Always 0.
  uint8_t reserved[2];
  // How many bytes have to be in the kernel before it receives: it waits under that mark. 0 if it does not.
  uint32_t awaited_bytes;
  // Always 0.
  uint32_t reserved_word;
} demuxbuf_receiver_info;

// A notification that does not answer one of your own calls: a queued request was granted, a receiver may receive or
// is to be shed, a lease of your own is overdue, the table of receivers is not full any more, or the pool is drained.
typedef struct {
  // `sizeof(demuxbuf_notice)`, set before the call; then how many bytes were written.
  uint32_t struct_size;
  // `DEMUXBUF_NOTICE_*`.
  uint32_t kind;
  // What the host gave at attach or at request; 0 for `DEMUXBUF_NOTICE_ATTACHABLE` and `_DRAINED`.
  uint64_t token;
  // The receiver that may receive, or is to be shed (`DEMUXBUF_SHED` in `step`); 0 for other kinds.
  uint64_t receiver;
  // The host's own buffer; 0 for other kinds.
  uint64_t lease;
  // The host's own wait that ended; 0 for other kinds.
  uint64_t wait;
  // What the receiver is to do now; no actions for other kinds.
  demuxbuf_step step;
} demuxbuf_notice;

// Everything there is to print about a connection.
typedef struct {
  // `sizeof(demuxbuf_connection_info)`, set before the call; then how many bytes were written.
  uint32_t struct_size;
  // Bytes buffered.
  uint32_t buffered_bytes;
  // Size of what is held, in bytes.
  uint32_t capacity;
  // Bytes that must arrive before the decoder can go on.
  uint32_t needed_bytes;
  // The host's reasons why decoding cannot go on.
  uint32_t blocked;
  // What is to be done now: a mask of `DEMUXBUF_*` actions.
  uint32_t pending;
  // Bytes that can never be decoded, once the stream ended.
  uint32_t truncated_bytes;
  // 0 nothing held, 1 a parking slot, 2 a buffer.
  uint8_t hold;
  // `DEMUXBUF_END_KIND_*`: 0 open, 1 ended, 2 broken.
  uint8_t end;
  // Not 0: queued for a buffer.
  uint8_t waiting;
  // Not 0: read interest is armed, as far as it was reported.
  uint8_t armed;
  // Not 0: the transport is believed to have something.
  uint8_t ready;
  // Not 0: the decoder failed; what arrives is discarded.
  uint8_t failed;
  // Not 0: attached and not closed.
  uint8_t open;
  // One of `DEMUXBUF_MODE_*`.
  uint8_t mode;
  // Not 0: the host wants no reading.
  uint8_t paused;
  // Not 0: what is held was filled, and not enough of it is free again.
  uint8_t full;
  // Not 0: the host stopped decoding until its next loop iteration.
  uint8_t yielded;
  // Not 0: a receive was submitted and is not complete.
  uint8_t in_flight;
  // Not 0: the peer will send no more, as far as it was reported; bytes may still be unread.
  uint8_t peer_closed;
  // Always 0.
  uint8_t reserved[3];
} demuxbuf_connection_info;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The status of a step: `DEMUXBUF_OK` if it has actions to do, or none. Twin of the header's
// `demuxbuf_step_status_inline`. Thread rule: any thread, any time.
int32_t demuxbuf_step_status(demuxbuf_step step);

// 1 if the step asks for any of these actions, else 0; 0 for a step that is an error, whatever is asked for. Twin of
// the header's `demuxbuf_step_has_inline`. Thread rule: any thread, any time.
uint8_t demuxbuf_step_has(demuxbuf_step step,
                          uint32_t actions);

// Attaches a connection. `options` has what it is attached with; NULL is the same as all-zero but for `struct_size`:
// nothing buffered, class 0, no tenant, the policy of the pool. `*receiver` is its handle until `DEMUXBUF_FINISHED`;
// call `demuxbuf_receiver_pending` next. `message` and `message_bytes` are as for `demuxbuf_pool_new`.
//
// Where no buffer is free for `bytes`, attach without them, and copy them to `data` of the first `DEMUXBUF_RECV` as if
// they had been received: then the receiver waits for room.
// Cost: O(1), and the copy.
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL` (also: `bytes` NULL and `length` not 0), `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_UNKNOWN_FIELD`, `DEMUXBUF_ERR_CONFIG` (a wrong `mode` in the policy),
// `DEMUXBUF_ERR_CANNOT_COUNT`, `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_STALE` (the tenant), `DEMUXBUF_ERR_TABLE_FULL` (see
// `notify_if_full`), `DEMUXBUF_ERR_TOO_MANY_BYTES` (more than a buffer), `DEMUXBUF_ERR_NO_BUFFER_FREE` (none for these
// bytes now), `DEMUXBUF_ERR_WRONG_THREAD`, `DEMUXBUF_ERR_POOL_CLOSED` (the shared pool was freed); nothing is changed
// then.
int32_t demuxbuf_receiver_attach(demuxbuf_pool *pool,
                                 const demuxbuf_attach_options *options,
                                 uint64_t *receiver,
                                 char *message,
                                 size_t *message_bytes);

// Attaches a connection to a buffer of the host's own and the content in it, without copying. The lease is the
// receiver's then. `options` as for `demuxbuf_receiver_attach`, with `length` 0. `*receiver` is its handle; call
// `demuxbuf_receiver_pending` next. The lease may come from any pool of the same `demuxbuf_shared_pool`, also from one
// that was freed. It counts for the tenant of the receiver from now on.
//
// Of several threads that release or adopt one lease at once, one succeeds.
// `message` and `message_bytes` are as for `demuxbuf_pool_new`.
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STRUCT_SIZE`,
// `DEMUXBUF_ERR_UNKNOWN_FIELD`, `DEMUXBUF_ERR_CONFIG` (a wrong `mode`, or `length` is not 0),
// `DEMUXBUF_ERR_CANNOT_COUNT`, `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_TABLE_FULL`, `DEMUXBUF_ERR_STALE` (the tenant, or
// not a lease of the host's), `DEMUXBUF_ERR_NO_BUFFER_FREE` (the tenant, or the class of receivers, may have no more),
// `DEMUXBUF_ERR_TOO_MANY_BYTES` (content outside the buffer), `DEMUXBUF_ERR_WRONG_THREAD`,
// `DEMUXBUF_ERR_POOL_CLOSED` (the shared pool was freed); nothing is changed then and the lease stays the host's.
int32_t demuxbuf_receiver_adopt(demuxbuf_pool *pool,
                                const demuxbuf_attach_options *options,
                                const demuxbuf_leased_content *content,
                                uint64_t *receiver,
                                char *message,
                                size_t *message_bytes);

// Its class from now on, for `demuxbuf_receiver_describe`: receivers use memory in the last class, whatever theirs is.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`, `DEMUXBUF_ERR_CLASS`;
// nothing is changed then.
int32_t demuxbuf_receiver_set_class(demuxbuf_pool *pool,
                                    uint64_t receiver,
                                    uint32_t class_index);

// Receives by this policy from now on, for example after a protocol upgrade. With another mode, read interest counts
// as off: `DEMUXBUF_WANT_RECV` asks for it in the new mode, which you register with the poller instead of the old one.
// A mode that receives before it asks (optimistic, completion) does so first.
//
// `message` and `message_bytes` are as for `demuxbuf_pool_new`.
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_UNKNOWN_FIELD`,
// `DEMUXBUF_ERR_CONFIG` (a wrong `mode`), `DEMUXBUF_ERR_CANNOT_COUNT`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
// `DEMUXBUF_ERR_CLOSED`,
// `DEMUXBUF_ERR_IN_FLIGHT` (another mode while a receive is in flight).
demuxbuf_step demuxbuf_receiver_set_policy(demuxbuf_pool *pool,
                                           uint64_t receiver,
                                           const demuxbuf_policy *policy,
                                           char *message,
                                           size_t *message_bytes);

// Uses memory in the name of `tenant` from now on, or with 0 for no tenant. What is kept, borrowed or waited for
// counts for the new tenant.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE` (receiver or tenant);
// nothing is changed then.
int32_t demuxbuf_receiver_set_tenant(demuxbuf_pool *pool,
                                     uint64_t receiver,
                                     uint64_t tenant);

// Takes what is undecoded away from a receiver, with a buffer: the lease is the host's, and reading goes on.
//
// Call `demuxbuf_receiver_pending` next.
// Returns `DEMUXBUF_OK` and writes `*content`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
// `DEMUXBUF_ERR_NO_BUFFER` (nothing is undecoded), `DEMUXBUF_ERR_NO_BUFFER_FREE` (none that the content could leave
// with, though what others kept past their deadline was evicted), `DEMUXBUF_ERR_IN_FLIGHT`, `DEMUXBUF_ERR_IN_PLACE`,
// `DEMUXBUF_ERR_LOOKED_AT`. Nothing of the receiver is changed then.
int32_t demuxbuf_receiver_take(demuxbuf_pool *pool,
                               uint64_t receiver,
                               demuxbuf_leased_content *content);

// The decoder took `consumed` bytes from the front and, if `need_more` is not 0, cannot go on before that many more
// have arrived. `consumed` and `need_more` in one call, so that a receive cycle is three calls.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`,
// `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`, `DEMUXBUF_ERR_TOO_MANY_BYTES` (as many are not there; or `need_more`
// is above `buffer_bytes` at the look that followed an answer to `DEMUXBUF_CANNOT_FIT` with 0 bytes: report what the
// next piece needs), `DEMUXBUF_ERR_NO_BUFFER_FREE` (`DEMUXBUF_DECODE` is not pending, and no buffer is free to decode
// in), `DEMUXBUF_ERR_CLOSED`, `DEMUXBUF_ERR_IN_PLACE` (delivered bytes would be left), `DEMUXBUF_ERR_ZERO_BYTES` (both
// are 0 in answer to `DEMUXBUF_CANNOT_FIT` with 0 bytes).
demuxbuf_step demuxbuf_receiver_decoded(demuxbuf_pool *pool,
                                        uint64_t receiver,
                                        uint32_t consumed,
                                        uint32_t need_more);

// One receive brought `bytes` bytes, and the decoder took all that is there: `demuxbuf_receiver_received` and
// `demuxbuf_receiver_decoded` in one call, for a host that decodes where it has received, before it reports. If
// something was undecoded before the receive, that lies in front of what was received, and was taken as well.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`,
// `DEMUXBUF_ERR_CLOSED`, and the others of `demuxbuf_receiver_received`.
demuxbuf_step demuxbuf_receiver_received_and_decoded(demuxbuf_pool *pool,
                                                     uint64_t receiver,
                                                     uint32_t bytes);

// As `demuxbuf_receiver_decoded`, of a decoder that can use up to `usable` bytes at once, though `need_more` help:
// payload that is passed on in pieces needs 1, and can use what is left of it, or as much as can be passed on now.
// While memory is short, a receive that waited for its turn takes as many, also where all was consumed; one byte if no
// need was reported then. What the decoder leaves of them may have no place. 0 for the same as `need_more`, without
// which it has no effect.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`
// and the others of `demuxbuf_receiver_decoded`.
demuxbuf_step demuxbuf_receiver_decoded_usable(demuxbuf_pool *pool,
                                               uint64_t receiver,
                                               uint32_t consumed,
                                               uint32_t need_more,
                                               uint32_t usable);

// A hint that events of this receiver follow soon: the processor fetches its rows from memory meanwhile. With more
// connections than the caches hold, nearly every event waits for them otherwise.
//
// When the poller returns a batch, call this for all of its events first, and handle the events then; take batches of
// at most about 100 events, since what is fetched has to stay in the first cache until it is used. Fetch your own
// state of the connection in the same pass. Any handle is harmless, a stale one too; so are NULL and a poisoned pool.
// Nothing is changed.
void demuxbuf_receiver_prefetch(const demuxbuf_pool *pool,
                                uint64_t receiver);

// What is to be done now, without reporting anything.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set a status:
// `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
demuxbuf_step demuxbuf_receiver_pending(demuxbuf_pool *pool, uint64_t receiver);

// Writes everything there is to print about a receiver.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_STALE`, and nothing is written.
int32_t demuxbuf_receiver_describe(const demuxbuf_pool *pool,
                                   uint64_t receiver,
                                   demuxbuf_receiver_info *info);

// The transport has bytes, an end of stream or an error to report. Begins a new loop iteration. Repeats are harmless.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
demuxbuf_step demuxbuf_receiver_readable(demuxbuf_pool *pool,
                                         uint64_t receiver);

// One receive brought `bytes` bytes, at most `bytes` of the step that asked for it.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
// `DEMUXBUF_ERR_ZERO_BYTES` (report the end of the stream instead), `DEMUXBUF_ERR_TOO_MANY_BYTES`,
// `DEMUXBUF_ERR_NO_BUFFER`, `DEMUXBUF_ERR_AFTER_END`, `DEMUXBUF_ERR_LOOKED_AT` (fewer than a look is for).
demuxbuf_step demuxbuf_receiver_received(demuxbuf_pool *pool, uint64_t receiver, uint32_t bytes);

// One receive found nothing. Repeat one that was interrupted (EINTR) instead.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
// `DEMUXBUF_ERR_LOOKED_AT` (what was decoded when it was looked at is not received away).
demuxbuf_step demuxbuf_receiver_would_block(demuxbuf_pool *pool, uint64_t receiver);

// One receive found nothing, and the host has armed read interest, or its report is to come: `would_block` and the
// report of `DEMUXBUF_WANT_RECV` in one call, for hosts that arm it as soon as they find nothing (one-shot,
// optimistic; completion: that have submitted a poll). `DEMUXBUF_STOP_RECV` is pending then if read interest is not
// wanted.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
// `DEMUXBUF_ERR_LOOKED_AT` (what was decoded when it was looked at is not received away).
demuxbuf_step demuxbuf_receiver_would_block_armed(demuxbuf_pool *pool,
                                                  uint64_t receiver);

// The peer will send no more. In any state, with or without a receive. Whole frames that are buffered are still to be
// decoded; `DEMUXBUF_END` follows.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
// `DEMUXBUF_ERR_IN_PLACE`, `DEMUXBUF_ERR_LOOKED_AT` (what is looked at is to be reported on first).
demuxbuf_step demuxbuf_receiver_end_of_stream(demuxbuf_pool *pool,
                                              uint64_t receiver);

// The transport failed. In any state, with or without a receive. What is buffered is still to be decoded, then
// `DEMUXBUF_END` follows. Where that is of no use any more, as after a failed send, report fail first, or close.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
// `DEMUXBUF_ERR_IN_PLACE`.
demuxbuf_step demuxbuf_receiver_transport_error(demuxbuf_pool *pool,
                                                uint64_t receiver);

// Decoding cannot go on for these reasons of the host's. They add up.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
// `DEMUXBUF_ERR_NO_REASONS`.
demuxbuf_step demuxbuf_receiver_block(demuxbuf_pool *pool, uint64_t receiver, uint32_t reasons);

// These reasons are gone; decoding resumes when none is left.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
// `DEMUXBUF_ERR_NO_REASONS`.
demuxbuf_step demuxbuf_receiver_unblock(demuxbuf_pool *pool, uint64_t receiver, uint32_t reasons);

// These, and no others, are the host's reasons why decoding cannot go on; 0 for none. For a host that keeps the mask
// itself: one call beside the decoder, instead of a report of each difference. The same mask again is harmless.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
demuxbuf_step demuxbuf_receiver_set_blocked(demuxbuf_pool *pool,
                                            uint64_t receiver,
                                            uint32_t reasons);

// A new loop iteration begins for this connection.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
demuxbuf_step demuxbuf_receiver_wake(demuxbuf_pool *pool, uint64_t receiver);

// The host wants no reading for reasons of its own. Repeats are harmless, and one resume ends them all.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
demuxbuf_step demuxbuf_receiver_pause_recv(demuxbuf_pool *pool, uint64_t receiver);

// The host's reasons for pausing are gone.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
demuxbuf_step demuxbuf_receiver_resume_recv(demuxbuf_pool *pool, uint64_t receiver);

// The decoder found a fatal error: from now on what arrives is discarded, by the receiver itself.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
// `DEMUXBUF_ERR_CLOSED`.
demuxbuf_step demuxbuf_receiver_fail(demuxbuf_pool *pool, uint64_t receiver);

// These pending actions are done: any of want_recv, stop_recv, shed, end, cannot_fit, reschedule; of a completion host
// also recv, when the receive is submitted: until its outcome is reported, what it goes to stays where it is.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
// `DEMUXBUF_ERR_NOT_PENDING`.
demuxbuf_step demuxbuf_receiver_done(demuxbuf_pool *pool,
                                     uint64_t receiver,
                                     uint32_t actions);

// Reports any event by its number: `DEMUXBUF_EVENT_*`. The calls above are the same for one event each.
//
// `value` is what the event counts: bytes, reasons or actions; 0 for an event that counts nothing.
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_EVENT`, `DEMUXBUF_ERR_RANGE` (a value for an
// event that counts nothing), `DEMUXBUF_ERR_INTERNAL_EVENT` (a buffer event: the pool drives these); or, as the
// event has it: `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`, `DEMUXBUF_ERR_CLOSED`, `DEMUXBUF_ERR_NO_BUFFER`,
// `DEMUXBUF_ERR_TOO_MANY_BYTES`, `DEMUXBUF_ERR_ZERO_BYTES`, `DEMUXBUF_ERR_NO_REASONS`, `DEMUXBUF_ERR_AFTER_END`,
// `DEMUXBUF_ERR_NOT_PENDING`, `DEMUXBUF_ERR_NO_BUFFER_FREE`, `DEMUXBUF_ERR_IN_PLACE`, `DEMUXBUF_ERR_LOOKED_AT`.
demuxbuf_step demuxbuf_receiver_report(demuxbuf_pool *pool,
                                       uint64_t receiver,
                                       uint32_t event,
                                       uint32_t value);

// The connection is going away, in whatever state it is: what it holds or waits for is released in this step, what
// was buffered is counted as dropped, and the handle ends with `DEMUXBUF_FINISHED`: at once, or if a receive is in
// flight (completion), with its outcome.
//
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
demuxbuf_step demuxbuf_receiver_close(demuxbuf_pool *pool,
                                      uint64_t receiver);

// `length` bytes came for a receiver, and are at `bytes`, in memory of the host: the system chose a buffer, of a ring
// for instance. It is as if they were received now, as many as may be. What completes kept bytes is copied. Where
// nothing is kept, they are decoded in place: `data` of the step is `bytes` then.
//
// `*accepted` is how many of them, from the front, are the receiver's now. The others are still the host's, with the
// buffer that they are in. Do the actions, and report what the decoder did with `demuxbuf_receiver_delivered`. Each
// time that `DEMUXBUF_RECV` is pending, in whichever step, deliver what is left; if nothing is, receive, or report
// `would_block`. The buffer is free as soon as all is accepted and `DEMUXBUF_DECODE` is not pending any more.
//
// Needs no `readable`: a delivery is one. Nothing is accepted while the receiver waits for memory, decodes what it
// has, is blocked or paused.
// Returns what is to be done now and writes `*accepted`, or with `DEMUXBUF_ERROR` set a status, and nothing is
// changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`, `DEMUXBUF_ERR_CLOSED`,
// `DEMUXBUF_ERR_IN_FLIGHT`, `DEMUXBUF_ERR_CANNOT_COUNT` (the receiver counts), `DEMUXBUF_ERR_ZERO_BYTES`,
// `DEMUXBUF_ERR_TOO_MANY_BYTES` (more than `buffer_bytes`), `DEMUXBUF_ERR_AFTER_END`, `DEMUXBUF_ERR_IN_PLACE` (of this
// or of another receiver of the pool).
demuxbuf_step demuxbuf_receiver_deliver(demuxbuf_pool *pool,
                                        uint64_t receiver,
                                        const uint8_t *bytes,
                                        uint32_t length,
                                        uint32_t *accepted);

// As `demuxbuf_receiver_decoded`, of a receiver that bytes are delivered to; `data` is that of the step before, or
// where the bytes behind those that were consumed since lie. What is left of bytes in place is copied, unless it can
// be decoded at once: then `data` of the new step is where they still are. For a receiver that has no bytes in place,
// `data` makes no difference.
//
// Bytes in place stay so until this report. A call such as `demuxbuf_receiver_block` does not copy them: report 0
// consumed bytes behind it.
// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
// a status, and nothing is changed: `DEMUXBUF_ERR_NULL` (also for `data`, if bytes are in place) and the others of
// `demuxbuf_receiver_decoded`.
demuxbuf_step demuxbuf_receiver_delivered(demuxbuf_pool *pool,
                                          uint64_t receiver,
                                          const uint8_t *data,
                                          uint32_t consumed,
                                          uint32_t need_more);

// The next of what happened without an event: a request of the host's own was granted; a receiver may receive, or is
// to be shed; then, leases of the host's own that are overdue; then, that the table of receivers is not full any more.
// Call it in each loop iteration until it returns `DEMUXBUF_STATUS_NONE`.
//
// Do what `notice->step` asks for before the next call. `data` of an earlier step stays valid as `demuxbuf_step` has
// it: where neither `DEMUXBUF_RECV` nor `DEMUXBUF_DECODE` is pending, this call may move it.
//
// On a shared pool, a thread that does not call it within `frame_grace_ns` after a buffer was assigned to it loses
// that buffer to others that wait. Its requests queue again.
//
// Returns `DEMUXBUF_OK` and writes `*notice`; `DEMUXBUF_STATUS_NONE`; `DEMUXBUF_ERR_NULL`,
// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_POISONED`, and nothing is written or taken from the queue of notices.
int32_t demuxbuf_pool_poll_notice(demuxbuf_pool *pool,
                                  demuxbuf_notice *notice);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* ==== The pool ====
 *
 * Its life, its clock, its counts and its tenants.
 * Thread rule, where a function has none of its own: one thread at a time per pool.
 */

// An action is pending, see `actions`.
#define DEMUXBUF_FINDING_ACTION_UNDONE 1

// `DEMUXBUF_RECV` or `DEMUXBUF_DECODE` was pending at an earlier audit, and nothing happened to the receiver since.
// With level-triggered read interest that is armed, `DEMUXBUF_RECV` alone may stay pending, and is named only while
// requests wait.
#define DEMUXBUF_FINDING_AREA_OUTLIVED 2

// `DEMUXBUF_RESCHEDULE` was reported done in an earlier iteration, and wake did not follow.
#define DEMUXBUF_FINDING_NOT_WOKEN 3

// `DEMUXBUF_CANNOT_FIT` was reported done in an earlier iteration, and nothing followed.
#define DEMUXBUF_FINDING_MISFIT_LEFT 4

// A receive in flight was to be cancelled a second ago or more, and its outcome was not reported.
#define DEMUXBUF_FINDING_OUTCOME_MISSING 5

// A receive in flight has brought nothing for a second or more, and holds a buffer that requests wait for.
#define DEMUXBUF_FINDING_RECEIVE_IDLE 6

// A receiver was reported in each of `count` iterations, and received nothing.
#define DEMUXBUF_FINDING_SPINNING 7

// A notice was not picked up with `demuxbuf_pool_poll_notice`.
#define DEMUXBUF_FINDING_NOTICE_LEFT 8

// The clock was not advanced in this iteration.
#define DEMUXBUF_FINDING_CLOCK_STOPPED 9

// The host slept beyond `demuxbuf_pool_poll_timeout`, by more than an eighth of `frame_grace_ns`.
#define DEMUXBUF_FINDING_OVERSLEPT 10

// Delivered bytes are in place, and are not to be decoded now: you blocked before you reported on them. No other
// receiver is granted meanwhile.
#define DEMUXBUF_FINDING_IN_PLACE_LEFT 11

// `DEMUXBUF_CANNOT_FIT` is pending, and nothing of the frame was received that a report without a need could be about.
// To pass the frame on in pieces, report what its next piece needs, which is its header if that was looked at.
#define DEMUXBUF_FINDING_MISFIT_UNREAD 12

// A mistake of the host, as an audit sees it.
typedef struct {
  // `sizeof(demuxbuf_finding)`, set before the call; then how many bytes were written.
  uint32_t struct_size;
  // One of `DEMUXBUF_FINDING_*`.
  uint32_t kind;
  // The receiver; 0 if it is about the pool.
  uint64_t receiver;
  // What the host gave at attach, or with the request of its own that was granted; 0 if it is about the pool.
  uint64_t token;
  // The time of the first audit in a row that saw it, in the host's nanoseconds.
  uint64_t since_ns;
  // How long that was ago, in nanoseconds. 0: it began in this iteration. With `DEMUXBUF_FINDING_OVERSLEPT`: how
  // long the host slept beyond the timeout.
  uint64_t age_ns;
  // Mask of the `DEMUXBUF_*` actions that are undone.
  uint32_t actions;
  // Requests that wait, or iterations in a row; 0 where nothing is counted.
  uint32_t count;
} demuxbuf_finding;

// What a pool counts. Sizes in bytes, times in nanoseconds.
typedef struct {
  // `sizeof(demuxbuf_pool_stats)`, set before the call; then how many bytes were written.
  uint32_t struct_size;
  // The budget, in buffers; of a shared pool that of all threads, as all counts of buffers and requests here.
  uint32_t buffers;
  // Buffers that are free.
  uint32_t free;
  // Buffers in use: leases of the host's own, and what receivers use, be it to receive or cut into cells.
  uint32_t leased;
  // Buffers assigned to requests of the host's own, and not picked up yet.
  uint32_t assigned;
  // Requests of the host's own that wait; of a shared pool also one of each thread whose receivers wait.
  uint32_t waiting;
  // The most buffers that were in use at once; of a shared pool a number that is never too low.
  uint32_t leased_peak;
  // The most waits that were queued at once.
  uint32_t waiting_peak;
  // Receivers attached.
  uint32_t receivers;
  // The most receivers that can be attached at once.
  uint32_t receivers_max;
  // Waits queued, by class.
  uint32_t waiting_by_class[DEMUXBUF_CLASSES_MAX];
  // Buffers in use or assigned, by class; of a shared pool only those in use.
  uint32_t outstanding_by_class[DEMUXBUF_CLASSES_MAX];
  // Requests granted at once.
  uint64_t granted_at_once;
  // Requests granted by hand-off.
  uint64_t granted_by_handoff;
  // Requests that had to wait.
  uint64_t queued;
  // Waits that were cancelled.
  uint64_t cancelled;
  // Buffers released.
  uint64_t released;
  // The most bypasses of a waiter until it was served; `demuxbuf_pool_bypass_bound` is the bound.
  uint64_t bypass_peak;
  // Times a clock went backwards.
  uint64_t clock_backwards;
  // Time that did not count, in nanoseconds: of each step of the clock what was more than an eighth of
  // `frame_grace_ns`. In a shared pool, of this thread's clock.
  uint64_t clock_skipped_ns;
  // Receivers that were shed, for whatever reason.
  uint64_t shed;
  // Bytes that came in: received, there at attach or adopt, or with a receiver from another thread.
  uint64_t received_bytes;
  // Bytes the decoders took; buffered is what came in, less these three.
  uint64_t consumed_bytes;
  // Bytes thrown away after a failure, after the end, or at close.
  uint64_t dropped_bytes;
  // Bytes that left with a buffer the host took, or with a receiver that went to another thread.
  uint64_t taken_bytes;
  // The most bytes of buffers that can be resident, but for rounding up to pages; of a shared pool, of all threads.
  uint64_t memory_bytes;
  // Claims that began: receivers that had to wait for room. Of a shared pool, this and all below are this thread's.
  uint64_t claims;
  // Claims that were granted.
  uint64_t grants;
  // Claims that came to their deadline.
  uint64_t trials;
  // Receivers that were shed at the deadline of their claim.
  uint64_t shed_at_deadline;
  // Receivers whose content was evicted.
  uint64_t evicted;
  // Receivers whose decoder left bytes for which there was no place.
  uint64_t shed_for_memory;
  // The longest claim that ended, in nanoseconds of the pool's clock.
  uint64_t longest_claim_ns;
  // The longest that a claim lasts, in nanoseconds of the pool's clock, whatever other receivers do.
  uint64_t wait_ns_max;
  // Bytes copied between cells and buffers.
  uint64_t copied_bytes;
  // Buffers that a limit keeps out of use (`demuxbuf_pool_set_memory_limit`); of a shared pool, of all threads.
  uint32_t withheld;
  // Buffers that are still to be withheld for that; 0 if the limit is met.
  uint32_t to_withhold;
  // Frames of receivers that count of which the kernel would hold no more (`DEMUXBUF_EVENT_KERNEL_FULL`), so that
  // they were received as those of receivers that do not count.
  uint64_t full_kernels;
} demuxbuf_pool_stats;

// What a tenant may have: buffers of the host's own in its name, and what its receivers keep. Counts are buffers.
typedef struct {
  // `sizeof(demuxbuf_tenant_config)`.
  uint32_t struct_size;
  // Share, relative to the other tenants: 1 to 1000. What its receivers and leases hold is divided by it.
  uint32_t weight;
  // Buffers it gets before tenants that have their guaranteed share already. Others borrow them meanwhile. While it
  // holds no more, nothing of it is evicted before its deadline.
  uint32_t guaranteed;
  // The most buffers it may have; UINT32_MAX for no cap. Its receivers may keep less than a buffer more for each
  // that borrows.
  uint32_t cap;
} demuxbuf_tenant_config;

// How a tenant stands.
typedef struct {
  // `sizeof(demuxbuf_tenant_info)`, set before the call; then how many bytes were written.
  uint32_t struct_size;
  // Its weight.
  uint32_t weight;
  // Grants it got.
  uint64_t granted;
  // What it has outstanding, in buffers: leases, and what its receivers keep, rounded up.
  uint32_t outstanding_units;
  // Its requests that wait.
  uint32_t waiting;
  // Not 0: it is removed, and goes away with its last buffer, wait and receiver.
  uint32_t retiring;
  // Always 0.
  uint32_t reserved;
} demuxbuf_tenant_info;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Makes a pool and reserves everything it will ever need. The host owns it and frees it with `demuxbuf_pool_free`.
//
// Receivers borrow a buffer to receive and decode, keep only what is left of a partial frame, and wait for room no
// longer than `wait_ns_max` of `demuxbuf_pool_stats`. While others wait, `demuxbuf_pool_poll_notice` brings
// `DEMUXBUF_STOP_RECV` for receives in flight (completion) that found nothing in the iteration in which they were
// submitted.
//
// A call that reads a struct of settings writes to `message` why it refuses them: a sentence that names the field, its
// value and what is allowed. `*message_bytes` is the room there, and is then set to the room that the whole sentence
// needs. Both count the closing 0. The sentence is cut at the end of the room. Both pointers may be NULL, and
// `message` alone. A call that succeeds writes to neither. Thread rule: any thread; the pool is then for one thread at
// a time.
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_STRUCT_SIZE`; `DEMUXBUF_ERR_UNKNOWN_FIELD`;
// `DEMUXBUF_ERR_CONFIG`; `DEMUXBUF_ERR_NO_MEMORY`; `DEMUXBUF_ERR_TOO_MANY_POOLS` (1023 are alive in the process);
// `DEMUXBUF_ERR_POISONED` (a defect of the library); nothing stays reserved then and `*pool` is not written.
int32_t demuxbuf_pool_new(const demuxbuf_pool_config *config,
                          demuxbuf_pool **pool,
                          char *message,
                          size_t *message_bytes);

// Frees a pool, its memory and everything attached to it. NULL is harmless. Every handle and pointer of it is dead.
//
// Of a pool of `demuxbuf_shared_pool_shard`, the buffers of the receivers go to the other threads: call
// `demuxbuf_shared_pool_poll_wake` next. Leases of the host's own stay as they are, with their content and their
// pointers: any thread releases or adopts them through the pool of its own. If the shared pool and the pools of all
// other threads are freed already, the memory goes with this one, and such leases with it.
//
// Thread rule: no other call on this pool at the same time or after; any thread. Other threads may use their own pools
// meanwhile, and release leases that came from this one.
void demuxbuf_pool_free(demuxbuf_pool *pool);

// Advances the pool's clock to this time, in monotonic nanoseconds; once in each loop iteration, before the events.
// The first call is the origin: what began before it has its time counted from there. One call is worth at most an
// eighth of `frame_grace_ns`, the rest does not count (`clock_skipped_ns`): a pause of the process makes no receiver
// look idle. A time before the last one is counted and not taken. Early and repeated calls are harmless.
//
// It ends all borrows but those of receives in flight: what was not decoded is kept, and `data` of earlier steps is
// not valid any more.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_WRONG_THREAD`.
int32_t demuxbuf_pool_handle_timeout(demuxbuf_pool *pool,
                                     uint64_t now_ns);

// When `demuxbuf_pool_handle_timeout` is to be called at the latest, in nanoseconds; UINT64_MAX for never, and for
// NULL or a poisoned pool. While a deadline runs it is at most an eighth of `frame_grace_ns` after the last call, so
// that the clock follows real time; a time that is not after the last call is for at once.
uint64_t demuxbuf_pool_poll_timeout(const demuxbuf_pool *pool);

// The published bound: the most grants that bypass a request of the host's own that waits.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`.
int32_t demuxbuf_pool_bypass_bound(const demuxbuf_pool *pool, uint64_t *grants);

// Gives the pages of free buffers that were used since the last call back to the operating system and writes how many
// bytes. A page of which a buffer in use has a part stays. For quiet times: it looks at each buffer, and costs a
// system call for each piece of such pages. Other threads of a shared pool wait for the pages of at most 16 buffers,
// and of at most 1 MiB if that is more than one buffer.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`.
int32_t demuxbuf_pool_trim(demuxbuf_pool *pool,
                           uint64_t *bytes);

// Takes no new receivers from now on: attaching is `DEMUXBUF_ERR_DRAINING`. All else works as before, so that those
// that are there end in order. `DEMUXBUF_NOTICE_DRAINED` follows, once, when nothing is left: no receiver, not even
// one with a receive in flight; no request of the host's own that waits; and no lease, but on a shared pool, which
// outlives them. There is no way back. On a shared pool it is for this thread, and what other threads export comes in.
//
// Returns `DEMUXBUF_OK`, also if it drains already; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`.
int32_t demuxbuf_pool_drain(demuxbuf_pool *pool);

// Other values of `frame_grace_ns` and `blocked_ns` of the configuration, from now on: every deadline follows from
// them, also of what is there; so do `wait_ns_max`, and the most that an advance of the clock counts for. On a shared
// pool it is for this thread; the time after which a grant that is not picked up goes on stays.
//
// `message` and `message_bytes` are as for `demuxbuf_pool_new`. Cost: O(receivers that are not idle).
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_CONFIG` (a value is out of
// range), and nothing is changed.
int32_t demuxbuf_pool_set_times(demuxbuf_pool *pool,
                                uint64_t frame_grace_ns,
                                uint64_t blocked_ns,
                                char *message,
                                size_t *message_bytes);

// From the next advance of the clock on, the pool uses at most `limit_bytes`, rounded down to whole buffers: from the
// least that `memory_bytes` of the configuration may be, with the reserves of the classes, up to `memory_bytes`
// itself, which is no limit. A pool begins without one. What a pool reserves is not resident before it is used: so
// reserve the most that is ever to be used, and limit it.
//
// Buffers that are free beyond the limit are withheld at once, others as they are released, before any request that
// waits. Until then memory counts as short, and what receivers keep past its deadline is evicted, as for a request of
// the host's own: no receiver is shed that is in time. Leases of the host's own stay, those past their deadline are
// named by `DEMUXBUF_NOTICE_OVERDUE`; receives in flight are taken back; receivers that are exported have their
// buffers until they are imported. `to_withhold` of `demuxbuf_pool_stats` is 0 once the limit is met;
// `demuxbuf_pool_trim` returns what is withheld to the operating system. With a higher limit buffers are free again.
//
// On a shared pool it is for all threads, from this call on; `demuxbuf_pool_poll_wake` names threads to signal.
// `message` and `message_bytes` are as for `demuxbuf_pool_new`. Cost: O(buffers that are withheld, or free again).
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_CONFIG` (`limit_bytes` is out of
// range), and nothing is changed.
int32_t demuxbuf_pool_set_memory_limit(demuxbuf_pool *pool,
                                       uint64_t limit_bytes,
                                       char *message,
                                       size_t *message_bytes);

// Checks everything that must always hold, walking all tables: for tests, not for the receive path. On a shared pool,
// no other thread may be inside a call for any of its pools meanwhile: the check reads what they change, and would
// report a defect where there is none.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_INVARIANT` (a defect of the library, or another thread was inside a call).
int32_t demuxbuf_pool_check_invariants(const demuxbuf_pool *pool);

// What the host left undone. Call it in each loop iteration, as the last thing before you sleep, until it returns
// `DEMUXBUF_STATUS_NONE`, and print each finding with `demuxbuf_finding_str`. `now_ns` is the time that you would
// advance the clock to.
//
// It finds actions that are undone, memory that is held across iterations, and other mistakes
// (`DEMUXBUF_FINDING_*`); some of them only if they last from one audit to the next. So sleep for a second at most
// where you use it. A host without one place where it sleeps prints only what has an `age_ns`.
//
// For debugging: a round looks at each receiver, and the first event for each of them after it takes the slow path.
// The pool's configuration asks for it (`audit`).
// Thread rule: the pool's thread; another is refused.
// Returns `DEMUXBUF_OK` and writes `*finding`; `DEMUXBUF_STATUS_NONE`; `DEMUXBUF_ERR_NULL`,
// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_WRONG_THREAD`, `DEMUXBUF_ERR_AUDIT_OFF`, and
// nothing is written.
int32_t demuxbuf_pool_poll_audit(demuxbuf_pool *pool,
                                 uint64_t now_ns,
                                 demuxbuf_finding *finding);

// Writes a finding as one line that names the mistake and what to do, for logs.
//
// `bytes` is the room at `buffer`. The text is cut there, always with a closing 0. `buffer` may be NULL.
// Thread rule: any thread, any time. Returns the room that the whole text needs, with its closing 0; 0 if `finding` is
// NULL or was not written by `demuxbuf_pool_poll_audit`.
size_t demuxbuf_finding_str(const demuxbuf_finding *finding,
                            char *buffer,
                            size_t bytes);

// Writes everything there is to print about a pool. Needs no buffer, lock or allocation.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`,
// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_POISONED`, and nothing is written.
int32_t demuxbuf_pool_get_stats(const demuxbuf_pool *pool, demuxbuf_pool_stats *stats);

// Creates a tenant: what you trust to be one party (a listener, a customer, an address prefix). In a shared pool it is
// a tenant of all threads: each may use its handle.
//
// `message` and `message_bytes` are as for `demuxbuf_pool_new`.
// Cost: O(1), no allocation.
// Returns `DEMUXBUF_OK` and writes `*tenant`, never 0; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_UNKNOWN_FIELD`, `DEMUXBUF_ERR_RANGE` (weight, cap, or a guarantee above
// what is left), `DEMUXBUF_ERR_TABLE_FULL`.
int32_t demuxbuf_pool_create_tenant(demuxbuf_pool *pool,
                                    const demuxbuf_tenant_config *tenant_config,
                                    uint64_t *tenant,
                                    char *message,
                                    size_t *message_bytes);

// Removes a tenant. Receivers that request in its name go on to do so; it goes away with the last of them, and with
// its last buffer and wait.
//
// Cost: O(1).
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
int32_t demuxbuf_pool_remove_tenant(demuxbuf_pool *pool,
                                    uint64_t tenant);

// Writes how a tenant stands, also while it is going away.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_STALE`, and nothing is written.
int32_t demuxbuf_pool_describe_tenant(const demuxbuf_pool *pool, uint64_t tenant, demuxbuf_tenant_info *info);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* ==== Requests ====
 *
 * Buffers of the host's own out of the same pool.
 * Thread rule: one thread at a time per pool. Cost: O(1), no allocation, no system call.
 */

// A request for a buffer of the host's own. All-zero but for `struct_size` asks for one for no tenant, in class 0,
// without a deadline.
typedef struct {
  // `sizeof(demuxbuf_request)`.
  uint32_t struct_size;
  // Its class.
  uint32_t class_index;
  // Comes back with the grant.
  uint64_t token;
  // The tenant that it counts for; 0 for none.
  uint64_t tenant;
  // Not 0: the lease has a deadline. If it is held for `lease_ns` of the configuration while others wait, a notice
  // names it (`DEMUXBUF_NOTICE_OVERDUE`).
  uint32_t has_deadline;
  // Must be 0.
  uint32_t reserved;
} demuxbuf_request;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Asks for a buffer of the host's own (transmit, stream ...). `token` comes back with the grant.
//
// Granted at once: `DEMUXBUF_OK` and `*handle` is the lease. Queued: `DEMUXBUF_STATUS_QUEUED` and `*handle` is the
// wait; the lease comes from `demuxbuf_pool_poll_notice`.
// Errors: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_TABLE_FULL`
// (`waiters_max` requests wait), `DEMUXBUF_ERR_POOL_CLOSED` (the shared pool was freed); nothing is changed then.
int32_t demuxbuf_pool_request(demuxbuf_pool *pool,
                              uint32_t class_index,
                              uint64_t token,
                              uint64_t *handle);

// Asks for a buffer of the host's own, in the name of any tenant. Else as `demuxbuf_pool_request`.
//
// `message` and `message_bytes` are as for `demuxbuf_pool_new`.
// Returns `DEMUXBUF_OK` or `DEMUXBUF_STATUS_QUEUED`, and writes `*handle`. Errors: `DEMUXBUF_ERR_NULL`,
// `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_UNKNOWN_FIELD`, `DEMUXBUF_ERR_CLASS`,
// `DEMUXBUF_ERR_STALE` (the tenant), `DEMUXBUF_ERR_TOO_LARGE` (it could never be granted),
// `DEMUXBUF_ERR_DEADLINES_OFF`, `DEMUXBUF_ERR_TABLE_FULL`, `DEMUXBUF_ERR_POOL_CLOSED` (the shared pool was freed).
int32_t demuxbuf_pool_request_for(demuxbuf_pool *pool,
                                  const demuxbuf_request *request,
                                  uint64_t *handle,
                                  char *message,
                                  size_t *message_bytes);

// Asks for a buffer of the host's own that is granted at once or not at all. The request is never queued, so no notice
// follows; and it goes before no request that is queued.
//
// `message` and `message_bytes` are as for `demuxbuf_pool_new`.
// Returns `DEMUXBUF_OK` and writes `*lease`; `DEMUXBUF_STATUS_NONE` if the request would have to wait, and nothing is
// written. Errors: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STRUCT_SIZE`,
// `DEMUXBUF_ERR_UNKNOWN_FIELD`, `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_STALE` (the tenant),
// `DEMUXBUF_ERR_TOO_LARGE` (it could never be granted), `DEMUXBUF_ERR_DEADLINES_OFF`, `DEMUXBUF_ERR_POOL_CLOSED` (the
// shared pool was freed).
int32_t demuxbuf_pool_try_request(demuxbuf_pool *pool,
                                  const demuxbuf_request *request,
                                  uint64_t *lease,
                                  char *message,
                                  size_t *message_bytes);

// Releases a buffer of the host's own; the next waiter has it in the same step. It may come from any pool of the same
// `demuxbuf_shared_pool`, also from one that was freed.
//
// Of several threads that release or adopt one lease at once, one succeeds.
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE` (released already, of
// another pool, or a receiver's).
int32_t demuxbuf_pool_release(demuxbuf_pool *pool,
                              uint64_t lease);

// The deadline of a lease of the host's own begins anew: what the buffer is held for makes progress. A later notice
// may name the lease again.
//
// Cost: O(1).
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
// `DEMUXBUF_ERR_NO_DEADLINE` (it was requested without one, or from another pool of the same `demuxbuf_shared_pool`).
int32_t demuxbuf_pool_renew_lease(demuxbuf_pool *pool,
                                  uint64_t lease);

// Ends a wait of the host's own; a buffer assigned to it goes to the next waiter in the same step.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE` (granted or cancelled
// already, of another pool, or a receiver's).
int32_t demuxbuf_pool_cancel(demuxbuf_pool *pool,
                             uint64_t wait);

// The memory of a buffer of the host's own: `*data` is valid until the lease ends, `*bytes` is its size. The lease may
// come from any pool of the same `demuxbuf_shared_pool`, also from one that was freed.
//
// Thread rule: one thread at a time per pool, and one thread at a time per buffer.
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
int32_t demuxbuf_pool_buffer(demuxbuf_pool *pool,
                             uint64_t lease,
                             uint8_t **data,
                             uint32_t *bytes);

// The lease of the buffer that `address` lies in, be it the first byte, the last or one between them: for a host that
// hands on pointers into its buffers and has to release one. The address is compared, never followed; it may lie in a
// buffer of any pool of the same `demuxbuf_shared_pool`.
//
// Cost: O(1).
// Returns `DEMUXBUF_OK` and writes `*lease`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_ADDRESS` (in
// no buffer of the pool), `DEMUXBUF_ERR_STALE` (in a buffer that is free, or a receiver's).
int32_t demuxbuf_pool_lease_of_address(const demuxbuf_pool *pool,
                                       const void *address,
                                       uint64_t *lease);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* ==== Threads ====
 *
 * One pool of buffers for several threads, each of which has a pool object of its own. Receivers can move.
 * Each function has a thread rule of its own.
 */

// Bytes that a receiver keeps without a buffer when it moves, at most.
#define DEMUXBUF_EXPORT_BYTES_MAX 64

// A pool that several threads share. Made by `demuxbuf_shared_pool_new`; each thread uses it through a `demuxbuf_pool`
// of its own.
typedef struct demuxbuf_shared_pool demuxbuf_shared_pool;

// A receiver between its export and its import, with what it keeps: a plain value that the host passes on as it likes;
// of its copies one is taken in. The fields are private to the library. All-zero is no receiver.
typedef struct {
  uint32_t connection[8];
  uint64_t token;
  uint64_t lease;
  uint64_t pool;
  uint64_t age_ns;
  uint32_t entry;
  uint32_t uses;
  uint32_t offset;
  uint32_t class_index;
  int32_t credit_bytes;
  uint32_t unknown_length;
  uint8_t kept[DEMUXBUF_EXPORT_BYTES_MAX];
  uint32_t is_guess;
  uint32_t mark_bytes;
} demuxbuf_exported_receiver;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Makes a pool that `shards` threads share, 1 to 1024. The host owns it and frees it with `demuxbuf_shared_pool_free`.
//
// `config` is as for `demuxbuf_pool_new`. These are for all threads together: `memory_bytes`, of at least 8 buffers
// for each thread; reserves, caps and tenants. These are for each thread: `receivers_max`, `waiters_max` and
// `in_flight_max`. `classes` is at most 7, since the library needs one more. The memory of the buffers is reserved
// here, what is a thread's own by `demuxbuf_shared_pool_shard`. `frame_grace_ns` is also the time in which a thread
// has to pick its grants up (`demuxbuf_pool_poll_notice`). `message` and `message_bytes` are as for
// `demuxbuf_pool_new`. Thread rule: any thread.
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_STRUCT_SIZE`; `DEMUXBUF_ERR_UNKNOWN_FIELD`;
// `DEMUXBUF_ERR_CONFIG`; `DEMUXBUF_ERR_NO_MEMORY`; `DEMUXBUF_ERR_TOO_MANY_POOLS` (1023 are alive in the process);
// `DEMUXBUF_ERR_POISONED` (a defect of the library); nothing stays reserved then and `*shared_pool` is not written.
int32_t demuxbuf_shared_pool_new(const demuxbuf_pool_config *config,
                                 uint32_t shards,
                                 demuxbuf_shared_pool **shared_pool,
                                 char *message,
                                 size_t *message_bytes);

// Makes the pool of one thread: a handle for all `demuxbuf_pool_*` and `demuxbuf_receiver_*` functions, for this
// thread alone. `index` is which of the threads, from 0. The host owns it and frees it with `demuxbuf_pool_free`; then
// this can be called for `index` again. A receiver's handle is for the pool that attached or imported it.
//
// Thread rule: the thread that will use the pool; others may call it for their own at the same time.
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_RANGE` (no such thread), `DEMUXBUF_ERR_IN_USE` (it has its
// pool), `DEMUXBUF_ERR_NO_MEMORY`, `DEMUXBUF_ERR_POISONED` (a defect of the library); `*pool` is not written then.
int32_t demuxbuf_shared_pool_shard(const demuxbuf_shared_pool *shared_pool,
                                   uint32_t index,
                                   demuxbuf_pool **pool);

// As `demuxbuf_pool_poll_wake`, for a thread without a pool: call it after `demuxbuf_pool_free`, which may have handed
// what the pool held to other threads.
//
// Thread rule: any thread, any time before `demuxbuf_shared_pool_free`. Cost: O(threads / 64), no lock.
// Returns `DEMUXBUF_OK` and writes `*index`; `DEMUXBUF_STATUS_NONE`; `DEMUXBUF_ERR_NULL`.
int32_t demuxbuf_shared_pool_poll_wake(const demuxbuf_shared_pool *shared_pool,
                                       uint32_t *index);

// Frees a shared pool, before the pools of its threads or after them; its memory goes with the last of them, so
// release all leases of the host's own before that. NULL is harmless. In pools that are still there, attaching,
// adopting and requests of the host's own are `DEMUXBUF_ERR_POOL_CLOSED` from now on. The receivers and requests that
// are there are served to their end.
//
// Thread rule: no other call with this pointer at the same time or after; the threads may use their pools meanwhile.
void demuxbuf_shared_pool_free(demuxbuf_shared_pool *shared_pool);

// A thread that has something to pick up, or deadlines to observe, and sleeps for all that is known. Call it until it
// returns `DEMUXBUF_STATUS_NONE`, before this thread sleeps, and signal each thread that it names, by an eventfd or
// the like; that thread then drains `demuxbuf_pool_poll_notice`. Each is named once until it has looked.
//
// Thread rule: the pool's thread; another is refused. Cost: O(threads / 64), no lock.
// Returns `DEMUXBUF_OK` and writes `*index`; `DEMUXBUF_STATUS_NONE`, always so for a pool of one thread;
// `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_WRONG_THREAD`.
int32_t demuxbuf_pool_poll_wake(demuxbuf_pool *pool,
                                uint32_t *index);

// Takes a receiver off this thread, in whatever state: idle, waiting, keeping bytes, decoding. Its handle ends;
// `*exported` is what to give to `demuxbuf_receiver_import` on another thread, or on this one again. More than 64
// bytes that it keeps leave with a buffer. If you drop an exported receiver, that buffer leaks until the shared pool
// is freed. To discard one, import it and close it.
//
// Thread rule: the pool's thread; another is refused. Cost: O(1), a copy of what it keeps, and the lock of the
// exports.
// Returns `DEMUXBUF_OK` and writes `*exported`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
// `DEMUXBUF_ERR_WRONG_THREAD`, `DEMUXBUF_ERR_NOT_SHARED` (a pool of one thread), `DEMUXBUF_ERR_CLOSED`,
// `DEMUXBUF_ERR_IN_FLIGHT` (a receive), `DEMUXBUF_ERR_IN_PLACE`, `DEMUXBUF_ERR_LOOKED_AT`, `DEMUXBUF_ERR_NOT_MOVABLE`
// (it is to be shed), `DEMUXBUF_ERR_NO_BUFFER_FREE` (it keeps more than 64 bytes, and no buffer is free to move them
// in, or its tenant may have none), `DEMUXBUF_ERR_EXPORTS_FULL` (`receivers_max` for each thread are exported and not
// imported yet); nothing is changed then.
int32_t demuxbuf_receiver_export(demuxbuf_pool *pool,
                                 uint64_t receiver,
                                 demuxbuf_exported_receiver *exported);

// Takes in a receiver that was exported, with its token. `*exported` is all-zero then, and `*receiver` its handle
// here; call `demuxbuf_receiver_pending` next. Pass the struct on as it is: its ticket and its limits are checked, so
// no memory is touched that is not the receiver's, but most other changes of its bytes are not noticed, and give the
// receiver a wrong state. If it waited for room, it waits again here, and the time of its frame goes on from where it
// was.
//
// Thread rule: the pool's thread; another is refused. Cost: O(1), a copy of what it keeps, and the lock of the
// exports.
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_WRONG_THREAD`,
// `DEMUXBUF_ERR_NOT_SHARED` (a pool of one thread), `DEMUXBUF_ERR_STALE` (imported already, also by way of a copy, of
// another pool, or with another ticket), `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_TABLE_FULL` (of receivers),
// `DEMUXBUF_ERR_NO_BUFFER_FREE` (it keeps bytes, and there is no buffer to decode them in now); nothing is changed
// then, and it can be tried again, here or elsewhere.
int32_t demuxbuf_receiver_import(demuxbuf_pool *pool,
                                 demuxbuf_exported_receiver *exported,
                                 uint64_t *receiver);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* ==== The state machine ====
 *
 * The receive logic of one connection without a pool, for hosts that have their own buffers.
 * Thread rule: one thread at a time per connection. Cost: O(1), no allocation, no system call.
 */

// The byte stream goes on, as far as is known.
#define DEMUXBUF_END_KIND_NONE 0

// The peer will send no more.
#define DEMUXBUF_END_KIND_STREAM 1

// The transport failed.
#define DEMUXBUF_END_KIND_ERROR 2

// One connection's receive state: a plain value that the host embeds in its own struct. All-zero is not attached. It
// may be moved with memcpy while it is not queued, and needs no destructor unless it holds or waits for something.
// The fields are private to the library; the header's inline tests read them.
typedef struct {
  uint32_t capacity;
  uint32_t buffered_bytes;
  // Of these the inline tests know one.
  uint32_t state[6];
} demuxbuf_connection;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Prepares a connection with a policy. An all-zero connection has the default policy already.
//
// The connection must not be attached: this call writes over what is there. `policy` may be NULL for the default.
// `message` and `message_bytes` are as for `demuxbuf_pool_new`.
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_STRUCT_SIZE`; `DEMUXBUF_ERR_UNKNOWN_FIELD`;
// `DEMUXBUF_ERR_CONFIG` for a wrong `mode`; nothing is written then.
int32_t demuxbuf_connection_init(demuxbuf_connection *connection,
                                 const demuxbuf_policy *policy,
                                 char *message,
                                 size_t *message_bytes);

// Receives and parks by this policy from now on, for example after a protocol upgrade. With another mode, read
// interest counts as off: `DEMUXBUF_WANT_RECV` asks for it in the new mode, which you register with the poller instead
// of the old one. A mode that receives before it asks (optimistic, completion) does so first.
//
// `message` and `message_bytes` are as for `demuxbuf_pool_new`.
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_UNKNOWN_FIELD`,
// `DEMUXBUF_ERR_CONFIG` (a wrong `mode`), `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_CLOSED`,
// `DEMUXBUF_ERR_IN_FLIGHT` (another mode while a receive is in flight).
uint32_t demuxbuf_connection_set_policy(demuxbuf_connection *connection,
                                        const demuxbuf_policy *policy,
                                        char *message,
                                        size_t *message_bytes);

// The connection starts: with `capacity` 0 for no buffer, else with a buffer of any size that already holds
// `buffered_bytes` bytes.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_ALREADY_ATTACHED`,
// `DEMUXBUF_ERR_CAPACITY_TOO_SMALL`.
uint32_t demuxbuf_connection_attach(demuxbuf_connection *connection,
                                    uint32_t buffered_bytes,
                                    uint32_t capacity);

// The transport has bytes, an end of stream or an error to report. Begins a new loop iteration. Repeats are harmless.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_readable(demuxbuf_connection *connection);

// The host has a buffer of `capacity` bytes for this connection; or a larger one, which now holds what was buffered.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_CAPACITY_TOO_SMALL`, `DEMUXBUF_ERR_ALREADY_HELD`, `DEMUXBUF_ERR_CLOSED`,
// `DEMUXBUF_ERR_IN_FLIGHT`.
uint32_t demuxbuf_connection_buffer_granted(demuxbuf_connection *connection,
                                            uint32_t capacity);

// No buffer could be had; the host has queued the connection. It must not be moved until granted or cancelled.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_ALREADY_WAITING`, `DEMUXBUF_ERR_ALREADY_HELD`, `DEMUXBUF_ERR_CLOSED`.
uint32_t demuxbuf_connection_buffer_denied(demuxbuf_connection *connection);

// The buffer is no longer held: released, or handed to another owner with its content.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_NO_BUFFER`,
// `DEMUXBUF_ERR_IN_FLIGHT`.
uint32_t demuxbuf_connection_buffer_released(demuxbuf_connection *connection);

// One receive brought `bytes` bytes, at most `demuxbuf_connection_recv_max`.
//
// Level-triggered and one-shot, a receive that brought less than that is taken to have run dry. A host that offered
// less, such as a ring up to its wrap, reports it with `demuxbuf_connection_sync`, and `would_block` when it did run
// dry.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_ZERO_BYTES` (report the end of the stream instead), `DEMUXBUF_ERR_TOO_MANY_BYTES`,
// `DEMUXBUF_ERR_NO_BUFFER`, `DEMUXBUF_ERR_AFTER_END`, `DEMUXBUF_ERR_CLOSED`.
uint32_t demuxbuf_connection_received(demuxbuf_connection *connection,
                                      uint32_t bytes);

// One receive found nothing. Repeat one that was interrupted (EINTR) instead.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_would_block(demuxbuf_connection *connection);

// One receive found nothing, and the host has armed read interest, or its report is to come: `would_block` and the
// report of `DEMUXBUF_WANT_RECV` in one call, for hosts that arm it as soon as they find nothing (one-shot,
// optimistic; completion: that have submitted a poll). `DEMUXBUF_STOP_RECV` is pending then if read interest is not
// wanted.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_would_block_armed(demuxbuf_connection *connection);

// The peer will send no more. In any state, with or without a receive. Whole frames that are buffered are still to be
// decoded; `DEMUXBUF_END` follows.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_end_of_stream(demuxbuf_connection *connection);

// The transport failed. In any state, with or without a receive. What is buffered is still to be decoded, then
// `DEMUXBUF_END` follows. Where that is of no use any more, as after a failed send, report fail first, or close.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_transport_error(demuxbuf_connection *connection);

// The decoder took `bytes` bytes from the front; 0 is harmless.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_TOO_MANY_BYTES`,
// `DEMUXBUF_ERR_IN_FLIGHT` (from a slot).
uint32_t demuxbuf_connection_consumed(demuxbuf_connection *connection,
                                      uint32_t bytes);

// The decoder cannot go on until at least `bytes` more bytes have arrived. `DEMUXBUF_CANNOT_FIT` if there is no room
// for them.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_ZERO_BYTES`, `DEMUXBUF_ERR_TOO_MANY_BYTES`, `DEMUXBUF_ERR_CLOSED`.
uint32_t demuxbuf_connection_need_more(demuxbuf_connection *connection,
                                       uint32_t bytes);

// Decoding cannot go on for these reasons of the host's. They add up.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_NO_REASONS`.
uint32_t demuxbuf_connection_block(demuxbuf_connection *connection,
                                   uint32_t reasons);

// These reasons are gone; decoding resumes when none is left.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_NO_REASONS`.
uint32_t demuxbuf_connection_unblock(demuxbuf_connection *connection,
                                     uint32_t reasons);

// These, and no others, are the host's reasons why decoding cannot go on; 0 for none. For a host that keeps the mask
// itself: one call beside the decoder, instead of a report of each difference. The same mask again is harmless.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_set_blocked(demuxbuf_connection *connection,
                                         uint32_t reasons);

// A new loop iteration begins for this connection.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_wake(demuxbuf_connection *connection);

// The host wants no reading for reasons of its own. Repeats are harmless, and one resume ends them all.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_pause_recv(demuxbuf_connection *connection);

// The host's reasons for pausing are gone.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_resume_recv(demuxbuf_connection *connection);

// The decoder found a fatal error: from now on what arrives is discarded.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_CLOSED`.
uint32_t demuxbuf_connection_fail(demuxbuf_connection *connection);

// These pending actions are done: any of want_recv, stop_recv, cancel_request, shed, end, cannot_fit, reschedule; of a
// completion host also recv, when the receive is submitted: until its outcome is reported, the buffer stays as it is.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_NOT_PENDING`.
uint32_t demuxbuf_connection_done(demuxbuf_connection *connection,
                                  uint32_t actions);

// Reports any event by its number: `DEMUXBUF_EVENT_*`. The calls above are the same for one event each.
//
// `value` is what the event counts: bytes, reasons, actions, or a capacity; 0 for an event that counts nothing.
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_EVENT`, `DEMUXBUF_ERR_RANGE` (a value for
// an event that counts nothing); or, as the event has it: `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_CLOSED`, `DEMUXBUF_ERR_NO_BUFFER`, `DEMUXBUF_ERR_ALREADY_HELD`, `DEMUXBUF_ERR_ALREADY_WAITING`,
// `DEMUXBUF_ERR_CAPACITY_TOO_SMALL`, `DEMUXBUF_ERR_TOO_MANY_BYTES`, `DEMUXBUF_ERR_ZERO_BYTES`,
// `DEMUXBUF_ERR_NO_REASONS`, `DEMUXBUF_ERR_AFTER_END`, `DEMUXBUF_ERR_NOT_PENDING`, `DEMUXBUF_ERR_IN_FLIGHT`.
uint32_t demuxbuf_connection_report(demuxbuf_connection *connection,
                                    uint32_t event,
                                    uint32_t value);

// The connection is going away, in whatever state it is. Repeats are harmless.
//
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_close(demuxbuf_connection *connection);

// The host's own buffer and flags are the truth: one call beside the decoder replaces counting at every site.
//
// `buffered_bytes` and `capacity` describe the buffer (capacity 0: none), or the slot as long as its content is
// parked; `blocked` is the whole mask of reasons; `needed_bytes` not 0: the decoder cannot go on before more bytes
// arrive, so 0 after a receive; `armed` not 0: read interest is armed, or its report is to come. One-shot, that
// replaces `would_block` and the report of `DEMUXBUF_WANT_RECV`. Call it after each receive and after each run of the
// decoder: a receive whose bytes are decoded before the machine has its report is not counted against the loop
// iteration.
// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
// `DEMUXBUF_ERR_CAPACITY_TOO_SMALL` (more bytes than capacity), `DEMUXBUF_ERR_CLOSED`,
// `DEMUXBUF_ERR_IN_FLIGHT`.
uint32_t demuxbuf_connection_sync(demuxbuf_connection *connection,
                                  uint32_t buffered_bytes,
                                  uint32_t capacity,
                                  uint32_t blocked,
                                  uint8_t needed_bytes,
                                  uint8_t armed);

// What is to be done now, without reporting anything.
//
// Returns the mask of actions, 0 for a connection that is not
// attached, or with `DEMUXBUF_ERROR` set `DEMUXBUF_ERR_NULL` or `DEMUXBUF_ERR_POISONED`.
uint32_t demuxbuf_connection_pending(const demuxbuf_connection *connection);

// The most bytes one receive may bring now; 0 unless `DEMUXBUF_RECV` is pending, and for NULL.
uint32_t demuxbuf_connection_recv_max(const demuxbuf_connection *connection);

// Bytes buffered; 0 for NULL. Twin of the header's `demuxbuf_connection_buffered_bytes_inline`.
uint32_t demuxbuf_connection_buffered_bytes(const demuxbuf_connection *connection);

// Size of what is held, in bytes; 0 if nothing is, and for NULL. Twin of the header's
// `demuxbuf_connection_capacity_inline`.
uint32_t demuxbuf_connection_capacity(const demuxbuf_connection *connection);

// Whether and how the byte stream ended, as soon as it is known: `DEMUXBUF_END_KIND_*`, `DEMUXBUF_END_KIND_NONE` for
// NULL. Twin of the header's `demuxbuf_connection_end_kind_inline`.
uint32_t demuxbuf_connection_end_kind(const demuxbuf_connection *connection);

// 1 if the connection is queued for a buffer, else 0, and 0 for NULL. Twin of the header's
// `demuxbuf_connection_is_waiting_inline`.
uint8_t demuxbuf_connection_is_waiting(const demuxbuf_connection *connection);

// Writes everything there is to print about a connection.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_POISONED`, and nothing is
// written.
int32_t demuxbuf_connection_describe(const demuxbuf_connection *connection,
                                     demuxbuf_connection_info *info);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* ==== HTTP/2 framing ====
 *
 * Where frames begin and end; nothing of their meaning.
 * Thread rule: one thread at a time per decoder. Cost: O(1), no allocation, no system call.
 */

// What is decoded is sent by a client: a preface first.
#define DEMUXBUF_H2_CLIENT 0

// What is decoded is sent by a server.
#define DEMUXBUF_H2_SERVER 1

// The length that stands for the preface in `demuxbuf_h2_next.frame_bytes`.
#define DEMUXBUF_H2_PREFACE_BYTES 24

// How far one side's frames have come: a plain value, all-zero is a client's at its first byte. Private to the
// library.
typedef struct {
  uint32_t side;
  uint32_t stage;
  uint32_t max_frame_size;
  uint32_t block_of;
} demuxbuf_h2_decoder;

// What stands at the front.
typedef struct {
  // `sizeof(demuxbuf_h2_next)`, set before the call; then how many bytes were written.
  uint32_t struct_size;
  // If non-zero, at least this many more bytes are needed before the frame can be identified.
  uint32_t need_more;
  // Length of the whole preface or frame, with the frame's header, in bytes; 0 with `need_more`.
  uint32_t frame_bytes;
  // Length of the frame's payload, in bytes.
  uint32_t length;
  // Stream of the frame; 0 for the connection. With `DEMUXBUF_ERR_PROTOCOL`: the stream it is an error of.
  uint32_t stream_id;
  // With `DEMUXBUF_ERR_PROTOCOL`: the error code to send (RFC 9113 section 7).
  uint32_t error_code;
  // Type of the frame (RFC 9113 section 6).
  uint8_t kind;
  // Flags of the frame.
  uint8_t flags;
  // Not 0: it is the preface, not a frame.
  uint8_t is_preface;
  // Always 0.
  uint8_t reserved;
} demuxbuf_h2_next;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Prepares a decoder for what `side` (`DEMUXBUF_H2_CLIENT` or `DEMUXBUF_H2_SERVER`) sends, from its first byte on.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_RANGE` for another side.
int32_t demuxbuf_h2_init(demuxbuf_h2_decoder *decoder,
                         uint32_t side);

// Sets the largest payload, in bytes, that the receiver of these frames has announced and seen acknowledged: 16384
// to 16777215 (RFC 9113 section 6.5.2); 16384 at the start.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_RANGE`, and nothing is changed.
int32_t demuxbuf_h2_set_max_frame_size(demuxbuf_h2_decoder *decoder,
                                       uint32_t bytes);

// Looks at the front of what is buffered: `bytes` bytes at `data` (NULL if there are none). Changes nothing; a header
// is judged as soon as its nine bytes are there.
//
// Returns `DEMUXBUF_OK` and writes `*next`; `DEMUXBUF_ERR_PROTOCOL` and writes `error_code` of `*next`, and for an
// error of one stream `stream_id` and `frame_bytes`: the next frame begins behind these bytes, without
// `demuxbuf_h2_accept`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_RANGE` (the decoder was never
// initialised, or is corrupt), `DEMUXBUF_ERR_POISONED` (a defect of the library).
int32_t demuxbuf_h2_peek(const demuxbuf_h2_decoder *decoder,
                         const uint8_t *data,
                         uint32_t bytes,
                         demuxbuf_h2_next *next);

// `demuxbuf_h2_peek` and `demuxbuf_h2_accept` in one call, for hosts that take DATA in pieces and every other frame
// whole: the frame in `*next` is accepted. DATA is found as soon as its header is there, any other frame once it is
// whole; `need_more` of `*next` counts the bytes that are missing until then, and nothing is accepted.
//
// Returns the same as `demuxbuf_h2_peek`: `DEMUXBUF_OK`, `DEMUXBUF_ERR_PROTOCOL`, `DEMUXBUF_ERR_NULL`,
// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_RANGE`, `DEMUXBUF_ERR_POISONED`.
int32_t demuxbuf_h2_advance(demuxbuf_h2_decoder *decoder,
                            const uint8_t *data,
                            uint32_t bytes,
                            demuxbuf_h2_next *next);

// Moves on behind what `demuxbuf_h2_peek` wrote to `*next`: the next look is behind that frame.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_UNKNOWN_FIELD`,
// `DEMUXBUF_ERR_RANGE` (the decoder was never initialised, or is corrupt, or no look of
// this decoder can have written `*next`), and nothing is changed.
int32_t demuxbuf_h2_accept(demuxbuf_h2_decoder *decoder, const demuxbuf_h2_next *next);

// Checks the pad length of a frame with the padded flag: the first byte of its payload. Other frames have none, and
// pass.
//
// Thread rule: any thread.
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_PROTOCOL` if the padding does not leave room for what the frame must carry (RFC
// 9113 sections 6.1, 6.2, 6.6), a PROTOCOL_ERROR of the connection; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_STRUCT_SIZE`;
// `DEMUXBUF_ERR_UNKNOWN_FIELD`; `DEMUXBUF_ERR_RANGE` if `*next`
// is not a frame.
int32_t demuxbuf_h2_check_padding(const demuxbuf_h2_next *next,
                                  uint8_t pad_length);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* ==== FastCGI framing ====
 *
 * Where records begin and end, and how each is taken; nothing of their meaning. Sections are those of the
 * FastCGI specification 1.0.
 * Thread rule: one thread at a time per decoder. Cost: O(1), no allocation, no system call.
 */

// What is decoded is sent by a web server, to an application.
#define DEMUXBUF_FCGI_WEB_SERVER 0

// What is decoded is sent by an application, to a web server.
#define DEMUXBUF_FCGI_APPLICATION 1

// The largest record: header, content and padding.
#define DEMUXBUF_FCGI_RECORD_BYTES_MAX 65798

// `form`: one unit, which is taken whole.
#define DEMUXBUF_FCGI_DISCRETE 0

// `form`: a part of a stream. Pass on what is there of its content, and skip the padding.
#define DEMUXBUF_FCGI_STREAM 1

// `form`: the empty record that ends a stream. Skip the padding.
#define DEMUXBUF_FCGI_STREAM_END 2

// `form`: a type that the specification does not have. Skip the record. An application answers one of request id 0
// with UNKNOWN_TYPE (section 4.2): the bytes 1, 11, 0, 0, 0, 8, 0, 0, then `kind` and seven times 0.
#define DEMUXBUF_FCGI_UNKNOWN 3

// `error_code`: the version is not 1 (section 3.3).
#define DEMUXBUF_FCGI_ERROR_VERSION 1

// `error_code`: only the other side sends records of this type (appendix A).
#define DEMUXBUF_FCGI_ERROR_DIRECTION 2

// `error_code`: a management record with the id of a request, or a record of a request without one (section 3.3).
#define DEMUXBUF_FCGI_ERROR_REQUEST_ID 3

// `error_code`: the content is shorter or longer than that of this type (sections 4.2, 5.1, 5.4, 5.5).
#define DEMUXBUF_FCGI_ERROR_CONTENT_LENGTH 4

// `error_code`: a discrete record is longer than `demuxbuf_fcgi_set_max_discrete_bytes` allows.
#define DEMUXBUF_FCGI_ERROR_TOO_LONG 5

// Finds and judges the records that one side sends: a plain value, the same at every record. All-zero is one for a web
// server's records. Private to the library.
typedef struct {
  uint32_t side;
  uint32_t max_discrete_bytes;
} demuxbuf_fcgi_decoder;

// What stands at the front.
typedef struct {
  // `sizeof(demuxbuf_fcgi_record)`, set before the call; then how many bytes were written.
  uint32_t struct_size;
  // If non-zero, at least this many more bytes are needed before the record is found.
  uint32_t need_more;
  // Length of the whole record with its header and padding, in bytes; 0 with `need_more`. With
  // `DEMUXBUF_ERR_PROTOCOL`: the length if the next record can be read behind it, 0 for an error of the connection.
  uint32_t record_bytes;
  // Length of the content, in bytes. It begins behind the 8 bytes of the header.
  uint32_t content_length;
  // Request of the record; 0 for a management record. With `DEMUXBUF_ERR_PROTOCOL`: the request it is an error of.
  uint32_t request_id;
  // With `DEMUXBUF_ERR_PROTOCOL`: one of `DEMUXBUF_FCGI_ERROR_...`.
  uint32_t error_code;
  // Type of the record (section 8).
  uint8_t kind;
  // Length of the padding behind the content, in bytes.
  uint8_t padding_length;
  // How the content is taken: `DEMUXBUF_FCGI_DISCRETE`, `_STREAM`, `_STREAM_END` or `_UNKNOWN`.
  uint8_t form;
  // Always 0.
  uint8_t reserved;
} demuxbuf_fcgi_record;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Prepares a decoder for the records that `side` (`DEMUXBUF_FCGI_WEB_SERVER` or `DEMUXBUF_FCGI_APPLICATION`) sends.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_RANGE` for another side.
int32_t demuxbuf_fcgi_init(demuxbuf_fcgi_decoder *decoder,
                           uint32_t side);

// Sets the largest discrete record that the host takes, with its header and padding, in bytes: the size of its buffer,
// 271 to 65798; 16448 at the start. Only GET_VALUES and GET_VALUES_RESULT can be longer than 271. Streams are not
// limited.
//
// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_RANGE` (`bytes` is out of range, or the decoder is
// corrupt), and nothing is changed.
int32_t demuxbuf_fcgi_set_max_discrete_bytes(demuxbuf_fcgi_decoder *decoder,
                                             uint32_t bytes);

// Looks at the front of what is buffered: `bytes` bytes at `data` (NULL if there are none). A record is found and
// judged once the eight bytes of its header are there.
//
// Returns `DEMUXBUF_OK` and writes `*record`; `DEMUXBUF_ERR_PROTOCOL` and writes `error_code`, `request_id` and
// `record_bytes` of `*record`. With `record_bytes` the next record begins behind these bytes; without, the error is
// one of the connection. `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_RANGE` (the decoder was never
// initialised, or is corrupt), `DEMUXBUF_ERR_POISONED` (a defect of the library).
int32_t demuxbuf_fcgi_peek(const demuxbuf_fcgi_decoder *decoder,
                           const uint8_t *data,
                           uint32_t bytes,
                           demuxbuf_fcgi_record *record);

// As `demuxbuf_fcgi_peek`, for hosts that take streams in pieces and every other record whole: a discrete record is
// found once it is whole, with its padding. `need_more` of `*record` counts the bytes that are missing until then.
//
// Returns the same as `demuxbuf_fcgi_peek`: `DEMUXBUF_OK`, `DEMUXBUF_ERR_PROTOCOL`, `DEMUXBUF_ERR_NULL`,
// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_RANGE`, `DEMUXBUF_ERR_POISONED`.
int32_t demuxbuf_fcgi_peek_whole(const demuxbuf_fcgi_decoder *decoder,
                                 const uint8_t *data,
                                 uint32_t bytes,
                                 demuxbuf_fcgi_record *record);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* Hot tests, each with an exported twin of the same meaning. `static inline` needs no symbol of the library. */

/* The status inside what an event function returned: 0 for a mask of actions. Twin: demuxbuf_actions_status. */
static inline int32_t demuxbuf_actions_status_inline(uint32_t actions) {
  return (actions & DEMUXBUF_ERROR) != 0u ? -(int32_t)(UINT32_MAX - actions) - 1 : DEMUXBUF_OK;
}

/* Bytes buffered; 0 for NULL. Twin: demuxbuf_connection_buffered_bytes. */
static inline uint32_t demuxbuf_connection_buffered_bytes_inline(const demuxbuf_connection *connection) {
  return connection != 0 ? connection->buffered_bytes : 0u;
}

/* Size of what is held, in bytes; 0 if nothing is, and for NULL. Twin: demuxbuf_connection_capacity. */
static inline uint32_t demuxbuf_connection_capacity_inline(const demuxbuf_connection *connection) {
  return connection != 0 ? connection->capacity : 0u;
}

/* Whether and how the byte stream ended: DEMUXBUF_END_KIND_*. Twin: demuxbuf_connection_end_kind. */
static inline uint32_t demuxbuf_connection_end_kind_inline(const demuxbuf_connection *connection) {
  const uint32_t flags = connection != 0 ? connection->state[3] : 0u;
  return (flags & 0x2000u) != 0u   ? DEMUXBUF_END_KIND_ERROR
         : (flags & 0x1000u) != 0u ? DEMUXBUF_END_KIND_STREAM
                                   : DEMUXBUF_END_KIND_NONE;
}

/* 1 if the connection is queued for a buffer, else 0. Twin: demuxbuf_connection_is_waiting. */
static inline uint8_t demuxbuf_connection_is_waiting_inline(const demuxbuf_connection *connection) {
  return connection != 0 && (connection->state[3] & 0x20u) != 0u;
}

/* The status of a step: 0 if it has actions to do, or none. Twin: demuxbuf_step_status. */
static inline int32_t demuxbuf_step_status_inline(demuxbuf_step step) {
  return demuxbuf_actions_status_inline(step.actions);
}

/* 1 if the step asks for any of these actions, else 0; 0 for an error. Twin: demuxbuf_step_has. */
static inline uint8_t demuxbuf_step_has_inline(demuxbuf_step step, uint32_t actions) {
  return (step.actions & DEMUXBUF_ERROR) == 0u && (step.actions & actions) != 0u;
}

/* Version of this header, to compare with demuxbuf_version(). */
#define DEMUXBUF_VERSION ((uint32_t)((DEMUXBUF_VERSION_MAJOR << 16) | (DEMUXBUF_VERSION_MINOR << 8) | DEMUXBUF_VERSION_PATCH))

#endif /* DEMUXBUF_H */
