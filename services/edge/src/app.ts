/** The edge: what it mounts, line by line. */
import type { Sessions } from '@starling/core';
import type { Observer } from '@starling/ports';
import { sseRoutes } from '@starling/transports/sse';
import { type WsDeps, wsRoutes } from '@starling/transports/ws';
import type { FastifyPluginAsync } from 'fastify';

export interface EdgeDeps {
  readonly sessions: Sessions;
  readonly observer: Observer;
  readonly ws?: Pick<WsDeps, 'limits' | 'writer' | 'compresses'>;
}

/** A plugin: it is mounted on a server that others make, alone or beside the HTTP API. */
export function edge(deps: EdgeDeps): FastifyPluginAsync {
  const { sessions, observer, ws } = deps;
  return async (fastify) => {
    await fastify.register(wsRoutes({ sessions, observer, ...ws }));
    await fastify.register(sseRoutes({ sessions, observer }));
  };
}
