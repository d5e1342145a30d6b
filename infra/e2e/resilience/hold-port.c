/*
 * What a service manager does with a socket unit: opens the port itself, and passes it to one program after another as
 * file descriptor 3. When the program ends, its successor is started at once; connections made meanwhile wait in the
 * socket's queue. hold-port <port> <program> [argument...]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t is_ending = 0;
static volatile sig_atomic_t child = 0;

static void end(int signal_number) {
  is_ending = 1;
  if (child > 0) kill(child, signal_number);
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

int main(int count, char **arguments) {
  if (count < 3) return 2;
  /* A test run that is killed takes it along, and it what it started. */
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int listening = socket(AF_INET, SOCK_STREAM, 0);
  int yes = 1;
  if (listening < 0 || setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0) fail("socket");
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(arguments[1]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listening, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
  if (listen(listening, 4096) != 0) fail("listen");

  struct sigaction on_end = {.sa_handler = end};
  sigaction(SIGTERM, &on_end, NULL);
  sigaction(SIGINT, &on_end, NULL);

  while (!is_ending) {
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
      signal(SIGTERM, SIG_DFL);
      signal(SIGINT, SIG_DFL);
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      /* The copy, unlike the original, is kept over exec. */
      if (listening == 3 ? fcntl(3, F_SETFD, 0) != 0 : dup2(listening, 3) != 3) fail("descriptor 3");
      if (listening != 3) close(listening);
      char own[16];
      snprintf(own, sizeof own, "%d", (int)getpid());
      setenv("LISTEN_FDS", "1", 1);
      setenv("LISTEN_PID", own, 1);
      execvp(arguments[2], arguments + 2);
      fail("exec");
    }
    child = pid;
    fprintf(stderr, "started %d\n", (int)pid);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
    child = 0;
  }
  return 0;
}
