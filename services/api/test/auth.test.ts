import { expect, test } from 'vitest';
import { app3, key, md5, secret, sign, signQuery, startApi } from './started-api.ts';

const channels = '/apps/3/channels';
const ok = { status: 200, json: { channels: {} } };

function authQuery(timestamp: number): Array<[string, string]> {
  return [
    ['auth_key', key],
    ['auth_timestamp', String(timestamp)],
    ['auth_version', '1.0'],
  ];
}

test.each(['auth_key', 'auth_timestamp', 'auth_version', 'auth_signature'])(
  '[RE1] a request without %s gets 401 and a text that names it',
  async (name) => {
    const { send, nowSeconds } = await startApi();
    const target = sign({ method: 'GET', path: channels, timestamp: nowSeconds() });
    const without = target.replace(new RegExp(`${name}=[^&]*&?`), '');
    const answer = await send('GET', without);
    expect(answer).toMatchObject({ status: 401, json: { code: 'request_unauthenticated' } });
    expect(answer.text).toContain(`lacks ${name}`);
  },
);

test('[RE1] a request without any parameter gets 401 and all names', async () => {
  const { send } = await startApi();
  const answer = await send('POST', '/apps/3/events', '{}');
  expect(answer.status).toBe(401);
  expect(answer.text).toContain('lacks auth_key, auth_timestamp, auth_version, auth_signature, body_md5');
});

test('[RE1] a body without body_md5 gets 401, although the signature is right', async () => {
  const { send, nowSeconds } = await startApi();
  const request = { method: 'POST', path: '/apps/3/events' };
  const answer = await send('POST', signQuery(request, authQuery(nowSeconds())), '{}');
  expect(answer).toMatchObject({ status: 401, json: { code: 'request_unauthenticated' } });
  expect(answer.text).toContain('lacks body_md5');
});

test('[RE1] a body other than the signed one gets 401 and both digests', async () => {
  const { send, nowSeconds } = await startApi();
  const signedBody = '{"name":"a","channel":"b","data":"c"}';
  const sentBody = signedBody.replace('"c"', '"d"');
  const target = sign({ method: 'POST', path: '/apps/3/events', timestamp: nowSeconds(), body: signedBody });
  const answer = await send('POST', target, sentBody);
  expect(answer.status).toBe(401);
  expect(answer.text).toContain(md5(signedBody));
  expect(answer.text).toContain(md5(sentBody));
});

test('[RE1] another auth_version than 1.0 gets 401 and the supported one', async () => {
  const { send, nowSeconds } = await startApi();
  const query = authQuery(nowSeconds()).map(
    ([name, value]) => [name, name === 'auth_version' ? '2.0' : value] as const,
  );
  const answer = await send('GET', signQuery({ method: 'GET', path: channels }, query));
  expect(answer.status).toBe(401);
  expect(answer.text).toContain('2.0');
  expect(answer.text).toContain('1.0');
});

test.each(['soon', '1.5', '-1', '0x10', '1e9', '99999999999999999999'])(
  '[RE1] the timestamp %s gets 401',
  async (timestamp) => {
    const { send } = await startApi();
    const query = authQuery(0).map(([name, value]) => [name, name === 'auth_timestamp' ? timestamp : value] as const);
    const answer = await send('GET', signQuery({ method: 'GET', path: channels }, query));
    expect(answer.status).toBe(401);
    expect(answer.text).toContain('auth_timestamp');
  },
);

test('[RE2] a timestamp 600 s away passes, 601 s gets 401 with both times', async () => {
  const { call, nowSeconds, clock } = await startApi();
  for (const offset of [-600, 600]) {
    expect(await call('GET', channels, { timestamp: nowSeconds() + offset })).toMatchObject(ok);
  }
  for (const offset of [-601, 601]) {
    const answer = await call('GET', channels, { timestamp: nowSeconds() + offset });
    expect(answer.status).toBe(401);
    expect(answer.text).toContain(new Date(clock.now()).toISOString());
    expect(answer.text).toContain(new Date((nowSeconds() + offset) * 1000).toISOString());
  }
});

