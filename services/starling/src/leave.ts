/** How a program leaves, so that a stop is kinder than a crash: whom it serves learn of it before they could miss it. */
import type { ClusterView, Sessions } from '@starling/core';
import type { Clock } from '@starling/ports';
import type { HttpServer, Port, Readiness } from '@starling/runtime';

/** So long balancers have to see that it is not ready, and publishers to hear `Connection: close` with an answer. */
const graceMs = 1_000;
/** For the requests of connections that were made last. */
const hearLimitMs = 500;
/** For the directory of nodes to say who else there is. */
const successorLimitMs = 1_000;

export interface Leaving {
  readonly readiness: Readiness;
  readonly clusterView: ClusterView;
  readonly server: HttpServer;
  readonly port: Port;
  readonly sessions: Sessions;
  readonly clock: Clock;
  readonly overMs: number;
}

export function leaveLimitMs(overMs: number): number {
  return graceMs + successorLimitMs + hearLimitMs + overMs + 5_000;
}

/**
 * Not ready first, and everything is served as before for a moment. Then, where another node takes the connections, the
 * port is closed before the first of them is told to go: a balancer would send them back to the one that has become the
 * emptiest. Where there is no other, all are told at once, as is whoever comes in that moment: what a connection that is
 * refused costs pusher-js is fifteen seconds.
 */
export async function leave({ readiness, clusterView, server, port, sessions, clock, overMs }: Leaving): Promise<void> {
  readiness.stop();
  await clusterView.tellStopping();
  if (server.openSockets > 0) await new Promise<void>((resolve) => clock.after(graceMs, resolve));
  const hasSuccessor = await clusterView.hasSuccessor(successorLimitMs);
  if (hasSuccessor || sessions.size === 0) {
    await port.close();
    await server.heardAll(hearLimitMs);
  }
  await sessions.drain({ hasSuccessor, overMs });
}
