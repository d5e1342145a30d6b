/** The admin API's table of contents. */
import type { Database, Keyring } from '@starling/database';
import type { Bulletin, Clock, Observer, RateLimiter } from '@starling/ports';
import type { FastifyPluginAsync } from 'fastify';
import { basePath } from './contract/index.ts';
import { serveDocs } from './docs.ts';
import { type FrameDeps, mount, secureHeaders } from './frame/mount.ts';
import { appRoutes } from './operations/apps.ts';
import { keyRoutes } from './operations/keys.ts';
import { organisationRoutes } from './operations/organisations.ts';
import { recordRoutes } from './operations/records.ts';
import { tokenRoutes } from './operations/tokens.ts';
import { webhookRoutes } from './operations/webhooks.ts';
import type { Rollout } from './rollout.ts';

export interface ControlDeps extends FrameDeps {
  readonly database: Database;
  readonly keyring: Keyring;
  readonly bulletin: Bulletin;
  readonly rateLimiter: RateLimiter;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly rollout: Rollout;
  /** Of Starling. */
  readonly version: string;
}

/** Below `/api/v1`, for a server that others make. */
export function control(deps: ControlDeps): FastifyPluginAsync {
  const implementations = [
    ...organisationRoutes(deps),
    ...appRoutes(deps),
    ...keyRoutes(deps),
    ...tokenRoutes(deps),
    ...webhookRoutes(deps),
    ...recordRoutes(deps),
  ];
  return async (server) => {
    await server.register(
      async (api) => {
        secureHeaders(api);
        await api.register(async (routes) => mount(routes, deps, implementations));
        await api.register(async (docs) => serveDocs(docs, deps.version));
      },
      { prefix: basePath },
    );
  };
}