test('[RE3] a wrong signature gets 401 with the string to sign, never the right signature', async () => {
  const { send, nowSeconds } = await startApi();
  const right = sign({ method: 'GET', path: channels, timestamp: nowSeconds() });
  const signature = /auth_signature=([0-9a-f]+)/.exec(right)?.[1] ?? '';
  expect(signature).toHaveLength(64);
  const answer = await send('GET', right.replace(signature, '0'.repeat(64)));
  expect(answer).toMatchObject({ status: 401, json: { code: 'auth_signature' } });
  const { error } = answer.json as { error: string };
  expect(error).toContain(`GET\\n${channels}\\nauth_key=${key}&auth_timestamp=${nowSeconds()}&auth_version=1.0`);
  expect(answer.text).not.toContain(signature);
  expect(answer.text).not.toContain(secret);
});

test.each(['', '0', 'é'.repeat(64), 'A'.repeat(64), '0'.repeat(63), '0'.repeat(1_000)])(
  '[SG7] a signature of any other length or alphabet is refused like any wrong one (%#)',
  async (signature) => {
    const { send, nowSeconds } = await startApi();
    const right = sign({ method: 'GET', path: channels, timestamp: nowSeconds() });
    const wrong = right.replace(/auth_signature=.*/, `auth_signature=${encodeURIComponent(signature)}`);
    expect((await send('GET', wrong)).status).toBe(401);
  },
);

test('[RE4] an unknown key gets 401, and so does a disabled one', async () => {
  const old = { key: 'oldkey', secret: 'oldsecret', isEnabled: false };
  const { call } = await startApi({ apps: [{ ...app3, keys: [...app3.keys, old] }] });
  expect(await call('GET', channels, { key: 'nobody' })).toMatchObject({
    status: 401,
    json: { code: 'auth_key_unknown' },
  });
  expect(await call('GET', channels, old)).toMatchObject({ status: 401, json: { code: 'auth_key_unknown' } });
});

test('[RE4] every enabled key of an app authenticates', async () => {
  const second = { key: 'newkey', secret: 'newsecret', isEnabled: true };
  const { call } = await startApi({ apps: [{ ...app3, keys: [...app3.keys, second] }] });
  expect(await call('GET', channels, second)).toMatchObject(ok);
  expect(await call('GET', channels, { key: second.key })).toMatchObject({
    status: 401,
    json: { code: 'auth_signature' },
  });
});

test('[RE4] an unknown app id gets 404, the id of another app 401, a disabled app 403', async () => {
  const other = { ...app3, id: '4', keys: [{ key: 'k4', secret: 's4', isEnabled: true }] };
  const off = { ...app3, id: '5', isEnabled: false, keys: [{ key: 'k5', secret: 's5', isEnabled: true }] };
  const { call } = await startApi({ apps: [app3, other, off] });
  expect(await call('GET', '/apps/9/channels')).toMatchObject({ status: 404, json: { code: 'app_id_unknown' } });
  expect(await call('GET', '/apps/4/channels')).toMatchObject({
    status: 401,
    json: { code: 'request_unauthenticated' },
  });
  const disabled = { key: 'k5', secret: 's5' };
  expect(await call('GET', '/apps/5/channels', disabled)).toMatchObject({
    status: 403,
    json: { code: 'app_disabled' },
  });
});

test('[RE4] who holds no secret is not told which app ids exist', async () => {
  const { call } = await startApi();
  expect((await call('GET', '/apps/9/channels', { secret: 'guess' })).status).toBe(401);
});

test('[RE5] body_md5 of the empty body is accepted on a GET, and is part of what is signed', async () => {
  const { send, nowSeconds } = await startApi();
  const emptyMd5 = 'd41d8cd98f00b204e9800998ecf8427e';
  const request = { method: 'GET', path: channels };
  const query = [...authQuery(nowSeconds()), ['body_md5', emptyMd5] as const];
  expect(await send('GET', signQuery(request, query))).toMatchObject(ok);
  const addedAfterwards = `${signQuery(request, authQuery(nowSeconds()))}&body_md5=${emptyMd5}`;
  expect((await send('GET', addedAfterwards)).status).toBe(401);
  const wrong = [...authQuery(nowSeconds()), ['body_md5', md5('x')] as const];
  expect((await send('GET', signQuery(request, wrong))).status).toBe(401);
});

