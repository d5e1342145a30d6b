/*
 * The load generator: many WebSocket connections and a few HTTP ones, in one thread, so that it is never the slowest.
 * It knows no server's dialect: what to send, and what to wait for, it is told on stdin, one order a line with fields
 * separated by tabs; what came of an order it says on stdout, one JSON object a line. The end of stdin ends it.
 *
 *   path P                        the address to upgrade at; a first %06d in it becomes the channel's number
 *   header NAME: VALUE            one more header of the upgrade
 *   channels N                    how many each group has: connection i of group g belongs to channel g * N + i % N
 *   step EXPECT SEND              wait for a text frame that contains EXPECT (empty: do not wait), then send SEND
 *   answer IN OUT                 whenever a text frame is exactly IN, send OUT
 *   requests FILE                 what to publish: a 32-bit count, then for each a 32-bit length and a whole request
 *   open GROUP COUNT AT_ONCE      more connections; said "opened" when each has done its steps
 *   cut GROUP AT_ONCE             close all of the group and open them anew
 *   talk GROUP COUNT ROUND EXPECT SEND LAST
 *                                 connection i of the group sends SEND COUNT times, each %06d one of i * COUNT and what
 *                                 follows: ROUND of them, then LAST, and on when it heard EXPECT in a frame, once; where
 *                                 LAST is empty, ROUND times. Said "talked" when each has heard all.
 *   publish SOCKETS IN_FLIGHT RATE COUNT SECONDS
 *                                 replay requests until COUNT or SECONDS; RATE a second, or 0: as fast as IN_FLIGHT allows
 *
 * An event's data begins with #SLOT# in eight digits, the number of its request. An event is in flight until it is
 * answered and has reached all of group 0. Latency is counted from when the event was due, not from when it was sent.
 * A compressed frame is counted and not read: which event it brought, and so its latency, is not known.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MAX_STEPS = 8, MAX_GROUPS = 4, MAX_DOORS = 16, MAX_PUBLISHERS = 256, READ_BYTES = 1 << 18, RETRY_NS = 100000000, IDLE_NS = 50000000 };
/* Without progress for so long, a run is over and what is missing is lost. */
#define GIVE_UP_NS 5000000000LL

static void die(const char *what) {
  fprintf(stderr, "load: %s\n", what);
  exit(1);
}

