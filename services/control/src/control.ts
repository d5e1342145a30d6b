/** The admin API's table of contents. */
import type { FastifyPluginAsync } from 'fastify';
import { basePath, operations, streams } from './contract/index.ts';
import { serveDocs } from './docs.ts';
import { watchKeys } from './expire-keys.ts';
import { pruneKeys } from './frame/idempotency.ts';
import type { Implementation } from './frame/implement.ts';
import { type FrameDeps, mount, secureHeaders } from './frame/mount.ts';
import { mountStream } from './frame/stream.ts';
import { appRoutes } from './operations/apps/app.ts';
import { recordRoutes } from './operations/audit/entries.ts';
import { installationLimitRoutes } from './operations/installation-limits/change.ts';
import { keyRoutes } from './operations/keys/key.ts';
import { type LiveDeps, liveRoutes } from './operations/live/get-figures.ts';
import { operatorRoutes, settleOperator } from './operations/operators/operator.ts';
import { organisationRoutes } from './operations/organisations/organisation.ts';
import { tokenRoutes } from './operations/tokens/change-settings.ts';
import { webhookRoutes } from './operations/webhooks/endpoint.ts';
import { type People, type PeopleOptions, people } from './people.ts';
import { Rollout } from './rollout.ts';
import { keepUse } from './use.ts';
import { type AppWatch, watchApp } from './watch-app.ts';

export interface ControlDeps extends Omit<FrameDeps, 'authenticate' | 'renew'>, PeopleOptions, LiveDeps {
  /** What happens in apps, on all nodes. */
  readonly watch: AppWatch;
  /** Whether URLs of apps (key sets, webhook endpoints) may lead into the operator's own network. */
  readonly mayTargetPrivate: boolean;
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
  const who = people(deps);
  const implementations = [...implementationsOf({ ...deps, rollout }), ...who.implementations];
  const missing = Object.keys(operations).filter((id) => !implementations.some(({ operation }) => operation.id === id));
  if (missing.length > 0) throw new Error(`Operations of the contract that nothing implements: ${missing.join(', ')}`);
  return {
    routes: async (server) => {
      await server.register(
        async (api) => {
          secureHeaders(api);
          await api.register(async (docs) => serveDocs(docs, deps.version));
          await api.register(async (routes) => {
            const authenticate = await who.authentication(routes);
            const frame = { ...deps, authenticate, renew: who.renew };
            mount(routes, frame, implementations);
            mountStream(routes, frame, streams.watchApp, watchApp(deps.watch));
          });
        },
        { prefix: basePath },
      );
      await server.register(who.pages);
    },
    people: who,
    start() {
      const settled = settleOperator(deps).catch((err: unknown) =>
        deps.observer.problem('whether there is an operator could not be looked for', { err }),
      );
      const ends = [rollout.start(), who.start(), prune(deps)];
      const endKeys = watchKeys(deps);
      const endUse = keepUse(deps);
      return async () => {
        for (const end of ends) end();
        await Promise.all([endKeys(), endUse(), settled]);
      };
    },
  };
}

/** Of organisations and what is theirs; people's own are theirs. */
export function implementationsOf(
  deps: Pick<ControlDeps, 'database' | 'keyring' | 'bulletin' | 'clock' | 'mayTargetPrivate' | keyof LiveDeps> & {
    readonly rollout: Rollout;
  },
): readonly Implementation[] {
  return [
    ...organisationRoutes(deps),
    ...appRoutes(deps),
    ...keyRoutes(deps),
    ...tokenRoutes(deps),
    ...webhookRoutes(deps),
    ...recordRoutes(deps),
    ...liveRoutes(deps),
    ...operatorRoutes(deps),
    ...installationLimitRoutes(deps),
  ];
}

function prune(deps: Pick<ControlDeps, 'database' | 'clock' | 'observer'>): () => void {
  const round = (): void => {
    pruneKeys(deps).catch((err: unknown) => deps.observer.problem('kept answers were not pruned', { err }));
    state.cancel = deps.clock.after(pruneEveryMs, round);
  };
  const state = { cancel: deps.clock.after(pruneEveryMs, round) };
  return () => state.cancel();
}
