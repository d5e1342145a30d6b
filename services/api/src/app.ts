/** The HTTP API's table of contents. */
import type { FastifyPluginAsync } from 'fastify';
import { Bodies } from './bodies.ts';
import { getChannel, getChannels, getStats, getUsers } from './inspect-channels.ts';
import { revokeTokens } from './revoke-tokens.ts';
import {
  type ApiDeps,
  answerFailures,
  type Operation,
  refuseAppsOverShare,
  type Shared,
  signed,
  takeRawBodies,
} from './signed-route.ts';
import { terminateConnections } from './terminate-connections.ts';
import { triggerBatch, triggerEvent, triggerOnChannel } from './trigger-event.ts';
import { Turns } from './turns.ts';

export type { ApiDeps } from './signed-route.ts';

/** Characters of a path segment: a name of 200, each percent-encoded, and room to be told that it is too long. */
export const minParamLength = 1_024;

/**
 * Pusher's HTTP API under `/apps`, for a server that others make. The server must have been made with
 * `routerOptions: { maxParamLength }` of at least `minParamLength`.
 */
export function api(deps: ApiDeps): FastifyPluginAsync {
  return async (server) => {
    const given = server.initialConfig.routerOptions?.maxParamLength ?? 0;
    if (given < minParamLength) {
      throw new Error(
        `The API needs a server with routerOptions.maxParamLength of ${minParamLength} or more, it has ${given}`,
      );
    }
    await server.register(
      async (apps) => {
        const bodies = new Bodies(deps.bodyLimits);
        const shared: Shared = { bodies, turns: new Turns(deps.clock) };
        takeRawBodies(apps, bodies);
        answerFailures(apps, deps);
        refuseAppsOverShare(apps, deps);
        // Without HEAD: that would need a signature of its own.
        const get = (url: string, operation: Operation) =>
          apps.route({ method: 'GET', url, exposeHeadRoute: false, ...signed(deps, shared, operation) });
        const post = (url: string, operation: Operation, successStatus?: number) =>
          apps.route({ method: 'POST', url, ...signed(deps, shared, operation, successStatus) });

        post('/:appId/events', triggerEvent);
        post('/:appId/batch_events', triggerBatch);
        get('/:appId/channels', getChannels);
        get('/:appId/channels/:channel', getChannel);
        get('/:appId/channels/:channel/users', getUsers);
        post('/:appId/users/:userId/terminate_connections', terminateConnections);
        post('/:appId/revocations', revokeTokens);

        // Deprecated by Pusher, still sent by libraries from before 2012.
        post('/:appId/channels/:channel/events', triggerOnChannel, 202);
        get('/:appId/channels/:channel/stats', getStats);
      },
      { prefix: '/apps' },
    );
  };
}
