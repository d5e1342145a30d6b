/** Hostile values in every path, query, header and body field that the contract names: each is answered, and nothing of others changes. */
import { databaseOf } from '@starling/database/test-kit';
import { channelTopic } from '@starling/ports';
import type { InjectOptions } from 'fastify';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { Random } from '../../../infra/testing/random.ts';
import { basePath, operations, streams } from '../src/contract/index.ts';
import { errorReply, type Operation, paramNames } from '../src/contract/operation.ts';
import { exampleOf, ownIds, pathOf } from './examples.ts';
import { ourApp, people, type Started, startControl, theirApp, theirs } from './started-control.ts';

const seedsPerField = 6;
const texts = [
  '',
  '\0',
  'a\0b',
  '\ud800',
  '\udc00\ud800',
  'x'.repeat(10_240),
  'NaN',
  '-0',
  "'; drop table apps; --",
  '__proto__',
  'null',
  '-1',
  '9007199254740991',
  '9007199254740993',
  '1e400',
  '99999999999999999999999',
  '0000-01-01T00:00:00Z',
  '0001-01-01T00:00:00Z',
  '1969-12-31T23:59:59Z',
  '9999-12-31T23:59:59.999Z',
  '+275760-09-13T00:00:00.000Z',
  'https://\ud800/',
  '%00',
];
const cursors = Object.values(['apps', 'keys', 'organisations', 'members', 'revocations', 'webhook-endpoints']).flatMap(
  (list) =>
    [9_007_199_254_740_991, 8.64e15, 8.64e15 + 1, -1, -8.64e15, 253_402_300_800_000, -62_135_596_800_001, 0.5].flatMap(
      (number) => [
        [list, number],
        [list, number, 'x'],
        [list, number, '\0'],
        [list, number, 'user', '\ud800'],
        [list, String(number), 'x'],
      ],
    ),
);
const cursorTexts = [
  ...cursors,
  ['channels', '\0'],
  ['channels', '\ud800'],
  ['audit-entries', 9_007_199_254_740_991],
  ['audit-entries', -9_007_199_254_740_991],
].map((cursor) => Buffer.from(JSON.stringify(cursor)).toString('base64url'));
const values: readonly unknown[] = [
  ...texts,
  ...[null, true, 0, -1, 0.5, 2 ** 53, 8.64e15, 8.64e15 + 2, 1e308, -1e308],
  ...[[], {}, [[]], ['\0'], { a: '\0' }, { length: 1 }, ['x'.repeat(10_240)]],
];
/** As they are sent: JSON.stringify would not write them. */
const bodies = [
  `${'['.repeat(100_000)}${']'.repeat(100_000)}`,
  `${'{"a":'.repeat(40)}0${'}'.repeat(40)}`,
  '{"__proto__":{"a":1}}',
  '{"constructor":{"prototype":1}}',
  '{"a":1e999}',
  '{"\\u0000":1}',
  '{"\\ud800":"\\udc00"}',
  '{',
  '\0',
  '"\ud800"',
];
const headers: Record<string, readonly string[]> = {
  'if-match': ['"0"', '"999999999999999"', '"9999999999999999"', 'W/"x"', '*', '\xff', ''],
  'idempotency-key': ['', 'x'.repeat(201), '\xff', "';--", 'ok'],
  'user-agent': ['\xff'.repeat(2_000), ''],
  'x-forwarded-for': ['x'.repeat(5_000), '::ffff:1.2.3.4', '\xff'],
  cookie: ['starling_session=%00; starling_browser=%', `starling_session=${'x'.repeat(3_000)}`, '\xff=;;=='],
  'content-type': ['text/plain', 'application/json; charset=utf-16', '', 'multipart/form-data'],
};

const table = Object.values<Operation>({ ...operations, ...streams }).map(
  (operation) => [operation.id, operation] as const,
);

/** The names of fields, those inside of objects as paths. */
function fieldsOf(schema: z.ZodType, path: readonly string[] = []): (readonly string[])[] {
  const inner =
    schema instanceof z.ZodOptional || schema instanceof z.ZodDefault ? (schema.unwrap() as z.ZodType) : schema;
  if (!(inner instanceof z.ZodObject)) return [];
  return Object.entries(inner.shape as Record<string, z.ZodType>).flatMap(([name, field]) => [
    [...path, name],
    ...fieldsOf(field, [...path, name]),
  ]);
}

function withField(body: object, [name = '', ...rest]: readonly string[], value: unknown): object {
  const former = (body as Record<string, unknown>)[name];
  const inner = typeof former === 'object' && former !== null ? former : {};
  return { ...body, [name]: rest.length === 0 ? value : withField(inner, rest, value) };
}

const database = databaseOf();
let control: Started;
let theirsBefore: unknown;
beforeEach(async () => {
  control = await startControl(database);
  await control.presenceStore.join({
    topic: channelTopic(ourApp, 'presence-room'),
    socketId: '1.1',
    member: { userId: 'ada', userInfo: 'null' },
  });
  theirsBefore = await dump();
});
afterEach(async () => {
  expect(control.problems).toEqual([]);
  expect(await dump()).toEqual(theirsBefore);
  await control.close();
});

/** All that is another organisation's. */
async function dump(): Promise<unknown> {
  const { sql } = database;
  return Promise.all([
    sql`select id, name, version from organisations where id = ${theirs}`,
    // Its version grows with the limits of the installation.
    sql`select id, name, is_enabled, settings from apps where organisation_id = ${theirs}`,
    sql`select * from app_keys where app_id = ${theirApp}`,
    sql`select * from webhook_endpoints where app_id = ${theirApp}`,
    sql`select * from app_revocations where app_id = ${theirApp}`,
    sql`select * from memberships where organisation_id = ${theirs}`,
    sql`select * from invitations where organisation_id = ${theirs}`,
    sql`select * from users where id = ${people.stranger}`,
    sql`select * from access_tokens where user_id = ${people.stranger}`,
    sql`select * from operators where user_id = ${people.stranger}`,
  ]);
}

