/** The HTTP API's table of contents. */
import type { FastifyPluginAsync } from 'fastify';
import { getChannel, getChannels, getStats, getUsers } from './inspect-channels.ts';
import { revokeTokens } from './revoke-tokens.ts';
import { type ApiDeps, answerFailures, refuseAppsOverShare, signed, takeRawBodies } from './signed-route.ts';
import { terminateConnections } from './terminate-connections.ts';
import { triggerBatch, triggerEvent, triggerOnChannel } from './trigger-event.ts';

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
        takeRawBodies(apps);
        answerFailures(apps, deps);
        refuseAppsOverShare(apps, deps);
        // A HEAD would need a signature of its own.
        const get = { exposeHeadRoute: false };

        apps.post('/:appId/events', signed(deps, triggerEvent));
        apps.post('/:appId/batch_events', signed(deps, triggerBatch));
        apps.get('/:appId/channels', get, signed(deps, getChannels));
        apps.get('/:appId/channels/:channel', get, signed(deps, getChannel));
        apps.get('/:appId/channels/:channel/users', get, signed(deps, getUsers));
        apps.post('/:appId/users/:userId/terminate_connections', signed(deps, terminateConnections));
        apps.post('/:appId/revocations', signed(deps, revokeTokens));

        // Deprecated by Pusher, still sent by libraries from before 2012.
        apps.post('/:appId/channels/:channel/events', signed(deps, triggerOnChannel, 202));
        apps.get('/:appId/channels/:channel/stats', get, signed(deps, getStats));
      },
      { prefix: '/apps' },
    );
  };
}
