/** URLs that customers give, and what of an identity provider must be said. */
import { databaseOf } from '@starling/database/test-kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ourApp, ourEndpoint, type Started, startControl } from './started-control.ts';

const inside = [
  '127.0.0.1',
  '127.1',
  '2130706433',
  '0x7f000001',
  '0x7f.1',
  '0177.0.0.1',
  '127.0.0.1.',
  '[::1]',
  '[::]',
  '[::ffff:127.0.0.1]',
  '[::ffff:a9fe:a9fe]',
  '[::ffff:0:10.0.0.1]',
  '[64:ff9b::10.0.0.1]',
  '[3fff::1]',
  '[5f00::1]',
  '[fe80::1]',
  '169.254.169.254',
  '10.0.0.1',
  '0.0.0.0',
  '%31%32%37.0.0.1',
  '１２７.0.0.1',
  'localhost',
  'LOCALHOST.',
  'a.localhost',
  'localhost.localdomain',
  'metadata.google.internal',
  'printer.local',
  'redis',
];
const outside = ['example.com', '8.8.8.8', '[2606:4700:4700::1111]', '127.evil.example', 'localhost.example.com'];

const database = databaseOf();
let control: Started;
beforeEach(async () => {
  control = await startControl(database);
});
afterEach(async () => {
  expect(control.problems).toEqual([]);
  await control.close();
});

const tokens = `/apps/${ourApp}/token-settings`;
const endpoints = `/apps/${ourApp}/webhook-endpoints`;
const named = { issuer: 'https://id.example.com', audience: 'starling' };
const send = {
  jwksUrl: (url: string) => control.call('owner', 'PATCH', tokens, { body: { jwksUrl: url, ...named } }),
  'a new webhook endpoint': (url: string) =>
    control.call('owner', 'POST', endpoints, { body: { url, events: ['cache_miss'] } }),
  'a changed webhook endpoint': (url: string) =>
    control.call('owner', 'PATCH', `${endpoints}/${ourEndpoint}`, { body: { url } }),
} as const;

describe.each(Object.entries(send))('%s', (name, save) => {
  test('[AD18] is not saved where it leads into the operator’s network, in whatever spelling', async () => {
    const field = name === 'jwksUrl' ? 'jwksUrl' : 'url';
    for (const host of inside) {
      expect(await save(`https://${host}:8443/path`), host).toMatchObject({
        status: 400,
        error: { code: 'fields_invalid', fields: { [field]: expect.stringContaining('private network') } },
      });
    }
    for (const host of outside) expect((await save(`https://${host}/path`)).status, host).toBeLessThan(300);
  });

  test('[AD18] may lead there where the operator allows it', async () => {
    await control.close();
    control = await startControlAgain();
    for (const host of inside) expect((await save(`https://${host}/path`)).status, host).toBeLessThan(300);
  });
});

/** With the rows that are there already. */
async function startControlAgain(): Promise<Started> {
  const { sql } = database;
  const tables = await sql<{ name: string }[]>`
    select tablename as name from pg_tables where schemaname = 'public' and tablename <> 'schema_migrations'`;
  await sql.unsafe(`truncate ${tables.map((table) => table.name).join(', ')} restart identity cascade`);
  return startControl(database, { mayTargetPrivate: true });
}

describe('an identity provider', () => {
  const change = (body: object) => control.call('owner', 'PATCH', tokens, { body });
  const jwksUrl = 'https://id.example.com/keys';

  test('[TK16] is saved only with the issuer and the audience of its tokens', async () => {
    const { issuer, audience } = named;
    const issuerMissing = { status: 400, error: { fields: { issuer: expect.any(String) } } };
    const audienceMissing = { status: 400, error: { fields: { audience: expect.any(String) } } };
    expect(await change({ jwksUrl })).toMatchObject({ ...issuerMissing, ...audienceMissing });
    expect(await change({ jwksUrl, audience })).toMatchObject(issuerMissing);
    expect(await change({ jwksUrl, issuer })).toMatchObject(audienceMissing);
    expect(await change({ jwksUrl, issuer, audience: null })).toMatchObject(audienceMissing);
    expect(await change({ issuer, audience })).toMatchObject({ status: 200 });
    expect(await change({ jwksUrl })).toMatchObject({ status: 200, json: { jwksUrl, ...named } });
    expect(await change({ issuer: null })).toMatchObject(issuerMissing);
    expect(await change({ audience: null })).toMatchObject(audienceMissing);
    expect((await control.call('owner', 'GET', tokens)).json).toMatchObject({ jwksUrl, ...named });
    expect(await change({ jwksUrl: null, issuer: null, audience: null })).toMatchObject({ status: 200 });
  });

  test('[TK16] of a time before can be switched off, and be made whole', async () => {
    await database.sql`update apps set settings = ${database.sql.json({ tokens: { isEnabled: true, jwksUrl } })} where id = ${ourApp}`;
    expect(await change({ isEnabled: false })).toMatchObject({ status: 200 });
    expect(await change({ issuer: named.issuer })).toMatchObject({ status: 400 });
    expect(await change(named)).toMatchObject({ status: 200 });
  });
});
