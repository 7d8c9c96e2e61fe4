/* One direction: receive, look at the frames, send them on. */
#ifndef H2RELAY_TRANSFER_H
#define H2RELAY_TRANSFER_H

#include "relay.h"

/* Does everything a step asks for, until the socket or the peer's has to be waited for. */
void transfer_drive(struct endpoint *endpoint, demuxbuf_step step);

/* As `transfer_drive`, with the actions of this event. Nothing for a closed endpoint. */
void transfer_report(struct endpoint *endpoint, enum inlet_event event, uint32_t value);

/* There is room again to send to this endpoint: its peer goes on. */
void transfer_room(struct endpoint *endpoint);

/* There is something to receive, or an end to be seen. */
void transfer_input(struct endpoint *endpoint, uint32_t events);

/* One loop iteration of an endpoint that was on the run list. */
void transfer_run(struct endpoint *endpoint);

/* Registers the read and write interest of this endpoint with epoll. */
void transfer_set_interest(struct endpoint *endpoint);

#endif
