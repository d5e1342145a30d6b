/** The people's table of contents: what the admin API and the program are given of them. */
import type { Database, Keyring } from '@starling/database';
import { type Clock, every, type Observer, type RateLimiter } from '@starling/ports';
import type { Checked } from '@starling/protocol';
import type { FastifyInstance, FastifyPluginAsync } from 'fastify';
import type { Principal } from './contract/principal.ts';
import { type OidcRules, type OidcSettings, oidcPages, type PublicUrl } from './oidc/index.ts';
import {
  type Authenticate,
  authentication,
  pruneSessions,
  renewPrincipal,
  type SessionDeps,
  Tickets,
  takeCookies,
} from './sessions/index.ts';
import {
  createSetupToken,
  ensureFirstOwner,
  type FirstOwner,
  type SetupTokenOptions,
  setupPage,
} from './setup/index.ts';
import { Passwords, type SignInDeps } from './sign-in/index.ts';
import { pruneTries } from './throttle/index.ts';

export interface PeopleDeps extends SignInDeps, SessionDeps {
  readonly observer: Observer;
}

export interface PeopleOptions {
  readonly database: Database;
  readonly keyring: Keyring;
  readonly clock: Clock;
  readonly rateLimiter: RateLimiter;
  readonly observer: Observer;
  /** Like `/realtime`, or empty. */
  readonly pathPrefix?: string;
  /** Undefined: people sign in here only. */
  readonly oidc?: OidcSettings & OidcRules & { readonly publicUrl: PublicUrl };
}

export interface People {
  /** To be called with the server whose requests are asked about. */
  authentication(server: FastifyInstance): Promise<Authenticate>;
  /** The present roles of a principal that was admitted a while ago; undefined when its session or token has ended. */
  renew(principal: Principal): Promise<Principal | undefined>;
  /** What their operations work with. */
  readonly deps: PeopleDeps;
  /** `/setup` and `/sign-in/oidc`, below no prefix of the admin API's. */
  readonly pages: FastifyPluginAsync;
  /** Of the link that leads to the account of the first owner: see `createSetupToken`. */
  createSetupToken(options?: SetupTokenOptions): Promise<string | undefined>;
  /** Makes the first owner, if there is no user yet; says whether it did. */
  ensureFirstOwner(given: FirstOwner): Promise<Checked<boolean>>;
  /** Removes what is out of date, now and then. Returns the function that ends that, when no removal is under way. */
  start(): () => Promise<void>;
}

const pruneEveryMs = 3_600_000;

export function people({ pathPrefix = '', oidc, ...given }: PeopleOptions): People {
  const deps: PeopleDeps = { ...given, passwords: new Passwords(), tickets: new Tickets(given.keyring) };
  return {
    authentication: (server) => authentication(deps, server),
    renew: (principal) => renewPrincipal(deps, principal),
    deps,
    pages: async (server) => {
      await takeCookies(server);
      await server.register(async (setup) => setupPage(setup, deps));
      if (oidc === undefined) return;
      await server.register(async (pages) =>
        oidcPages(pages, deps, { provider: oidc, rules: oidc, publicUrl: oidc.publicUrl, pathPrefix }),
      );
    },
    createSetupToken: (options) => createSetupToken(deps, options),
    ensureFirstOwner: (owner) => ensureFirstOwner(deps, owner),
    start: () =>
      every(
        deps.clock,
        pruneEveryMs,
        () => Promise.all([pruneSessions(deps), pruneTries(deps)]),
        (err) => deps.observer.problem('sessions were not pruned', { err }),
      ),
  };
}