type Sent = Pick<InjectOptions, 'payload'> & { readonly url: string; readonly headers?: Record<string, string> };

async function send(operation: Operation, { url, headers: more = {}, payload }: Sent): Promise<void> {
  const { method } = operation;
  const answer = await control.server.inject({
    method: method as NonNullable<InjectOptions['method']>,
    url: `${basePath}${url}`,
    headers: {
      authorization: `Test ${people.owner}`,
      ...(payload === undefined ? {} : { 'content-type': 'application/json' }),
      ...more,
    },
    ...(payload === undefined ? {} : { payload }),
  });
  const shown = JSON.stringify({ method, url, more, payload: String(payload).slice(0, 200) });
  const told = `${shown} → ${answer.statusCode} ${answer.body.slice(0, 300)}`;
  expect(answer.statusCode, told).toBeLessThan(500);
  // What cannot be a URL of any route is refused by the server, which is a bare one here.
  if (/"FST_ERR_(?:BAD_URL|MAX_PARAM_LENGTH)"/.test(answer.body)) return;
  if (answer.statusCode === 204) {
    expect(answer.body, told).toBe('');
    return;
  }
  expect(answer.headers['content-type'], told).toBe('application/json; charset=utf-8');
  const shape = answer.statusCode < 300 ? operation.reply : errorReply;
  // An unknown field may be called __proto__, and is named so: what a parser of clients does with it is theirs.
  const json = JSON.parse(answer.body, (name, value) => (name === '__proto__' ? undefined : value));
  expect(shape.safeParse(json), told).toEqual({ success: true, data: json });
}

describe.each(table)('%s', (id, operation) => {
  const url = pathOf(operation, ownIds);
  const isStream = Object.hasOwn(streams, id);
  const example = exampleOf(operation).body ?? {};
  const seeds = Array.from({ length: seedsPerField * inject('fuzzFactor') }, (_, seed) => new Random(seed));

  test('[AD22] whatever stands in its path', async () => {
    for (const name of paramNames(operation.path)) {
      const texts = ['%00', '%', '%ff', '%ed%a0%80', '..', '%2e%2e%2f', '0', '9'.repeat(400), 'x'.repeat(3_000), "'--"];
      for (const text of [...texts, ...seeds.map((random) => encode(random.text()))]) {
        await send(operation, { url: pathOf(operation, { ...ownIds, [name]: text }), ...bodyOf(example) });
      }
    }
  });

  test('[AD22] whatever stands in its query', async () => {
    for (const name of Object.keys(operation.query.shape)) {
      const made = seeds.map((random) => encode(random.text()));
      const chosen = name === 'cursor' ? cursorTexts : [];
      for (const text of ['%00', '%', '%ff', '&', ...texts.map(encode), ...made, ...chosen]) {
        // A stream that is let in does not end: with a field too many it is not.
        await send(operation, { url: `${url}?${name}=${text}${isStream ? '&nonsense=1' : ''}` });
      }
      await send(operation, { url: `${url}?${name}=1&${name}=2&__proto__=1&nonsense=1` });
    }
    if ('cursor' in operation.query.shape) expect(cursorTexts.length).toBeGreaterThan(200);
  });

  test('[AD22] whatever stands in its headers', async () => {
    for (const [name, all] of Object.entries(headers)) {
      for (const text of all) {
        await send(operation, {
          url: isStream ? `${url}?nonsense=1` : url,
          headers: { [name]: text },
          ...bodyOf(example),
        });
      }
    }
  });

  test('[AD22] whatever stands in its body', async () => {
    if (operation.method === 'GET') return;
    for (const payload of bodies) await send(operation, { url, payload });
    for (const path of fieldsOf(operation.body)) {
      for (const value of values) await send(operation, { url, ...bodyOf(withField(example, path, value)) });
      for (const random of seeds) {
        const marked = JSON.stringify(withField(example, path, 'here it goes'));
        await send(operation, { url, payload: marked.replace('"here it goes"', () => random.json()) });
      }
    }
  });
});

test('[AD22] a body nests 32 deep and no deeper', async () => {
  const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
  const answer = (text: string) => control.call('owner', 'PATCH', `/apps/${ourApp}`, { body: text });
  expect(await answer(nested(32))).toMatchObject({ status: 400, error: { code: 'fields_invalid' } });
  expect(await answer(nested(33))).toMatchObject({
    status: 400,
    error: { code: 'json_too_deep', message: expect.stringContaining('32') },
  });
});

test('[AD22] a text that cannot be kept is named by its field', async () => {
  const answer = await control.call('owner', 'PATCH', `/apps/${ourApp}`, {
    body: '{"name":"a\\ud800","settings":{"allowedOrigins":["a\\u0000"]}}',
  });
  expect(answer).toMatchObject({
    status: 400,
    error: { fields: { name: expect.any(String), 'settings.allowedOrigins.0': expect.any(String) } },
  });
});

function bodyOf(body: object): { payload?: string } {
  return Object.keys(body).length === 0 ? {} : { payload: JSON.stringify(body) };
}

/** Also where it is no text that UTF-8 has. */
function encode(text: string): string {
  return encodeURIComponent(text.replaceAll(/\p{Surrogate}/gu, '\ufffd'));
}