test('[RE5] an empty body with a JSON content type is accepted, on GET and on POST', async () => {
  const { send, nowSeconds } = await startApi();
  const json = { 'content-type': 'application/json' };
  const get = sign({ method: 'GET', path: channels, timestamp: nowSeconds() });
  expect(await send('GET', get, undefined, json)).toMatchObject(ok);
  const path = '/apps/3/users/u-1/terminate_connections';
  const post = sign({ method: 'POST', path, timestamp: nowSeconds() });
  expect(await send('POST', post, undefined, json)).toMatchObject({ status: 200, json: {} });
  expect(await send('POST', post, '', json)).toMatchObject({ status: 200, json: {} });
});

test.each([
  undefined,
  'application/json; charset=utf-8',
  'text/plain',
  'application/x-www-form-urlencoded',
  'not a media type',
])('[RE5] a body of content type %s is taken as it is', async (type) => {
  const { send, nowSeconds } = await startApi();
  const body = '{"name":"a","channel":"b","data":"c"}';
  const target = sign({ method: 'POST', path: '/apps/3/events', timestamp: nowSeconds(), body });
  const headers = type === undefined ? {} : { 'content-type': type };
  expect(await send('POST', target, body, headers)).toMatchObject({ status: 200, json: {} });
});

test('[RE5] a body sent in chunks is taken as it is', async () => {
  const { send, nowSeconds } = await startApi();
  const body = '{"name":"a","channel":"b","data":"c"}';
  const target = sign({ method: 'POST', path: '/apps/3/events', timestamp: nowSeconds(), body });
  expect(await send('POST', target, body, { 'transfer-encoding': 'chunked' })).toMatchObject({ status: 200, json: {} });
});

const vectors = [
  {
    method: 'POST',
    path: '/apps/3/events',
    query: 'body_md5=ec365a775a4cd0599faeb73354201b6f',
    body: '{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}',
    signature: 'da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c',
  },
  {
    method: 'GET',
    path: '/apps/3/channels',
    query: 'filter_by_prefix=presence-&info=user_count',
    signature: '16819168891cb5dfd72b5c7a5d3d602605b26c6ba1930033b5e2eeeb65010291',
  },
  {
    method: 'POST',
    path: '/apps/3/users/u-1/terminate_connections',
    query: 'body_md5=99914b932bd37a50b983c5e7c90ae93b',
    body: '{}',
    signature: '7c997da6925b3a3f458062d931c8c6a6a312be47e26f975d96c44c3cf9739747',
  },
];
test.each(vectors)('[SG4] the published signature of $method $path is accepted', async (vector) => {
  const { send } = await startApi({ nowMs: 1_353_088_179_000 });
  const auth = `auth_key=${key}&auth_timestamp=1353088179&auth_version=1.0&auth_signature=${vector.signature}`;
  expect((await send(vector.method, `${vector.path}?${vector.query}&${auth}`, vector.body)).status).toBe(200);
});

test('[SG4] parameter names are signed in lower case and sorted by byte, whatever their order in the URL', async () => {
  const { send, nowSeconds } = await startApi();
  const query = [['Z', '1'], ['a_b', '2'], ['A', '3'], ...authQuery(nowSeconds())] as const;
  expect(await send('GET', signQuery({ method: 'GET', path: channels }, query))).toMatchObject(ok);
});

test('[SG4] repeated keys are signed in the order given', async () => {
  const { send, nowSeconds } = await startApi();
  const query = [['x[]', 'b'], ['x[]', 'a'], ...authQuery(nowSeconds())] as const;
  const target = signQuery({ method: 'GET', path: channels }, query);
  expect(await send('GET', target)).toMatchObject(ok);
  const swapped = target.replace('x[]=b&x[]=a', 'x[]=a&x[]=b');
  expect((await send('GET', swapped)).status).toBe(401);
});

