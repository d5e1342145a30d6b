#include "send_run.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>

/* macOS has none; Node ignores SIGPIPE for the whole process. */
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

void send_run(int32_t *sockets, size_t count, const uint8_t *bytes, size_t length) {
  /* What was taken must fit where the descriptor stood. */
  if (length > INT32_MAX) length = INT32_MAX;
  for (size_t i = 0; i < count; i++) {
    if (sockets[i] < 0) continue;
    ssize_t taken;
    do {
      taken = send(sockets[i], bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (taken < 0 && errno == EINTR);
    sockets[i] = taken < 0 ? -errno : (int32_t)taken;
  }
}