static void die_of_errno(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void *must(void *memory) {
  if (!memory) die("out of memory");
  return memory;
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double cpu_ms(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

/* ── Latency: buckets of 1/64 of their value, in microseconds ─────────────────────────────────────────────────────── */

enum { BUCKETS = 128 + 64 * 40 };
typedef struct {
  uint64_t counts[BUCKETS], total;
  int64_t max;
} histogram;

static void record(histogram *h, int64_t us) {
  if (us < 0) us = 0;
  if (us > h->max) h->max = us;
  int at = (int)us;
  if (us >= 128) {
    int e = 63 - __builtin_clzll((unsigned long long)us);
    at = 128 + (e - 7) * 64 + (int)((us >> (e - 6)) & 63);
  }
  h->counts[at < BUCKETS ? at : BUCKETS - 1]++;
  h->total++;
}

static double quantile_ms(const histogram *h, double q) {
  uint64_t wanted = (uint64_t)(q * (double)h->total), seen = 0;
  for (int at = 0; at < BUCKETS; at++) {
    seen += h->counts[at];
    if (seen <= wanted || !h->counts[at]) continue;
    if (at < 128) return at / 1e3;
    int e = (at - 128) / 64 + 7;
    double us = (double)(64 + (at - 128) % 64) * (double)(1ULL << (e - 6));
    return us / 1e3;
  }
  return (double)h->max / 1e3;
}

static void print_histogram(const char *name, const histogram *h) {
  printf(",\"%s\":{\"count\":%llu,\"p50Ms\":%.3f,\"p99Ms\":%.3f,\"p999Ms\":%.3f,\"maxMs\":%.3f}", name,
         (unsigned long long)h->total, quantile_ms(h, .5), quantile_ms(h, .99), quantile_ms(h, .999), (double)h->max / 1e3);
}

/* ── What we were told ────────────────────────────────────────────────────────────────────────────────────────────── */

typedef struct {
  char *expect, *send;
  size_t expect_bytes;
} step;

/* Where events are published, and where subscribers connect to, one after the other. */
static struct sockaddr_in publish_door, doors[MAX_DOORS];
static unsigned door_count;
static char host_header[64];
static char *path = "/";
static char *more_headers = "";
static unsigned channels = 1;
static step steps[MAX_STEPS];
static int step_count;
static char *answer_in, *answer_out;

static struct request {
  const char *bytes;
  uint32_t length;
} *requests;
static uint32_t request_count;
/* When the event of each slot was due. */
static int64_t *due;

/* ── Connections ──────────────────────────────────────────────────────────────────────────────────────────────────── */

typedef enum { WATCH_STDIN, WATCH_TIMER, WATCH_SUBSCRIBER, WATCH_PUBLISHER } kind;
typedef enum { GONE, WAITING, CONNECTING, UPGRADING, STEPPING, READY } state;

typedef struct subscriber {
  kind kind;
  int fd;
  state state;
  uint8_t step, group;
  unsigned channel, index, said, unheard;
  /* The beginning of a frame whose rest has not come. */
  char *left;
  uint32_t left_bytes, left_room;
  struct subscriber *next_in_group, *next_waiting;
} subscriber;

typedef struct {
  kind kind;
  int fd;
  bool is_connected, is_busy;
  uint32_t slot;
  char reply[4096];
  uint32_t reply_bytes;
} publisher;

static struct group {
  subscriber *first;
  unsigned count, ready, opening, at_once;
  unsigned retries;
  int64_t opened_at;
  double cpu_before;
  bool is_announced;
  subscriber *waiting, **waiting_end;
} groups[MAX_GROUPS];

static publisher publishers[MAX_PUBLISHERS];
static int publisher_count;
static int epoll_fd, timer_fd;
static char buffer[READ_BYTES];
static int64_t retry_at;
static uint64_t closed_by_server;
static int last_close_code;

static struct run {
  bool is_on;
  unsigned in_flight;
  double rate;
  uint64_t count, sent, answered, failed, delivered, bad_length, unknown;
  uint64_t closed_before;
  unsigned per_event;
  int64_t from, until, last_progress;
  double cpu_before;
  uint64_t bytes;
  histogram delivery, reply;
  char refusal[512];
} run;
static uint64_t next_slot;
static size_t event_bytes;

static struct talk {
  bool is_on;
  unsigned group, count, round, finished;
  char *expect, *send, *last;
  int64_t from;
  double cpu_before;
} talk;

static void watch(int fd, void *who, uint32_t events, int op) {
  struct epoll_event e = {.events = events, .data.ptr = who};
  if (epoll_ctl(epoll_fd, op, fd, &e) < 0) die_of_errno("epoll_ctl");
}

static int dial(void *who, const struct sockaddr_in *door) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
  if (fd < 0) die_of_errno("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(fd, (const struct sockaddr *)door, sizeof *door) < 0 && errno != EINPROGRESS) {
    close(fd);
    return -1;
  }
  watch(fd, who, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
  return fd;
}

static bool send_whole(int fd, const void *bytes, size_t length) {
  ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
  /* What we send is far smaller than a socket's buffer, and we wait for an answer before we send again. */
  if (sent >= 0 && (size_t)sent != length) die("a socket took only part of a message");
  return sent >= 0;
}

static bool send_frame(int fd, int opcode, const char *text, size_t length) {
  char frame[2048 + 8];
  if (length > 2048) die("a frame to send is too long");
  size_t at = 0;
  frame[at++] = (char)(0x80 | opcode);
  if (length < 126) {
    frame[at++] = (char)(0x80 | length);
  } else {
    frame[at++] = (char)(0x80 | 126);
    frame[at++] = (char)(length >> 8);
    frame[at++] = (char)length;
  }
  /* A mask of zeros is a mask. */
  memset(frame + at, 0, 4);
  memcpy(frame + at + 4, text, length);
  return send_whole(fd, frame, at + 4 + length);
}

static void say_opened(int index) {
  struct group *g = &groups[index];
  if (g->is_announced || g->ready < g->count) return;
  g->is_announced = true;
  printf("{\"event\":\"opened\",\"group\":%d,\"count\":%u,\"ms\":%.1f,\"retries\":%u,\"loadCpuMs\":%.1f}\n", index,
         g->count, (double)(now_ns() - g->opened_at) / 1e6, g->retries, cpu_ms() - g->cpu_before);
}

static void wait_turn(subscriber *s) {
  struct group *g = &groups[s->group];
  s->state = WAITING;
  s->next_waiting = NULL;
  *g->waiting_end = s;
  g->waiting_end = &s->next_waiting;
}

static void lose(subscriber *s) {
  struct group *g = &groups[s->group];
  if (s->fd >= 0) close(s->fd);
  s->fd = -1;
  s->left_bytes = 0;
  if (s->state == READY) {
    if (talk.is_on) die("a connection was lost while it talked");
    g->ready--;
    closed_by_server++;
    s->state = GONE;
    return;
  }
  /* Not yet open: come again, as any client would, a moment later. */
  g->opening--;
  g->retries++;
  retry_at = now_ns() + RETRY_NS;
  wait_turn(s);
}

static void dial_waiting(void) {
  for (int i = 0; i < MAX_GROUPS; i++) {
    struct group *g = &groups[i];
    while (g->waiting && g->opening < g->at_once) {
      subscriber *s = g->waiting;
      g->waiting = s->next_waiting;
      if (!g->waiting) g->waiting_end = &g->waiting;
      g->opening++;
      s->state = CONNECTING;
      s->step = 0;
      s->fd = dial(s, &doors[s->index % door_count]);
      if (s->fd < 0) {
        lose(s);
        return;
      }
    }
  }
}

static bool take_steps(subscriber *s) {
  while (s->step < step_count && steps[s->step].expect_bytes == 0) {
    char text[2048];
    int length = snprintf(text, sizeof text, steps[s->step].send, s->channel);
    s->step++;
    if (length > 0 && !send_frame(s->fd, 1, text, (size_t)length)) return false;
  }
  if (s->step == step_count) {
    s->state = READY;
    groups[s->group].ready++;
    groups[s->group].opening--;
    say_opened(s->group);
  }
  return true;
}

static void count_delivery(subscriber *s, const char *text, size_t length, int64_t now) {
  const char *mark = memchr(text, '#', length);
  if (!mark || text + length - mark < 10 || s->group != 0) {
    run.unknown++;
    return;
  }
  uint32_t slot = 0;
  for (int i = 1; i <= 8; i++) slot = slot * 10 + (uint32_t)(mark[i] - '0');
  if (slot >= request_count) {
    run.unknown++;
    return;
  }
  if (!event_bytes) event_bytes = length;
  if (event_bytes != length) run.bad_length++;
  record(&run.delivery, (now - due[slot]) / 1000);
  run.delivered++;
  run.last_progress = now;
}

static bool say_round(subscriber *s) {
  if (s->said == talk.count) {
    if (++talk.finished < groups[talk.group].count) return true;
    talk.is_on = false;
    printf("{\"event\":\"talked\",\"ms\":%.1f,\"loadCpuMs\":%.1f}\n", (double)(now_ns() - talk.from) / 1e6,
           cpu_ms() - talk.cpu_before);
    return true;
  }
  unsigned left = talk.count - s->said, count = left < talk.round ? left : talk.round;
  s->unheard = *talk.last ? 1 : count;
  for (; count; count--, s->said++) {
    char text[2048];
    int length = snprintf(text, sizeof text, talk.send, s->index * talk.count + s->said);
    if (!send_frame(s->fd, 1, text, (size_t)length)) return false;
  }
  return !*talk.last || send_frame(s->fd, 1, talk.last, strlen(talk.last));
}

static bool on_frame(subscriber *s, int first_byte, const char *body, size_t length, int64_t now) {
  int opcode = first_byte & 15;
  if (opcode == 8) {
    last_close_code = length >= 2 ? ((uint8_t)body[0] << 8 | (uint8_t)body[1]) : 1005;
    return false;
  }
  if (opcode == 9) return send_frame(s->fd, 10, body, length);
  if (opcode != 1) return true;
  if (first_byte & 0x40) {
    if (s->state != READY || s->group != 0) die("a compressed frame came where text was to be read");
    run.delivered++;
    run.last_progress = now;
    return true;
  }
  if (answer_in && length == strlen(answer_in) && !memcmp(body, answer_in, length)) {
    return send_frame(s->fd, 1, answer_out, strlen(answer_out));
  }
  if (s->state == READY && talk.is_on && s->group == talk.group) {
    if (!memmem(body, length, talk.expect, strlen(talk.expect)) || --s->unheard) return true;
    return say_round(s);
  }
  if (s->state == READY) {
    count_delivery(s, body, length, now);
    return true;
  }
  step *next = &steps[s->step];
  if (!memmem(body, length, next->expect, next->expect_bytes)) return true;
  char text[2048];
  int text_bytes = snprintf(text, sizeof text, next->send, s->channel);
  s->step++;
  if (text_bytes > 0 && !send_frame(s->fd, 1, text, (size_t)text_bytes)) return false;
  return take_steps(s);
}

/* How many bytes were used up; -1 when the connection is of no more use. */
static ssize_t read_frames(subscriber *s, const char *bytes, size_t length, int64_t now) {
  size_t at = 0;
  while (length - at >= 2) {
    const uint8_t *head = (const uint8_t *)bytes + at;
    size_t header = 2, body = head[1] & 127;
    if (body == 126) {
      if (length - at < 4) break;
      header = 4;
      body = (size_t)head[2] << 8 | head[3];
    } else if (body == 127) {
      if (length - at < 10) break;
      header = 10;
      body = 0;
      for (int i = 2; i < 10; i++) body = body << 8 | head[i];
    }
    if (header + body > READ_BYTES / 2) die("a frame is too long to be one of ours");
    if (length - at < header + body) break;
    if (!on_frame(s, head[0], bytes + at + header, body, now)) return -1;
    at += header + body;
  }
  return (ssize_t)at;
}

static bool upgrade(subscriber *s) {
  char place[512], text[2048];
  snprintf(place, sizeof place, path, s->channel);
  int length = snprintf(text, sizeof text,
                        "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                        place, host_header, more_headers);
  if (length >= (int)sizeof text) die("the headers are too long");
  s->state = UPGRADING;
  watch(s->fd, s, EPOLLIN, EPOLL_CTL_MOD);
  return send_whole(s->fd, text, (size_t)length);
}

static void on_subscriber(subscriber *s, uint32_t events) {
  if (s->fd < 0) return;
  if (s->state == CONNECTING) {
    int problem = 0;
    socklen_t size = sizeof problem;
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &problem, &size);
    if (problem || !(events & EPOLLOUT) || !upgrade(s)) lose(s);
    return;
  }
  if (s->left_bytes) memcpy(buffer, s->left, s->left_bytes);
  ssize_t got = recv(s->fd, buffer + s->left_bytes, sizeof buffer - s->left_bytes, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    lose(s);
    return;
  }
  int64_t now = now_ns();
  run.bytes += (uint64_t)got;
  size_t have = s->left_bytes + (size_t)got, used = 0;
  if (s->state == UPGRADING) {
    char *end = memmem(buffer, have, "\r\n\r\n", 4);
    if (end) {
      if (have < 12 || memcmp(buffer + 9, "101", 3)) {
        fprintf(stderr, "load: no upgrade: %.*s\n", (int)(have < 300 ? have : 300), buffer);
        lose(s);
        return;
      }
      used = (size_t)(end + 4 - buffer);
      s->state = STEPPING;
      if (!take_steps(s)) {
        lose(s);
        return;
      }
    }
  }
  if (s->state != UPGRADING) {
    ssize_t more = read_frames(s, buffer + used, have - used, now);
    if (more < 0) {
      lose(s);
      return;
    }
    used += (size_t)more;
  }
  s->left_bytes = (uint32_t)(have - used);
  if (s->left_bytes > s->left_room) {
    s->left_room = s->left_bytes * 2;
    s->left = must(realloc(s->left, s->left_room));
  }
  if (s->left_bytes) memcpy(s->left, buffer + used, s->left_bytes);
}

/* ── Publishing ───────────────────────────────────────────────────────────────────────────────────────────────────── */

static void send_request(publisher *p, int64_t due_at) {
  p->slot = (uint32_t)(next_slot++ % request_count);
  due[p->slot] = due_at;
  p->is_busy = true;
  p->reply_bytes = 0;
  run.last_progress = now_ns();
  run.sent++;
  if (!send_whole(p->fd, requests[p->slot].bytes, requests[p->slot].length)) die_of_errno("a publisher's connection is gone");
}

static int64_t due_next(void) { return run.from + (int64_t)((double)run.sent * 1e9 / run.rate); }

static bool is_sending_over(int64_t now) { return run.sent >= run.count || now >= run.until; }

static uint64_t whole_events(void) {
  if (!run.per_event) return run.answered;
  uint64_t arrived = run.delivered / run.per_event;
  return arrived < run.answered ? arrived : run.answered;
}

static void finish_run(void) {
  run.is_on = false;
  int64_t to = run.last_progress;
  printf("{\"event\":\"published\",\"sent\":%llu,\"answered\":%llu,\"failed\":%llu,\"expected\":%llu,"
         "\"delivered\":%llu,\"badLength\":%llu,\"unknown\":%llu,\"closed\":%llu,\"closeCode\":%d,"
         "\"eventBytes\":%zu,\"bytes\":%llu,\"ms\":%.1f,\"loadCpuMs\":%.1f,\"refusal\":\"",
         (unsigned long long)run.sent, (unsigned long long)run.answered, (unsigned long long)run.failed,
         (unsigned long long)(run.sent * run.per_event), (unsigned long long)run.delivered,
         (unsigned long long)run.bad_length, (unsigned long long)run.unknown,
         (unsigned long long)(closed_by_server - run.closed_before), last_close_code, event_bytes,
         (unsigned long long)run.bytes, (double)(to - run.from) / 1e6, cpu_ms() - run.cpu_before);
  for (const char *c = run.refusal; *c; c++) {
    if (*c == '"' || *c == '\\') putchar('\\');
    if (*c == '\r' || *c == '\n') fputs(*c == '\n' ? "\\n" : "", stdout);
    else if ((unsigned char)*c >= 32) putchar(*c);
  }
  putchar('"');
  print_histogram("delivery", &run.delivery);
  print_histogram("reply", &run.reply);
  printf("}\n");
}

static void publish_what_is_due(void) {
  if (!run.is_on) return;
  int64_t now = now_ns();
  int at = 0;
  while (!is_sending_over(now)) {
    int64_t due_at = now;
    if (run.rate > 0) {
      due_at = due_next();
      if (due_at > now) break;
    }
    /* A slot is free again only when its event has arrived everywhere. */
    uint64_t flying = run.sent - whole_events();
    if (flying >= request_count || (run.rate == 0 && flying >= run.in_flight)) break;
    while (at < publisher_count && (publishers[at].is_busy || !publishers[at].is_connected)) at++;
    if (at == publisher_count) break;
    send_request(&publishers[at], due_at);
  }
  if (!is_sending_over(now)) {
    if (now - run.last_progress < GIVE_UP_NS) return;
  } else if (whole_events() < run.sent && now - run.last_progress < GIVE_UP_NS) {
    return;
  }
  finish_run();
}

static void on_publisher(publisher *p, uint32_t events) {
  if (!p->is_connected) {
    if (!(events & EPOLLOUT)) die_of_errno("a publisher could not connect");
    p->is_connected = true;
    watch(p->fd, p, EPOLLIN, EPOLL_CTL_MOD);
    return;
  }
  ssize_t got = recv(p->fd, p->reply + p->reply_bytes, sizeof p->reply - 1 - p->reply_bytes, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    /* Kept-alive connections end when nobody uses them; not in the middle of a request. */
    if (p->is_busy) die("the server closed a publisher's connection");
    close(p->fd);
    p->is_connected = false;
    p->fd = dial(p, &publish_door);
    if (p->fd < 0) die_of_errno("a publisher could not connect again");
    return;
  }
  p->reply_bytes += (uint32_t)got;
  p->reply[p->reply_bytes] = 0;
  char *end = strstr(p->reply, "\r\n\r\n");
  if (!end) return;
  char *length = strcasestr(p->reply, "\r\ncontent-length:");
  if (!length || length > end) die("an answer to a publish has no Content-Length");
  size_t whole = (size_t)(end + 4 - p->reply) + strtoul(length + 17, NULL, 10);
  if (whole > sizeof p->reply - 1) die("an answer to a publish is too long");
  if (p->reply_bytes < whole) return;
  p->is_busy = false;
  if (!run.is_on) return;
  int64_t now = now_ns();
  record(&run.reply, (now - due[p->slot]) / 1000);
  run.answered++;
  run.last_progress = now;
  if (p->reply[9] == '2') return;
  if (!run.failed++) snprintf(run.refusal, sizeof run.refusal, "%.500s", p->reply);
}

/* ── Orders ───────────────────────────────────────────────────────────────────────────────────────────────────────── */

static void read_requests(const char *file) {
  FILE *in = fopen(file, "rb");
  if (!in) die_of_errno(file);
  fseek(in, 0, SEEK_END);
  size_t size = (size_t)ftell(in);
  rewind(in);
  char *all = must(malloc(size));
  if (fread(all, 1, size, in) != size) die_of_errno(file);
  fclose(in);
  memcpy(&request_count, all, 4);
  requests = must(calloc(request_count, sizeof *requests));
  due = must(calloc(request_count, sizeof *due));
  size_t at = 4;
  for (uint32_t i = 0; i < request_count; i++) {
    memcpy(&requests[i].length, all + at, 4);
    requests[i].bytes = all + at + 4;
    at += 4 + requests[i].length;
  }
  next_slot = 0;
  event_bytes = 0;
}

static void start_opening(int index, unsigned at_once) {
  struct group *g = &groups[index];
  g->at_once = at_once;
  g->is_announced = false;
  g->retries = 0;
  g->cpu_before = cpu_ms();
  g->opened_at = now_ns();
}

static void open_more(int index, unsigned count, unsigned at_once) {
  struct group *g = &groups[index];
  start_opening(index, at_once);
  for (unsigned i = 0; i < count; i++) {
    subscriber *s = must(calloc(1, sizeof *s));
    *s = (subscriber){.kind = WATCH_SUBSCRIBER, .fd = -1, .group = (uint8_t)index};
    s->index = g->count++;
    s->channel = (unsigned)index * channels + s->index % channels;
    s->next_in_group = g->first;
    g->first = s;
    wait_turn(s);
  }
}

static void cut(int index, unsigned at_once) {
  struct group *g = &groups[index];
  start_opening(index, at_once);
  for (subscriber *s = g->first; s; s = s->next_in_group) {
    if (s->state != READY && s->state != GONE) continue;
    if (s->fd >= 0) close(s->fd);
    s->fd = -1;
    s->left_bytes = 0;
    if (s->state == READY) g->ready--;
    wait_turn(s);
  }
}

static void start_talk(unsigned group, unsigned count, unsigned round, char **texts) {
  if (groups[group].ready < groups[group].count || !count || !round) die("nobody can talk");
  free(talk.expect), free(talk.send), free(talk.last);
  talk = (struct talk){true, group, count, round, 0, strdup(texts[0]), strdup(texts[1]), strdup(texts[2]), now_ns(), cpu_ms()};
  for (subscriber *s = groups[group].first; s; s = s->next_in_group) {
    s->said = 0;
    if (!say_round(s)) die_of_errno("a connection could not talk");
  }
}

static void start_run(int sockets, unsigned in_flight, double rate, uint64_t count, double seconds) {
  if (sockets > MAX_PUBLISHERS) die("too many publishers");
  if (!request_count) die("nothing to publish");
  while (publisher_count < sockets) {
    publisher *p = &publishers[publisher_count++];
    p->kind = WATCH_PUBLISHER;
    p->fd = dial(p, &publish_door);
    if (p->fd < 0) die_of_errno("a publisher could not connect");
  }
  memset(&run, 0, sizeof run);
  run.is_on = true;
  run.in_flight = in_flight;
  run.rate = rate;
  run.count = count;
  run.per_event = groups[0].count / channels;
  run.closed_before = closed_by_server;
  run.from = run.last_progress = now_ns();
  run.until = run.from + (int64_t)(seconds * 1e9);
  run.cpu_before = cpu_ms();
}

static void obey(char *line) {
  char *field[8] = {0};
  int count = 0;
  for (char *rest = line, *one; count < 8 && (one = strsep(&rest, "\t"));) field[count++] = one;
  for (int i = count; i < 8; i++) field[i] = "";
  char *order = field[0];
  if (!strcmp(order, "path")) path = strdup(field[1]);
  else if (!strcmp(order, "header")) {
    if (asprintf(&more_headers, "%s%s\r\n", more_headers, field[1]) < 0) die("out of memory");
  } else if (!strcmp(order, "channels")) channels = (unsigned)atoi(field[1]);
  else if (!strcmp(order, "step")) {
    if (step_count == MAX_STEPS) die("too many steps");
    steps[step_count++] = (step){strdup(field[1]), strdup(field[2]), strlen(field[1])};
  } else if (!strcmp(order, "answer")) {
    answer_in = strdup(field[1]);
    answer_out = strdup(field[2]);
  } else if (!strcmp(order, "requests")) read_requests(field[1]);
  else if (!strcmp(order, "open")) open_more(atoi(field[1]), (unsigned)atoi(field[2]), (unsigned)atoi(field[3]));
  else if (!strcmp(order, "cut")) cut(atoi(field[1]), (unsigned)atoi(field[2]));
  else if (!strcmp(order, "talk")) {
    start_talk((unsigned)atoi(field[1]), (unsigned)atoi(field[2]), (unsigned)atoi(field[3]), field + 4);
  } else if (!strcmp(order, "publish")) {
    start_run(atoi(field[1]), (unsigned)atoi(field[2]), atof(field[3]), strtoull(field[4], NULL, 10), atof(field[5]));
  } else die("an order is not understood");
}

/* The next moment at which there may be something to do that no socket tells of. */
static void set_timer(void) {
  static int64_t set_to;
  int64_t now = now_ns(), at = now + IDLE_NS;
  if (retry_at > now && retry_at < at) at = retry_at;
  if (run.is_on && run.rate > 0 && due_next() > now && due_next() < at) at = due_next();
  if (set_to > now && set_to <= at) return;
  set_to = at;
  struct itimerspec when = {.it_value = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000}};
  timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void on_stdin(void) {
  static char orders[65536];
  static size_t have;
  ssize_t got = read(0, orders + have, sizeof orders - 1 - have);
  if (got <= 0) exit(0);
  have += (size_t)got;
  char *from = orders, *end;
  while ((end = memchr(from, '\n', (size_t)(orders + have - from)))) {
    *end = 0;
    obey(from);
    from = end + 1;
  }
  have = (size_t)(orders + have - from);
  memmove(orders, from, have);
}

static struct sockaddr_in door_at(const char *address, const char *port) {
  struct sockaddr_in door = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  if (inet_pton(AF_INET, address, &door.sin_addr) != 1) die("the address must be one of IPv4");
  return door;
}

int main(int count, char **arguments) {
  if (count < 4 || count > 3 + MAX_DOORS) {
    fprintf(stderr, "usage: load ADDRESS PUBLISH_PORT SUBSCRIBE_PORT...\n");
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  signal(SIGPIPE, SIG_IGN);
  /* An interrupt is for the program that gives the orders; its end ends this one. */
  signal(SIGINT, SIG_IGN);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  publish_door = door_at(arguments[1], arguments[2]);
  while (door_count < (unsigned)count - 3) {
    doors[door_count] = door_at(arguments[1], arguments[3 + door_count]);
    door_count++;
  }
  snprintf(host_header, sizeof host_header, "%s:%s", arguments[1], arguments[2]);
  for (int i = 0; i < MAX_GROUPS; i++) {
    groups[i].waiting_end = &groups[i].waiting;
    groups[i].is_announced = true;
  }

  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  static kind is_stdin = WATCH_STDIN, is_timer = WATCH_TIMER;
  watch(0, &is_stdin, EPOLLIN, EPOLL_CTL_ADD);
  watch(timer_fd, &is_timer, EPOLLIN, EPOLL_CTL_ADD);

  for (;;) {
    set_timer();
    struct epoll_event events[512];
    int ready = epoll_wait(epoll_fd, events, 512, -1);
    if (ready < 0 && errno != EINTR) die_of_errno("epoll_wait");
    for (int i = 0; i < ready; i++) {
      void *who = events[i].data.ptr;
      switch (*(kind *)who) {
        case WATCH_STDIN: on_stdin(); break;
        case WATCH_TIMER: {
          uint64_t ticks;
          if (read(timer_fd, &ticks, sizeof ticks) < 0 && errno != EAGAIN) die_of_errno("timer");
          break;
        }
        case WATCH_SUBSCRIBER: on_subscriber(who, events[i].events); break;
        case WATCH_PUBLISHER: on_publisher(who, events[i].events); break;
      }
    }
    if (now_ns() >= retry_at) dial_waiting();
    publish_what_is_due();
  }
}
