/** The people's operations and pages over a real database, and browsers that come to them. */
import { FakeClock, MemoryRateLimiter } from '@starling/adapters/memory';
import { type Database, Keyring } from '@starling/database';
import type { Observer } from '@starling/ports';
import { type FastifyInstance, fastify, type InjectOptions } from 'fastify';
import { basePath } from './contract/index.ts';
import { memberOperations } from './contract/members.ts';
import { peopleOperations } from './contract/people.ts';
import { watchStatuses } from './declared-statuses.test-kit.ts';
import { type FrameDeps, mount, secureHeaders } from './frame/mount.ts';
import { implementationsOf, type OperationDeps } from './operations/index.ts';
import { type People, type PeopleOptions, people } from './people.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | number | undefined>>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: what a test looks at is what it expects there
  readonly json: any;
  /** Of the error, where it is one. */
  readonly code: string | undefined;
}

export interface Asked {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Keeps its cookies, and says where it comes from as browsers do. */
export class Browser {
  readonly cookies = new Map<string, string>();
  readonly #server: FastifyInstance;
  readonly #clock: FakeClock;
  address: string;
  isSecure = false;

  constructor(server: FastifyInstance, clock: FakeClock, address: string) {
    this.#server = server;
    this.#clock = clock;
    this.address = address;
  }

  /** An operation of the admin API. */
  ask(method: string, path: string, { body, headers = {} }: Asked = {}): Promise<Answer> {
    return this.send(method, `${basePath}${path}`, {
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
  }

  async send(method: string, url: string, { body, headers = {} }: Asked = {}): Promise<Answer> {
    // A test is quicker than people are: the limits by the second are moved out of the way.
    this.#clock.advance(1_000);
    const answer = await this.#server.inject({
      method: method as NonNullable<InjectOptions['method']>,
      url,
      remoteAddress: this.address,
      headers: {
        host: 'starling.example',
        'user-agent': 'Test browser',
        'sec-fetch-site': 'same-origin',
        ...(this.isSecure ? { 'x-forwarded-proto': 'https' } : {}),
        ...(this.cookies.size === 0
          ? {}
          : { cookie: [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ') }),
        ...headers,
      },
      ...(body === undefined ? {} : { payload: `${body}` }),
    });
    for (const { name, value, maxAge } of answer.cookies) {
      if (maxAge === 0) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    const isJson = `${answer.headers['content-type']}`.startsWith('application/json') && answer.body !== '';
    const json = isJson ? JSON.parse(answer.body) : undefined;
    return { status: answer.statusCode, headers: answer.headers, text: answer.body, json, code: json?.error?.code };
  }

  signIn(email: string, password: string, code?: string): Promise<Answer> {
    return this.ask('POST', '/sign-in', { body: { email, password, ...(code === undefined ? {} : { code }) } });
  }
}

export const owner = { name: 'Ada', email: 'ada@example.com', password: 'a long sentence' } as const;

export interface StartedPeople {
  readonly people: People;
  readonly server: FastifyInstance;
  readonly clock: FakeClock;
  readonly keyring: Keyring;
  readonly problems: unknown[];
  /** A browser that has never been here. */
  visit(address?: string): Browser;
  /** One that is signed in as the owner, who is made when there is none. */
  visitOwner(): Promise<Browser>;
  /** Somebody new in the owner's organisation, signed in. */
  visitMember(from: Browser, email: string, role: string): Promise<Browser & { readonly userId: string }>;
  organisationId(): Promise<string>;
  close(): Promise<void>;
}

export async function startPeople(
  database: Database,
  { clock = new FakeClock(), ...over }: Partial<PeopleOptions> & { clock?: FakeClock } = {},
): Promise<StartedPeople> {
  const parsed = Keyring.parse(Keyring.make());
  if (!parsed.ok) throw new Error(parsed.refusal.message);
  const keyring = parsed.value;
  const problems: unknown[] = [];
  const observer: Observer = {
    notes: false,
    note: () => {},
    problem: (what, details) => problems.push({ what, ...details }),
    defect: (kind, err) => problems.push({ what: `defect: ${kind}`, err }),
  };
  const shared = { database, keyring, clock, observer, rateLimiter: new MemoryRateLimiter(clock) };
  const started = people({ ...shared, ...over });
  const server = fastify({ routerOptions: { maxParamLength: 2_000 }, trustProxy: ['127.0.0.0/8', '192.0.2.0/24'] });
  await server.register(
    async (api) => {
      secureHeaders(api);
      watchStatuses(api, (what) => problems.push({ what }));
      const authenticate = await started.authentication(api);
      const store = {
        tx: (run: () => Promise<unknown>) => database.tx(run),
        record: async () => {},
        takeKey: async () => undefined,
        keepAnswer: async () => {},
      };
      const frame = {
        ...shared,
        store,
        organisationOf: async () => undefined,
        controlBus: { post: async () => {} },
        authenticate,
        rates: { perAddress: 1_000, perPrincipal: 1_000 },
      } as unknown as FrameDeps;
      // Without apps: what their operations work with is missing here.
      const deps = { ...frame, ...started.deps, hasProvider: over.oidc !== undefined } as unknown as OperationDeps;
      const ofPeople = { ...memberOperations, ...peopleOperations };
      const implementations = implementationsOf(deps).filter(({ operation }) => Object.hasOwn(ofPeople, operation.id));
      mount(api, frame, implementations);
    },
    { prefix: basePath },
  );
  await server.register(started.pages);
  await server.ready();

  const visit = (address = '192.0.2.1') => new Browser(server, clock, address);
  const organisationId = async () => {
    const [first] = await database.sql<{ id: string }[]>`select id from organisations order by created_at limit 1`;
    return first?.id ?? '';
  };
  return {
    people: started,
    server,
    clock,
    keyring,
    problems,
    visit,
    organisationId,
    visitOwner: async () => {
      await started.ensureFirstOwner(owner);
      const browser = visit();
      const answer = await browser.signIn(owner.email, owner.password);
      if (answer.status !== 200) throw new Error(`The owner is not signed in: ${answer.text}`);
      return browser;
    },
    visitMember: async (from, email, role) => {
      const path = `/organisations/${await organisationId()}/invitations`;
      const invited = await from.ask('POST', path, { body: { email, role } });
      const browser = visit();
      const body = { token: invited.json.token, name: email, password: 'another sentence' };
      const accepted = await browser.ask('POST', '/invitations/accept', { body });
      if (accepted.status !== 200) throw new Error(`${email} is not in: ${accepted.text}`);
      const me = await browser.ask('GET', '/me');
      return Object.assign(browser, { userId: me.json.id as string });
    },
    close: () => server.close(),
  };
}
