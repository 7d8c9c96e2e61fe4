/* Reads frames of one length byte and a payload from standard input, through a pool. */
#include <demuxbuf.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    demuxbuf_pool *pool;
    uint64_t receiver = 0;
    char message[128];
    size_t message_bytes = sizeof message;
    demuxbuf_pool_config_init(&config, 160 << 10, 1000); /* 160 KiB serve up to 1000 connections; here is one */
    if (demuxbuf_pool_new(&config, &pool, message, &message_bytes) != DEMUXBUF_OK) {
        return fprintf(stderr, "%s\n", message), 1;
    }
    demuxbuf_receiver_attach(pool, NULL, &receiver, NULL, NULL);
    demuxbuf_step step = demuxbuf_receiver_pending(pool, receiver);
    while (!(step.actions & (DEMUXBUF_END | DEMUXBUF_ERROR))) {
        if (step.actions & DEMUXBUF_RECV) {
            ssize_t got = read(STDIN_FILENO, step.data, step.bytes);
            step = got > 0    ? demuxbuf_receiver_received(pool, receiver, (uint32_t)got)
                   : got == 0 ? demuxbuf_receiver_end_of_stream(pool, receiver)
                              : demuxbuf_receiver_transport_error(pool, receiver);
        } else if (step.actions & DEMUXBUF_DECODE) {
            uint32_t frame_bytes = 1u + step.data[0];
            if (step.bytes < frame_bytes) {
                step = demuxbuf_receiver_decoded(pool, receiver, 0, frame_bytes - step.bytes);
            } else {
                printf("%.*s\n", (int)frame_bytes - 1, (const char *)step.data + 1);
                step = demuxbuf_receiver_decoded(pool, receiver, frame_bytes, 0);
            }
        } else { /* DEMUXBUF_WANT_RECV: a proxy waits here for all its connections; read() waits for this one */
            step = demuxbuf_receiver_readable(pool, receiver);
        }
    }
    printf("end, %u bytes of a partial frame\n", step.bytes);
    demuxbuf_pool_free(pool);
    return (step.actions & DEMUXBUF_ERROR) != 0;
}
