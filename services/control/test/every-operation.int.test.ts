/** What holds for every operation of the contract, whichever they are: none can be forgotten here. */
import { databaseOf } from '@starling/database/test-kit';
import { channelTopic } from '@starling/ports';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { operations } from '../src/contract/index.ts';
import { errorReply, type Operation } from '../src/contract/operation.ts';
import { roles } from '../src/contract/principal.ts';
import { exampleOf, examples, ownIds, pathOf } from './examples.ts';
import {
  ourApp,
  ours,
  people,
  type Started,
  startControl,
  theirApp,
  theirEndpoint,
  theirKey,
  theirs,
} from './started-control.ts';

const foreignIds: Record<string, string> = {
  organisationId: theirs,
  appId: theirApp,
  key: theirKey,
  endpointId: theirEndpoint,
  userId: people.stranger,
  invitationId: 'inv_theirs',
};
const unknownIds: Record<string, string> = {
  organisationId: 'org_nothing',
  appId: '999',
  key: 'nothing',
  endpointId: 'wh_nothing',
  userId: 'usr_nothing',
  invitationId: 'inv_nothing',
};

const table = Object.values<Operation>(operations).map((operation) => [operation.id, operation] as const);
const withExample = table.filter(([id]) => Object.hasOwn(examples, id));
const ofOperators = table.filter(([, { needs }]) => needs === 'operator');
const withRole = table.filter(([, { needs }]) => (roles as readonly string[]).includes(needs));

describe('the operations', () => {
  const database = databaseOf();
  let control: Started;
  beforeEach(async () => {
    control = await startControl(database);
    const member = { userId: 'ada', userInfo: 'null' };
    await control.presenceStore.join({ topic: channelTopic(ourApp, 'presence-room'), socketId: '1.1', member });
  });
  afterEach(async () => {
    expect(control.problems).toEqual([]);
    await control.close();
  });
  const send = (person: Parameters<Started['call']>[0], operation: Operation, ids: Record<string, string>) => {
    const { body } = exampleOf(operation);
    return control.call(person, operation.method, pathOf(operation, ids), body === undefined ? {} : { body });
  };
  const auditCount = async () => (await database.sql`select 1 from audit_entries`).length;

  test.each(withExample)(
    '[AD2] [AD9] %s does what it says, and every change is in the audit log',
    async (id, operation) => {
      if (id === 'deleteOrganisation') await database.sql`delete from apps where organisation_id = ${ours}`;
      if (id === 'takeOperator') {
        await database.sql`insert into operators (user_id, created_at) values (${people.viewer}, now())`;
      }
      const answer = await send('owner', operation, ownIds);
      expect(answer).toMatchObject({ status: operation.creates ? 201 : answer.text === '' ? 204 : 200 });
      // Nothing but what the contract names, and all of that.
      if (answer.text !== '') expect(operation.reply.parse(answer.json)).toEqual(answer.json);
      expect(answer.text).not.toContain('cccccccccccccccccccc');

      const entry = {
        organisation_id:
          id === 'createOrganisation' ? expect.stringMatching(/^org_/) : operation.needs === 'operator' ? null : ours,
        actor: { kind: 'user', userId: people.owner, address: '127.0.0.1' },
        action: id,
        target: expect.stringMatching(/^[\w-]+:/),
      };
      expect(await database.sql`select organisation_id, actor, action, target from audit_entries`).toMatchObject(
        operation.method === 'GET' ? [] : [entry],
      );
    },
  );

  test.each(table)(
    '[AD3] [AD5] [AD11] %s refuses strangers, odd requests and foreign pages',
    async (_id, operation) => {
      const path = pathOf(operation, ownIds);
      const { body } = exampleOf(operation);
      const given = body === undefined ? {} : { body };
      if (operation.needs !== 'anyone') {
        expect(await send(undefined, operation, ownIds)).toMatchObject({
          status: 401,
          error: { code: 'request_unauthenticated' },
        });
      }

      const odd = [await control.call('owner', operation.method, `${path}?nonsense=1`, given)];
      if (operation.method !== 'GET') {
        odd.push(await control.call('owner', operation.method, path, { body: { ...body, nonsense: 1 } }));
        for (const text of ['[]', '7', '"text"']) {
          expect(await control.call('owner', operation.method, path, { body: text })).toMatchObject({
            status: 400,
            error: { code: 'fields_invalid', fields: { body: expect.any(String) } },
          });
        }
        const pages = [{ 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }, { origin: 'null' }];
        for (const headers of [...pages, { origin: 'https://evil.example' }] as Record<string, string>[]) {
          expect(await control.call('owner', operation.method, path, { ...given, headers })).toMatchObject({
            status: 403,
            error: { code: 'origin_refused' },
          });
        }
      }
      for (const answer of odd) {
        expect(answer).toMatchObject({
          status: 400,
          error: { code: 'fields_invalid', fields: { nonsense: expect.any(String) } },
        });
        expect(errorReply.parse(answer.json)).toEqual(answer.json);
      }
      expect(await auditCount()).toBe(0);
    },
  );

  test.each(ofOperators)(
    '[AD23] %s is for operators only, whatever somebody is in an organisation',
    async (_id, operation) => {
      for (const person of ['admin', 'developer', 'viewer', 'stranger'] as const) {
        expect(await send(person, operation, ownIds)).toMatchObject({
          status: 403,
          error: { code: 'operator_needed' },
        });
      }
      expect(await auditCount()).toBe(0);
    },
  );

  test.each(withRole)(
    '[AD4] %s is there only for people of the organisation with the role it needs',
    async (_id, operation) => {
      const unknown = { status: 404, error: { code: 'resource_unknown' } };
      const missing = await send('owner', operation, unknownIds);
      expect(missing).toMatchObject(unknown);
      expect(await send('stranger', operation, ownIds)).toMatchObject(unknown);
      // Word for word: what is another's cannot be told from what is not there, nor from what is no id at all.
      const odd = Object.fromEntries(Object.keys(ownIds).map((name) => [name, "0'%00%20;--"]));
      for (const ids of [foreignIds, odd]) expect((await send('owner', operation, ids)).json).toEqual(missing.json);
      // Nor is it reached through what is one's own.
      const own = operation.path.includes(':organisationId') ? 'organisationId' : 'appId';
      if (operation.path.split(':').length > 2) {
        for (const ids of [foreignIds, unknownIds]) {
          expect(await send('owner', operation, { ...ids, [own]: ownIds[own] ?? '' })).toMatchObject(unknown);
        }
      }
      const needed = roles.indexOf(operation.needs as (typeof roles)[number]);
      for (const role of roles.slice(needed + 1)) {
        expect(await send(role, operation, ownIds)).toMatchObject({ status: 403, error: { code: 'role_too_low' } });
      }
      expect(await auditCount()).toBe(0);
    },
  );
});
