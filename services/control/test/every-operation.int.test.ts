/** What holds for every operation of the contract, whichever they are: none can be forgotten here. */
import { databaseOf, engines } from '@starling/database/test-kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type OperationId, operations } from '../src/contract/index.ts';
import { errorReply, type Operation } from '../src/contract/operation.ts';
import { roles } from '../src/people/principal.ts';
import {
  ourApp,
  ourEndpoint,
  ourKey,
  ours,
  people,
  type Started,
  startControl,
  theirApp,
  theirEndpoint,
  theirKey,
  theirs,
} from './started-control.ts';

const ownIds: Record<string, string> = {
  organisationId: ours,
  appId: ourApp,
  key: ourKey,
  endpointId: ourEndpoint,
  userId: people.viewer,
};
const foreignIds: Record<string, string> = {
  organisationId: theirs,
  appId: theirApp,
  key: theirKey,
  endpointId: theirEndpoint,
  userId: people.stranger,
};
const unknownIds: Record<string, string> = {
  organisationId: 'org_nothing',
  appId: '999',
  key: 'nothing',
  endpointId: 'wh_nothing',
  userId: 'usr_nothing',
};

function pathOf({ path }: Operation, ids: Readonly<Record<string, string>>): string {
  return path.replaceAll(/:(\w+)/g, (_, name: string) => ids[name] ?? 'missing');
}

/** A request to each that does what it says. */
const examples: Record<OperationId, { readonly query?: string; readonly body?: object }> = {
  listOrganisations: {},
  getOrganisation: {},
  createOrganisation: { body: { name: 'New' } },
  changeOrganisation: { body: { name: 'Renamed' } },
  // One that has no apps: those of ours are deleted before.
  deleteOrganisation: {},
  listApps: {},
  createApp: { body: { name: 'New', settings: { hasClientEvents: true }, limits: { connections: 7 } } },
  getApp: {},
  changeApp: { body: { isEnabled: false } },
  deleteApp: {},
  getRollout: {},
  listKeys: {},
  createKey: { body: { label: 'ci' } },
  rotateKey: { body: { overlapSeconds: 60 } },
  changeKey: { body: { isEnabled: false } },
  deleteKey: {},
  getTokenSettings: {},
  changeTokenSettings: { body: { jwksUrl: 'https://id.example.com/keys' } },
  listRevocations: {},
  createRevocation: { body: { by: 'user', id: 'ada' } },
  listWebhookEndpoints: {},
  createWebhookEndpoint: { body: { url: 'https://example.com/new', events: ['member_added'] } },
  changeWebhookEndpoint: { body: { isEnabled: false } },
  deleteWebhookEndpoint: {},
  listAuditEntries: {},
  getUsage: {},
};

const table = Object.values<Operation>(operations).map((operation) => [operation.id, operation] as const);
const withRole = table.filter(([, { needs }]) => (roles as readonly string[]).includes(needs));
const closed = table.filter(([, { needs }]) => needs !== 'anyone');

