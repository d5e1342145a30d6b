/** What a request may cost before it is known who sends it, and what all bodies may cost together. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { md5, sign, startApi } from './started-api.ts';

const path = '/apps/3/events';
const body = JSON.stringify({ name: 'a', channel: 'b', data: 'c' });

/** A peer that sends what it is told to, and hears what comes. */
async function peer(port: number) {
  const socket: Socket = connect(port, '127.0.0.1').setEncoding('utf8');
  onTestFinished(() => void socket.destroy());
  socket.on('error', () => {});
  await once(socket, 'connect');
  let heard = '';
  socket.on('data', (text) => {
    heard += text;
  });
  return {
    socket,
    heard: () => heard,
    says: (text: string) => socket.write(text),
    hears: async (pattern: RegExp) => {
      while (!pattern.test(heard)) await once(socket, 'data');
      return heard;
    },
  };
}

function head(target: string, ...headers: string[]): string {
  return `POST ${target} HTTP/1.1\r\n${['Host: a', ...headers].join('\r\n')}\r\n\r\n`;
}

test.each([
  ['no parameters', () => path, /"code":"request_unauthenticated"/],
  ['a wrong signature', (target: string) => target.replace(/.{8}$/, '00000000'), /"code":"auth_signature"/],
  [
    'a key that nobody has',
    (target: string) => target.replace(/auth_key=\w+/, 'auth_key=nobody'),
    /"code":"auth_key_unknown"/,
  ],
])('[RE25] a request with %s is refused before its body is there', async (_name, spoil, code) => {
  const { port, nowSeconds } = await startApi();
  const target = spoil(sign({ timestamp: nowSeconds(), method: 'POST', path, body }));
  const stranger = await peer(port);
  stranger.says(head(target, 'Content-Length: 2000000'));
  expect(await stranger.hears(code)).toMatch(/^HTTP\/1\.1 401 /);
});

test('[RE25] a small body of a refused request is thrown away, and the connection goes on', async () => {
  const { port, nowSeconds } = await startApi();
  const client = await peer(port);
  client.says(head(path, `Content-Length: ${body.length}`));
  await client.hears(/lacks auth_key.*body_md5/);
  client.says(
    body + head(sign({ timestamp: nowSeconds(), method: 'POST', path, body }), `Content-Length: ${body.length}`) + body,
  );
  await client.hears(/HTTP\/1\.1 200 /);
});

test('[RE16] a body that is announced over the limit gets 413 before it is there, and the connection ends', async () => {
  const { port, nowSeconds } = await startApi();
  const client = await peer(port);
  client.says(head(sign({ timestamp: nowSeconds(), method: 'POST', path, body }), 'Content-Length: 2097153'));
  await client.hears(/^HTTP\/1\.1 413 [\s\S]*connection: close/i);
  await once(client.socket, 'close');
});

test('[RE24] Expect: 100-continue gets no 100 before the signature holds, and one then', async () => {
  const { port, nowSeconds } = await startApi();
  const right = sign({ timestamp: nowSeconds(), method: 'POST', path, body });
  const stranger = await peer(port);
  stranger.says(head(right.replace(/.{8}$/, '00000000'), `Content-Length: ${body.length}`, 'Expect: 100-continue'));
  await once(stranger.socket, 'close');
  expect(stranger.heard()).toMatch(/^HTTP\/1\.1 401 /);
  const client = await peer(port);
  client.says(head(right, `Content-Length: ${body.length}`, 'Expect: 100-continue'));
  await client.hears(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
  client.says(body);
  await client.hears(/HTTP\/1\.1 200 /);
});

test('[RE1] a body sent in chunks without body_md5 gets 401, an empty one is none', async () => {
  const { port, send, nowSeconds } = await startApi();
  const target = sign({ timestamp: nowSeconds(), method: 'POST', path: '/apps/3/users/u/terminate_connections' });
  const chunked = { 'transfer-encoding': 'chunked' };
  expect((await send('POST', target, 'x', chunked)).text).toContain('lacks body_md5');
  const client = await peer(port);
  client.says(`${head(target, 'Transfer-Encoding: chunked')}0\r\n\r\n`);
  await client.hears(/^HTTP\/1\.1 200 /);
});

test('[RE22] the signature of a request to a whole URL covers its path', async () => {
  const { port, nowSeconds } = await startApi();
  const client = await peer(port);
  const target = sign({ timestamp: nowSeconds(), method: 'POST', path, body });
  client.says(`${head(`http://api.example${target}`, `Content-Length: ${body.length}`)}${body}`);
  await client.hears(/^HTTP\/1\.1 200 /);
});

test('[RE26] bodies under way are bounded for each app and for all, and their room is free again when they end', async () => {
  const bodyLimits = { each: 100_000, perApp: 30_000, all: 1_000_000 };
  const { port, call, nowSeconds } = await startApi({ bodyLimits });
  const big = JSON.stringify({ name: 'a', channel: 'b', data: 'c', x: 'x'.repeat(20_000) });
  const target = sign({ timestamp: nowSeconds(), method: 'POST', path, body: big });
  const slow = await peer(port);
  slow.says(head(target, `Content-Length: ${big.length}`) + big.slice(0, -1));
  const refused = { status: 429, json: { code: 'rate_limited', limit: { limit: 30_000, reset: 1 } } };
  await expect.poll(() => call('POST', path, { body: big })).toMatchObject(refused);
  expect((await call('POST', path, { body: big })).headers['retry-after']).toBe('1');
  expect((await call('POST', path, { body })).status).toBe(200);
  slow.says(big.slice(-1));
  await slow.hears(/^HTTP\/1\.1 200 /);
  expect((await call('POST', path, { body: big })).status).toBe(200);

  // One that goes away in the middle leaves nothing behind either.
  const gone = await peer(port);
  gone.says(head(target, `Content-Length: ${big.length}`) + big.slice(0, -1));
  await expect.poll(() => call('POST', path, { body: big })).toMatchObject(refused);
  gone.socket.destroy();
  await expect.poll(async () => (await call('POST', path, { body: big })).status).toBe(200);
});

test('[RE26] requests that announce much and send nothing count, and so do those in chunks', async () => {
  const bodyLimits = { each: 100_000, perApp: 20_000, all: 16_000 };
  const { port, call, nowSeconds } = await startApi({ bodyLimits });
  const target = sign({ timestamp: nowSeconds(), method: 'POST', path, body });
  for (const header of ['Content-Length: 100000', 'Transfer-Encoding: chunked', 'Content-Length: 9']) {
    (await peer(port)).says(head(target, header));
  }
  await expect.poll(() => call('POST', path, { body })).toMatchObject({ status: 503, json: { code: 'unavailable' } });
  expect((await call('POST', path, { body })).headers['retry-after']).toBe('1');
});

test('[RE25] nothing is read of a body for a path below /apps that is unknown', async () => {
  const { port } = await startApi();
  const stranger = await peer(port);
  stranger.says(head('/apps/3/nothing', 'Content-Length: 2000000'));
  await stranger.hears(/^HTTP\/1\.1 404 /);
});

test('[RE25] what was signed is what is read: another body of the same length is refused, and counted to no app', async () => {
  const { send, nowSeconds, traffic } = await startApi();
  const target = sign({ timestamp: nowSeconds(), method: 'POST', path, body });
  const answer = await send('POST', target, body.replace('"c"', '"d"'));
  expect(answer.status).toBe(401);
  expect(answer.text).toContain(md5(body));
  expect(traffic.of('3').requestsIn).toBe(0);
});
