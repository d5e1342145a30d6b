/* Exercises send_run with nothing else in the process, so that a sanitizer sees every step it takes out of line. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "send_run.h"

#define CHECK(fact)                                                   \
  do {                                                                \
    if (!(fact)) {                                                    \
      fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #fact); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

enum { pairs = 64, most_bytes = 1 << 20 };

static int near_end[pairs], far_end[pairs];

/* What waits at the far end, whole, compared with what was taken of the bytes. */
static void expect_received(int pair, const uint8_t *bytes, size_t length) {
  uint8_t *received = malloc(length + 1);
  size_t total = 0;
  for (;;) {
    ssize_t got = recv(far_end[pair], received + total, length + 1 - total, MSG_DONTWAIT);
    if (got <= 0) break;
    total += (size_t)got;
  }
  CHECK(total == length && memcmp(received, bytes, length) == 0);
  free(received);
}

int main(void) {
  for (int i = 0; i < pairs; i++) {
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    near_end[i] = ends[0];
    far_end[i] = ends[1];
  }

  /* Of exactly the size that is needed, on the heap: one step too far is seen. */
  for (size_t length = 0; length <= 70000; length = length * 3 + 1) {
    uint8_t *bytes = malloc(length == 0 ? 1 : length);
    for (size_t i = 0; i < length; i++) bytes[i] = (uint8_t)(i * 7 + length);
    for (size_t count = 0; count <= pairs; count = count * 2 + 1) {
      int32_t *sockets = malloc((count == 0 ? 1 : count) * sizeof *sockets);
      for (size_t i = 0; i < count; i++) sockets[i] = near_end[i];
      send_run(sockets, count, bytes, length);
      for (size_t i = 0; i < count; i++) {
        CHECK(sockets[i] == (int32_t)length);
        expect_received((int)i, bytes, length);
      }
      free(sockets);
    }
    free(bytes);
  }

  uint8_t *bytes = malloc(most_bytes);
  memset(bytes, 'x', most_bytes);

  /* More than fits: a part is taken, then nothing; the neighbours get theirs, those passed over keep their number. */
  int32_t sockets[] = {near_end[0], -1, near_end[1], -7};
  send_run(sockets, 4, bytes, most_bytes);
  CHECK(sockets[0] > 0 && sockets[0] < most_bytes && sockets[2] == sockets[0]);
  CHECK(sockets[1] == -1 && sockets[3] == -7);
  int32_t again[] = {near_end[0]};
  send_run(again, 1, bytes, most_bytes);
  CHECK(again[0] == -EAGAIN);
  expect_received(0, bytes, (size_t)sockets[0]);

  /* Ended, closed, and never a socket at all: an errno each, no signal. */
  close(far_end[2]);
  int pipe_ends[2];
  CHECK(pipe(pipe_ends) == 0);
  close(near_end[3]);
  int32_t broken[] = {near_end[2], near_end[3], pipe_ends[1], near_end[4]};
  send_run(broken, 4, bytes, 10);
  CHECK(broken[0] == -EPIPE);
  CHECK(broken[1] == -EBADF);
  CHECK(broken[2] == -ENOTSOCK);
  CHECK(broken[3] == 10);
  expect_received(4, bytes, 10);

  free(bytes);
  puts("ok");
  return 0;
}
