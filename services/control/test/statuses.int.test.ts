/**
 * A request for every status that the contract declares, beside those of `every-operation.int.test.ts`: an operation or a code
 * without one does not compile.
 */
import { randomBytes } from 'node:crypto';
import { totpSecretPurpose } from '@starling/database';
import { databaseOf, type TestDatabase } from '@starling/database/test-kit';
import { problems } from '@starling/protocol';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { digestOf } from '../src/bearer-secret.ts';
import { type Operations, operations } from '../src/contract/index.ts';
import type { memberOperations } from '../src/contract/members.ts';
import type { Operation } from '../src/contract/operation.ts';
import type { peopleOperations } from '../src/contract/people.ts';
import { roles } from '../src/contract/principal.ts';
import { codeOf, stepAt } from '../src/second-factor/totp.ts';
import { Passwords } from '../src/sign-in/index.ts';
import { exampleOf, ownIds, pathOf } from './examples.ts';
import {
  type Answer,
  ourApp,
  ourKey,
  ours,
  type Person,
  people,
  type Started,
  startControl,
  theirs,
} from './started-control.ts';

interface Scene {
  readonly control: Started;
  readonly database: TestDatabase;
}

/** Gives the answer that is the refusal. */
type Story = (scene: Scene) => Promise<Answer>;

type Declared = {
  readonly [Id in keyof Operations as Operations[Id] extends { readonly refuses: readonly string[] } ? Id : never]: {
    readonly [Code in Operations[Id] extends { readonly refuses: readonly (infer C extends string)[] }
      ? C
      : never]: Story;
  };
};

const password = 'a long sentence';

/** `null`: by somebody who is not signed in. */
const post = (control: Started, path: string, body: object, person: Person | null = 'owner') =>
  control.call(person ?? undefined, 'POST', path, { body });

async function fillKeys({ database, control }: Scene): Promise<void> {
  const sealed = control.keyring.seal('c', 'app-secret:x');
  await database.sql`
    insert into app_keys (key, app_id, secret_sealed)
    select 'key-' || number, ${ourApp}, ${sealed} from generate_series(1, 99) as number`;
}

/** Somebody has signed in just now, who has no password to be asked for. */
async function openSession({ database, control }: Scene): Promise<void> {
  const at = new Date(control.deps.clock.now());
  await database.sql`
    insert into sessions (id, user_id, created_at, seen_at, rotated_at, address, user_agent)
    values ('session', ${people.owner}, ${at}, ${at}, ${at}, '192.0.2.1', 'Test browser')`;
}

async function giveSecondFactor({ database, control }: Scene): Promise<void> {
  const sealed = control.keyring.seal(randomBytes(20).toString('base64url'), totpSecretPurpose(people.owner));
  await database.sql`update users set totp_secret_sealed = ${sealed} where id = ${people.owner}`;
}

async function givePassword({ database }: Scene): Promise<void> {
  const hash = await new Passwords().hash(password, { kind: 'known', name: 'a test' });
  await database.sql`update users set password_hash = ${hash} where id = ${people.owner}`;
}

async function giveTokens({ database }: Scene, count: number): Promise<void> {
  await database.sql`
    insert into access_tokens (id, user_id, label, token_hash, role, created_at)
    select 'tok_' || number, ${people.owner}, 'ci', 'hash ' || number, 'viewer', now()
    from generate_series(1, ${count}::int) as number`;
}

async function invite({ database, control }: Scene, email: string): Promise<{ readonly token: string }> {
  const at = control.deps.clock.now();
  await database.sql`
    insert into invitations (id, organisation_id, email, role, token_hash, invited_by, created_at, expires_at)
    values ('inv_1', ${ours}, ${email}, 'viewer', ${digestOf('sti_1')}, ${people.owner}, ${new Date(at)},
      ${new Date(at + 60_000)})`;
  return { token: 'sti_1' };
}

/** From now on it is an access token of theirs by which people come. */
function comeWithToken({ control: { deps } }: Scene): void {
  const { renew } = deps;
  const byToken: typeof renew = async (principal) => {
    const renewed = await renew(principal);
    return renewed && { ...renewed, kind: 'token', sessionId: undefined, tokenId: 'tok_1' };
  };
  Object.assign(deps, { renew: byToken });
}

const credentials = { email: 'owner@example.com', password };