test('[SG4] a value may hold "=", and a parameter may have none', async () => {
  const { send, nowSeconds } = await startApi();
  const query = [['x', 'a=b=c'], ['empty', ''], ...authQuery(nowSeconds())] as const;
  expect(await send('GET', signQuery({ method: 'GET', path: channels }, query))).toMatchObject(ok);
});

test('[SG6] raw values, as node and Go send and sign them, are accepted and used', async () => {
  const { call, join } = await startApi();
  await join('presence-a;b=c@d,e', '1.1', 'u1');
  const query = [
    ['filter_by_prefix', 'presence-a;b=c@d,'],
    ['info', 'user_count,subscription_count'],
  ] as const;
  expect(await call('GET', channels, { query })).toMatchObject({
    status: 200,
    json: { channels: { 'presence-a;b=c@d,e': { user_count: 1, subscription_count: 1 } } },
  });
});

test('[SG6] values percent-encoded in the URL and signed decoded, as PHP does it, are accepted and used', async () => {
  const { call, join } = await startApi();
  await join('presence-a,b', '1.1', 'u1');
  const query = [
    ['filter_by_prefix', 'presence-a,'],
    ['info', 'user_count,subscription_count'],
  ] as const;
  expect(await call('GET', channels, { query, encode: encodeURIComponent })).toMatchObject({
    status: 200,
    json: { channels: { 'presence-a,b': { user_count: 1, subscription_count: 1 } } },
  });
});

test('[SG6] values form-encoded in the URL and signed decoded, as Python and Ruby do it, are accepted and used', async () => {
  const { call } = await startApi();
  const encode = (value: string) => encodeURIComponent(value).replaceAll('%20', '+');
  const query = [['info', 'subscription_count, subscription_count']] as const;
  expect(await call('GET', channels, { query, encode })).toMatchObject(ok);
});

test('[SG6] values signed as they stand in the URL, encoded, are accepted and meant decoded', async () => {
  const { call } = await startApi();
  const query = [['info', 'subscription_count%2Csubscription_count']] as const;
  expect(await call('GET', channels, { query })).toMatchObject(ok);
});

test('[SG6] a plus sign may be meant as itself', async () => {
  const { call } = await startApi();
  expect(await call('GET', channels, { query: [['filter_by_prefix', 'a+b']] })).toMatchObject(ok);
  const encode = encodeURIComponent;
  expect(await call('GET', channels, { query: [['filter_by_prefix', 'a+b']], encode })).toMatchObject(ok);
});

test('[SG6] a percent sign that encodes nothing is signed raw', async () => {
  const { call } = await startApi();
  expect(await call('GET', channels, { query: [['filter_by_prefix', '100%']] })).toMatchObject(ok);
});

test('[SG6] an encoded path is signed as sent or decoded', async () => {
  const { call } = await startApi();
  const path = '/apps/3/channels/presence-a%2Cb%40c/users';
  const users = { status: 200, json: { users: [] } };
  expect(await call('GET', path)).toMatchObject(users);
  expect(await call('GET', path, { signedPath: '/apps/3/channels/presence-a,b@c/users' })).toMatchObject(users);
  expect((await call('GET', path, { signedPath: '/apps/3/channels/presence-a,b@d/users' })).status).toBe(401);
});

test('[SG6] behind a path prefix, the path may be signed with it, as Ruby does, or without, as PHP does', async () => {
  const { call } = await startApi({ pathPrefix: '/realtime' });
  const withPrefix = `/realtime${channels}`;
  expect(await call('GET', withPrefix)).toMatchObject(ok);
  expect(await call('GET', withPrefix, { signedPath: channels })).toMatchObject(ok);
  // A proxy in front has taken the prefix away.
  expect(await call('GET', channels, { signedPath: withPrefix })).toMatchObject(ok);
  expect(await call('GET', channels)).toMatchObject(ok);
  expect((await call('GET', channels, { signedPath: `/other${channels}` })).status).toBe(401);
});

test('[SG6] without a configured prefix no other path than the one sent is accepted', async () => {
  const { call } = await startApi();
  expect((await call('GET', channels, { signedPath: `/realtime${channels}` })).status).toBe(401);
});