describe.each(engines)('on %s', (engine) => {
  const database = databaseOf(engine);
  let control: Started;
  beforeEach(async () => {
    control = await startControl(database);
  });
  afterEach(async () => {
    expect(control.problems).toEqual([]);
    await control.close();
  });
  const send = (person: Parameters<Started['call']>[0], operation: Operation, ids: Record<string, string>) => {
    const { query = '', body } = examples[operation.id as OperationId];
    return control.call(person, operation.method, pathOf(operation, ids) + query, body === undefined ? {} : { body });
  };
  const auditCount = async () => (await database.sql`select 1 from audit_entries`).length;

  test.each(table)('[AD2] %s does what it says', async (id, operation) => {
    if (id === 'deleteOrganisation') await database.sql`delete from apps where organisation_id = ${ours}`;
    const answer = await send('owner', operation, ownIds);
    expect(answer).toMatchObject({ status: operation.creates ? 201 : answer.text === '' ? 204 : 200 });
    // Nothing but what the contract names, and all of that.
    if (answer.text !== '') expect(operation.reply.parse(answer.json)).toEqual(answer.json);
    expect(answer.text).not.toContain('cccccccccccccccccccc');
  });

  test.each(table.filter(([, { method }]) => method !== 'GET'))(
    '[AD9] %s is in the audit log',
    async (id, operation) => {
      if (id === 'deleteOrganisation') await database.sql`delete from apps where organisation_id = ${ours}`;
      await send('owner', operation, ownIds);
      expect(await database.sql`select actor, action, target from audit_entries`).toMatchObject([
        {
          actor: { kind: 'user', userId: people.owner, address: '127.0.0.1' },
          action: id,
          target: expect.stringMatching(/^[\w-]+:/),
        },
      ]);
    },
  );

  test.each(closed)('[AD3] %s tells nothing to who is not signed in', async (_id, operation) => {
    expect(await send(undefined, operation, ownIds)).toMatchObject({
      status: 401,
      error: { code: 'request_unauthenticated' },
    });
    expect(await auditCount()).toBe(0);
  });

  test.each(withRole)('[AD4] %s is not there for people of other organisations', async (_id, operation) => {
    expect(await send('stranger', operation, ownIds)).toMatchObject({
      status: 404,
      error: { code: 'resource_unknown' },
    });
    expect(await send('owner', operation, foreignIds)).toMatchObject({
      status: 404,
      error: { code: 'resource_unknown' },
    });
    expect(await auditCount()).toBe(0);
  });

  // What is another's is not reached through what is one's own.
  test.each(withRole.filter(([, { path }]) => path.split(':').length > 2))(
    '[AD4] %s does not find in our organisation what is of another, or of none',
    async (_id, operation) => {
      const { organisationId, appId } = ownIds;
      for (const ids of [foreignIds, unknownIds]) {
        const mixed = { ...ids, ...(operation.path.includes(':organisationId') ? { organisationId } : { appId }) };
        expect(await send('owner', operation, mixed as Record<string, string>)).toMatchObject({
          status: 404,
          error: { code: 'resource_unknown' },
        });
      }
      expect(await auditCount()).toBe(0);
    },
  );

  test.each(withRole)('[AD4] %s answers the same for an unknown id, and for what is no id', async (_id, operation) => {
    const unknown = await send('owner', operation, unknownIds);
    expect(unknown).toMatchObject({ status: 404, error: { code: 'resource_unknown' } });
    const odd = Object.fromEntries(Object.keys(ownIds).map((name) => [name, "0'%00%20;--"]));
    expect((await send('owner', operation, odd)).json).toEqual(unknown.json);
  });

  test.each(withRole.filter(([, { needs }]) => needs !== 'viewer'))(
    '[AD4] %s is refused to a role that is too low',
    async (_id, operation) => {
      const needed = roles.indexOf(operation.needs as (typeof roles)[number]);
      for (const role of roles.slice(needed + 1)) {
        expect(await send(role, operation, ownIds)).toMatchObject({ status: 403, error: { code: 'role_too_low' } });
      }
      expect(await auditCount()).toBe(0);
    },
  );

  test.each(table)('[AD5] %s refuses what it does not know, and names it', async (_id, operation) => {
    const { body = {} } = examples[operation.id as OperationId];
    const path = pathOf(operation, ownIds);
    const inQuery = await control.call(
      'owner',
      operation.method,
      `${path}?nonsense=1`,
      operation.method === 'GET' ? {} : { body },
    );
    const answers = [inQuery];
    if (operation.method !== 'GET') {
      answers.push(await control.call('owner', operation.method, path, { body: { ...body, nonsense: 1 } }));
      for (const odd of ['[]', '7', 'null', '"text"']) {
        const answer = await control.call('owner', operation.method, path, { body: odd });
        // Null is as good as nothing where nothing is needed.
        if (odd !== 'null') expect(answer).toMatchObject({ status: 400, error: { code: 'fields_invalid' } });
      }
    }
    for (const answer of answers) {
      expect(answer).toMatchObject({
        status: 400,
        error: { code: 'fields_invalid', fields: { nonsense: expect.any(String) } },
      });
      expect(errorReply.parse(answer.json)).toEqual(answer.json);
    }
  });

  test.each(table.filter(([, { method }]) => method !== 'GET'))(
    '[AD11] %s takes no change from a page of another origin',
    async (_id, operation) => {
      const { body = {} } = examples[operation.id as OperationId];
      for (const headers of [
        { 'sec-fetch-site': 'cross-site' },
        { 'sec-fetch-site': 'same-site' },
        { origin: 'https://evil.example' },
        { origin: 'null' },
      ]) {
        const answer = await control.call('owner', operation.method, pathOf(operation, ownIds), {
          body,
          headers: headers as Record<string, string>,
        });
        expect(answer).toMatchObject({ status: 403, error: { code: 'origin_refused' } });
      }
      expect(await auditCount()).toBe(0);
    },
  );
});