const refusals: Declared = {
  createOrganisation: {
    state_conflict: async ({ control, database }) => {
      await database.sql`
        insert into organisations (id, name) select 'org_' || number, 'Another' from generate_series(1, 99) as number`;
      await database.sql`
        insert into memberships (organisation_id, user_id, role, created_at)
        select 'org_' || number, ${people.owner}, 'owner', now() from generate_series(1, 99) as number`;
      return post(control, '/organisations', { name: 'One more' });
    },
  },
  deleteOrganisation: { state_conflict: ({ control }) => control.call('owner', 'DELETE', `/organisations/${ours}`) },
  createApp: {
    state_conflict: async ({ control }) => {
      const limits = { appsPerOrganisation: 1 };
      expect(await control.call('owner', 'PATCH', '/installation/limits', { body: limits })).toMatchObject({
        status: 200,
      });
      return post(control, `/organisations/${ours}/apps`, { name: 'One more' });
    },
  },
  createKey: {
    state_conflict: async (scene) => {
      await fillKeys(scene);
      return post(scene.control, `/apps/${ourApp}/keys`, { label: 'one more' });
    },
  },
  rotateKey: {
    state_conflict: async (scene) => {
      await fillKeys(scene);
      return post(scene.control, `/apps/${ourApp}/keys/${ourKey}/rotate`, { overlapSeconds: 60 });
    },
  },
  createRevocation: {
    state_conflict: async ({ control, database }) => {
      await database.sql`
        insert into app_revocations (app_id, by, id, at)
        select ${ourApp}, 'user', 'u' || number, now() from generate_series(1, 10000) as number`;
      return post(control, `/apps/${ourApp}/revocations`, { by: 'user', id: 'one more' });
    },
  },
  createWebhookEndpoint: {
    state_conflict: async ({ control, database }) => {
      await database.sql`
        insert into webhook_endpoints (id, app_id, url, events, created_at)
        select 'wh_' || number, ${ourApp}, 'https://example.com', '{cache_miss}', now()
        from generate_series(1, 49) as number`;
      const body = { url: 'https://example.com/one-more', events: ['cache_miss'] };
      return post(control, `/apps/${ourApp}/webhook-endpoints`, body);
    },
  },
  changeMember: {
    last_owner: ({ control }) =>
      control.call('owner', 'PATCH', `/organisations/${ours}/members/${people.owner}`, { body: { role: 'admin' } }),
  },
  removeMember: {
    last_owner: ({ control }) => control.call('owner', 'DELETE', `/organisations/${ours}/members/${people.owner}`),
  },
  createInvitation: {
    state_conflict: ({ control }) =>
      post(control, `/organisations/${ours}/invitations`, { email: 'viewer@example.com', role: 'viewer' }),
  },
  readInvitation: {
    link_spent: ({ control }) => post(control, '/invitations/read', { token: 'sti_never' }, null),
  },
  acceptInvitation: {
    link_spent: ({ control }) => post(control, '/invitations/accept', { token: 'sti_never' }),
    email_taken: async (scene) => {
      const invited = await invite(scene, 'stranger@example.com');
      // They have proven the address: only they accept.
      const body = { ...invited, name: 'Somebody else', password };
      return post(scene.control, '/invitations/accept', body, null);
    },
    invitation_of_other: async (scene) =>
      post(scene.control, '/invitations/accept', await invite(scene, 'new@example.com'), 'stranger'),
    session_needed: async (scene) => {
      const invited = await invite(scene, 'stranger@example.com');
      comeWithToken(scene);
      return post(scene.control, '/invitations/accept', invited, 'stranger');
    },
  },
  signIn: {
    sign_in_wrong: ({ control }) => post(control, '/sign-in', credentials, null),
    second_factor_missing: async (scene) => {
      await givePassword(scene);
      await giveSecondFactor(scene);
      return post(scene.control, '/sign-in', credentials, null);
    },
    second_factor_wrong: async (scene) => {
      await givePassword(scene);
      await giveSecondFactor(scene);
      return post(scene.control, '/sign-in', { ...credentials, code: 'AAAA-AAAA-AAAA-AAAA' }, null);
    },
  },
  listSessions: {
    session_needed: (scene) => {
      comeWithToken(scene);
      return scene.control.call('owner', 'GET', '/me/sessions');
    },
  },
  listAccessTokens: {
    session_needed: (scene) => {
      comeWithToken(scene);
      return scene.control.call('owner', 'GET', '/me/access-tokens');
    },
  },
  offerSecondFactor: {
    state_conflict: async (scene) => {
      await openSession(scene);
      await giveSecondFactor(scene);
      return post(scene.control, '/me/second-factor', {});
    },
  },
  confirmSecondFactor: {
    state_conflict: ({ control }) => control.call('owner', 'PUT', '/me/second-factor', { body: { code: '123456' } }),
  },
  renewRecoveryCodes: {
    state_conflict: async (scene) => {
      await openSession(scene);
      return post(scene.control, '/me/second-factor/recovery-codes', {});
    },
  },
  createAccessToken: {
    state_conflict: async (scene) => {
      await giveTokens(scene, 100);
      return post(scene.control, '/me/access-tokens', { label: 'one more', role: 'viewer' });
    },
    resource_unknown: ({ control }) =>
      post(control, '/me/access-tokens', { label: 'ci', role: 'viewer', organisationId: theirs }),
  },
  takeOperator: {
    last_operator: ({ control }) => control.call('owner', 'DELETE', `/operators/${people.owner}`),
  },
};

