/** The admin API's table of contents. */
import { every } from '@starling/ports';
import type { FastifyPluginAsync } from 'fastify';
import { basePath, streams } from './contract/index.ts';
import { serveDocs } from './docs.ts';
import { watchKeys } from './expire-keys.ts';
import { pruneKeys } from './frame/idempotency.ts';
import { type FrameDeps, mount, secureHeaders } from './frame/mount.ts';
import { mountStream } from './frame/stream.ts';
import { settleOperator } from './members/index.ts';
import { implementationsOf, type OperationDeps } from './operations/index.ts';
import { type People, type PeopleOptions, people } from './people.ts';
import { Rollout } from './rollout.ts';
import { keepUse } from './use.ts';
import { type AppWatch, watchApp } from './watch-app.ts';

export interface ControlDeps
  extends Omit<FrameDeps, 'authenticate' | 'renew'>,
    PeopleOptions,
    Pick<OperationDeps, 'nodes' | 'presenceStore' | 'mayTargetPrivate'> {
  /** What happens in apps, on all nodes. */
  readonly watch: AppWatch;
  /** Of Starling. */
  readonly version: string;
}

export interface Control {
  /** The admin API below `/api/v1`, and the pages for signing in; for a server that others make. */
  readonly routes: FastifyPluginAsync;
  readonly people: People;
  /** Begins to listen, and to do what is due at its time. Returns the function that ends it. */
  start(): () => Promise<void>;
}

const pruneEveryMs = 3_600_000;

export function control(deps: ControlDeps): Control {
  const rollout = new Rollout(deps);
  const persons = people(deps);
  const hasProvider = deps.oidc !== undefined;
  const implementations = implementationsOf({ ...deps, ...persons.deps, rollout, hasProvider });
  return {
    routes: async (server) => {
      await server.register(
        async (api) => {
          secureHeaders(api);
          await api.register(async (docs) => serveDocs(docs, deps.version));
          await api.register(async (routes) => {
            const authenticate = await persons.authentication(routes);
            const frame = { ...deps, authenticate, renew: persons.renew };
            mount(routes, frame, implementations);
            mountStream(routes, frame, streams.watchApp, watchApp(deps.watch));
          });
        },
        { prefix: basePath },
      );
      await server.register(persons.pages);
    },
    people: persons,
    start() {
      const settled = settleOperator(deps).catch((err: unknown) =>
        deps.observer.problem('whether there is an operator could not be looked for', { err }),
      );
      const endRollout = rollout.start();
      const loops = [
        persons.start(),
        every(
          deps.clock,
          pruneEveryMs,
          () => pruneKeys(deps),
          (err) => deps.observer.problem('kept answers were not pruned', { err }),
        ),
        watchKeys(deps),
        keepUse(deps),
      ];
      return async () => {
        endRollout();
        await Promise.all([...loops.map((end) => end()), settled]);
      };
    },
  };
}
