import { describe, expect, test } from 'vitest';
import { key, secret, sign, startApi } from './started-api.ts';

const path = '/apps/3/revocations';

async function start() {
  const api = await startApi();
  return {
    ...api,
    revoke: (fields: unknown) => api.call('POST', path, { body: JSON.stringify(fields) }),
    revocations: async () => (await api.appStore.byId('3'))?.revocations,
  };
}

test('[TK15] refuses a user’s tokens, or one token, from now on', async () => {
  const { revoke, revocations, clock } = await start();
  const at = clock.now();
  for (const fields of [{ user_id: 'u' }, { token_id: 't', more: 1 }, { user_id: 7 }]) {
    expect(await revoke(fields)).toMatchObject({ status: 200, text: '{}' });
  }
  expect(await revocations()).toEqual([
    { by: 'user', id: 'u', at },
    { by: 'token', id: 't', at },
    { by: 'user', id: '7', at },
  ]);
});

describe('[TK15] a request that does not say whose', () => {
  test.each([
    [{}, 'request_malformed'],
    [{ user_id: 'u', token_id: 't' }, 'request_malformed'],
    [{ user_id: '' }, 'user_id_invalid'],
    [{ user_id: null }, 'user_id_invalid'],
    [{ user_id: 'x'.repeat(129) }, 'user_id_invalid'],
    [{ token_id: '' }, 'request_malformed'],
    [{ token_id: 7 }, 'request_malformed'],
    [{ token_id: null }, 'request_malformed'],
    [{ token_id: 'x'.repeat(129) }, 'request_malformed'],
    [[], 'request_malformed'],
    ['text', 'request_malformed'],
  ])('%o gets 400', async (fields, code) => {
    const { revoke, revocations } = await start();
    expect(await revoke(fields)).toMatchObject({ status: 400, json: { code } });
    expect(await revocations()).toEqual([]);
  });
});

test('[TK15] one more than an app may have gets 409', async () => {
  const { revoke, revocations, appStore, clock } = await start();
  const app = await appStore.byId('3');
  if (app === undefined) throw new Error('The API has no app 3');
  const kept = Array.from({ length: 10_000 }, (_, index) => ({
    by: 'user' as const,
    id: `u${index}`,
    at: clock.now(),
  }));
  appStore.put({ ...app, revocations: kept });
  expect(await revoke({ user_id: 'one more' })).toMatchObject({ status: 409, json: { code: 'state_conflict' } });
  expect(await revoke({ user_id: 'u1' })).toMatchObject({ status: 200, text: '{}' });
  expect(await revocations()).toHaveLength(10_000);
});

test('[RE1] [TK15] is signed as every request', async () => {
  const { send, revocations, nowSeconds } = await start();
  const body = JSON.stringify({ user_id: 'u' });
  const forged = sign({ method: 'POST', path, body, key, secret: `${secret}x`, timestamp: nowSeconds() });
  expect((await send('POST', forged, body)).status).toBe(401);
  expect((await send('POST', path, body)).status).toBe(401);
  expect(await revocations()).toEqual([]);
});