/** What people do among themselves; `every-operation.int.test.ts` has the others. */
const successes: Record<keyof typeof memberOperations | keyof typeof peopleOperations, Story> = {
  listMembers: ({ control }) => control.call('owner', 'GET', `/organisations/${ours}/members`),
  changeMember: ({ control }) =>
    control.call('owner', 'PATCH', `/organisations/${ours}/members/${people.viewer}`, { body: { role: 'developer' } }),
  removeMember: ({ control }) => control.call('owner', 'DELETE', `/organisations/${ours}/members/${people.viewer}`),
  listInvitations: async (scene) => {
    await invite(scene, 'new@example.com');
    return scene.control.call('owner', 'GET', `/organisations/${ours}/invitations`);
  },
  createInvitation: ({ control }) =>
    post(control, `/organisations/${ours}/invitations`, { email: 'new@example.com', role: 'viewer' }),
  revokeInvitation: async (scene) => {
    await invite(scene, 'new@example.com');
    return scene.control.call('owner', 'DELETE', `/organisations/${ours}/invitations/inv_1`);
  },
  readInvitation: async (scene) =>
    post(scene.control, '/invitations/read', await invite(scene, 'new@example.com'), null),
  acceptInvitation: async (scene) =>
    post(scene.control, '/invitations/accept', await invite(scene, 'stranger@example.com'), 'stranger'),
  readSignIn: ({ control }) => control.call(undefined, 'GET', '/sign-in'),
  signIn: async (scene) => {
    await givePassword(scene);
    return post(scene.control, '/sign-in', credentials, null);
  },
  signOut: async (scene) => {
    await openSession(scene);
    return post(scene.control, '/sign-out', {});
  },
  readMe: ({ control }) => control.call('owner', 'GET', '/me'),
  changeMe: ({ control }) => control.call('owner', 'PATCH', '/me', { body: { name: 'Ada' } }),
  changePassword: async (scene) => {
    await openSession(scene);
    return scene.control.call('owner', 'PUT', '/me/password', { body: { password } });
  },
  listSessions: async (scene) => {
    await openSession(scene);
    return scene.control.call('owner', 'GET', '/me/sessions');
  },
  endSession: async (scene) => {
    await openSession(scene);
    return scene.control.call('owner', 'DELETE', '/me/sessions/session');
  },
  endSessions: ({ control }) => control.call('owner', 'DELETE', '/me/sessions'),
  offerSecondFactor: async (scene) => {
    await openSession(scene);
    return post(scene.control, '/me/second-factor', {});
  },
  confirmSecondFactor: async ({ control, database }) => {
    const secret = randomBytes(20);
    const sealed = control.keyring.seal(secret.toString('base64url'), totpSecretPurpose(people.owner));
    await database.sql`update users set totp_offered_sealed = ${sealed} where id = ${people.owner}`;
    const code = codeOf(secret, stepAt(control.deps.clock.now()));
    return control.call('owner', 'PUT', '/me/second-factor', { body: { code } });
  },
  removeSecondFactor: async (scene) => {
    await openSession(scene);
    await giveSecondFactor(scene);
    return post(scene.control, '/me/second-factor/remove', {});
  },
  renewRecoveryCodes: async (scene) => {
    await openSession(scene);
    await giveSecondFactor(scene);
    return post(scene.control, '/me/second-factor/recovery-codes', {});
  },
  listAccessTokens: async (scene) => {
    await giveTokens(scene, 2);
    return scene.control.call('owner', 'GET', '/me/access-tokens');
  },
  createAccessToken: ({ control }) => post(control, '/me/access-tokens', { label: 'ci', role: 'viewer' }),
  revokeAccessToken: async (scene) => {
    await giveTokens(scene, 1);
    return scene.control.call('owner', 'DELETE', '/me/access-tokens/tok_1');
  },
};

