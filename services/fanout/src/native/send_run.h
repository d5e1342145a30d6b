#ifndef STARLING_SEND_RUN_H
#define STARLING_SEND_RUN_H

#include <stddef.h>
#include <stdint.h>

/**
 * Sends the same bytes to each of the sockets, without ever waiting for one. Each descriptor is replaced by what came
 * of it: how many bytes the kernel took, from 0 up to all, or a negated errno. One that is negative already is left.
 */
void send_run(int32_t *sockets, size_t count, const uint8_t *bytes, size_t length);

#endif
