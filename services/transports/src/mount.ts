/** All transports: what a node that serves clients mounts, line by line. */
import type { Observer } from '@starling/ports';
import type { FastifyPluginAsync } from 'fastify';
import type { Conversations } from './conversation.ts';
import { sseRoutes } from './sse/index.ts';
import { type WsDeps, wsRoutes } from './ws/index.ts';

export type { Conversation, Conversations } from './conversation.ts';

export interface TransportDeps {
  /** The engine's `Sessions`, or any other conversations. */
  readonly sessions: Conversations;
  readonly observer: Observer;
  readonly ws?: Pick<WsDeps, 'limits' | 'writer' | 'compresses'>;
}

/** A plugin: it is mounted on a server that others make, alone or beside the HTTP API. */
export function transports({ sessions, observer, ws }: TransportDeps): FastifyPluginAsync {
  return async (fastify) => {
    await fastify.register(wsRoutes({ sessions, observer, ...ws }));
    await fastify.register(sseRoutes({ sessions, observer }));
  };
}