const table = Object.values<Operation>(operations);
const isRole = (needs: Operation['needs']) => (roles as readonly string[]).includes(needs);
const named = (operation: Operation) => [operation.id, operation] as const;

describe('the statuses of operations', () => {
  const database = databaseOf();
  let control: Started;
  beforeEach(async () => {
    control = await startControl(database);
  });
  afterEach(async () => {
    expect(control.problems).toEqual([]);
    await control.close();
  });
  const send = (operation: Operation, headers: Record<string, string> = {}, body = exampleOf(operation).body) =>
    control.call('owner', operation.method, pathOf(operation, ownIds), {
      headers,
      ...(body === undefined ? {} : { body }),
    });

  const told = Object.entries(refusals).flatMap(([id, ofOne]) =>
    Object.entries<Story>(ofOne).map(([code, story]) => [id, code as keyof typeof problems, story] as const),
  );
  test.each(told)('[AD2] %s refuses with %s, as the contract declares', async (_id, code, story) => {
    const answer = await story({ control, database });
    expect(answer).toMatchObject({ status: problems[code].status, error: { code } });
  });

  test.each(Object.entries(successes))(
    '[AD2] %s does what it says, and answers as the contract says',
    async (id, story) => {
      const { creates, method, reply } = operations[id as keyof typeof successes] as Operation;
      const answer = await story({ control, database });
      expect(answer, answer.text).toMatchObject({ status: creates ? 201 : answer.text === '' ? 204 : 200 });
      expect(reply.parse(answer.json ?? null)).toEqual(answer.json ?? null);
      const written = await database.sql`select action from audit_entries`;
      expect(written).toEqual(method === 'GET' || id === 'readInvitation' ? [] : [{ action: id }]);
    },
  );

  test.each(table.filter(({ path, needs }) => path.includes(':') && !isRole(needs)).map(named))(
    '[AD4] %s says that what it names is not there',
    async (_id, operation) => {
      const ids = { sessionId: 'nothing', tokenId: 'tok_nothing', userId: 'usr_nothing' };
      expect(await control.call('owner', operation.method, pathOf(operation, ids))).toMatchObject({
        status: 404,
        error: { code: 'resource_unknown' },
      });
    },
  );

  test.each(table.filter(({ isVersioned }) => isVersioned).map(named))(
    '[AD8] %s refuses what is meant for another version',
    async (_id, operation) => {
      expect(await send(operation, { 'if-match': '"999999"' })).toMatchObject({
        status: 409,
        error: { code: 'version_outdated' },
      });
    },
  );

  test.each(table.filter(({ creates }) => creates).map(named))(
    '[AD13] %s refuses the Idempotency-Key of another request',
    async (_id, operation) => {
      const body = exampleOf(operation).body ?? { label: 'ci', role: 'viewer' };
      const headers = { 'idempotency-key': 'one' };
      expect(await send(operation, headers, body)).toMatchObject({ status: 201 });
      expect(await send(operation, headers, altered(body))).toMatchObject({
        status: 409,
        error: { code: 'idempotency_key_reused' },
      });
    },
  );

  test('[AD1] every operation says when somebody asks too often', async () => {
    await restart({ rates: { perAddress: 1, perPrincipal: 1 } });
    await send(operations.readMe);
    for (const operation of table) {
      const answer = await send(operation);
      expect(answer, operation.id).toMatchObject({
        status: 429,
        headers: { 'retry-after': expect.anything() },
        error: { code: 'rate_limited' },
      });
    }
  });

  test('[DB5] every operation that needs the database says when it is away', async () => {
    const other = await database.openAnother();
    const { address, openAnother } = database;
    await restart({}, Object.assign(other, { address, openAnother }));
    await other.close();
    for (const operation of table) {
      expect(await send(operation), operation.id).toMatchObject({ status: 503, error: { code: 'unavailable' } });
    }
  });

  async function restart(over: Parameters<typeof startControl>[1], on = database): Promise<void> {
    await control.close();
    await database.sql`truncate organisations, apps, users cascade`;
    control = await startControl(on, over);
  }
});

/** The same request for something else. */
function altered(body: object): object {
  const fields = body as Readonly<Record<string, unknown>>;
  const name = ['name', 'label', 'id', 'url', 'email'].find((each) => typeof fields[each] === 'string');
  return name === undefined ? { ...body, overlapSeconds: 61 } : { ...body, [name]: `${fields[name]}2` };
}
