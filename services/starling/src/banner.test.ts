import { expect, test } from 'vitest';
import { banner, publicUrlOf } from './banner.ts';

const app = { id: '1234', key: 'the-key', secret: 'the-secret' };
const facts = { url: 'http://127.0.0.1:6001', pathPrefix: '', app, hasColour: false };

test('names the address, the id, the key and the secret, without colour off a terminal', () => {
  const text = banner(facts);
  for (const part of ['ready at http://127.0.0.1:6001\n', '1234', 'the-key', 'the-secret'])
    expect(text).toContain(part);
  expect(text).not.toContain('\u001b');
  expect(banner({ ...facts, hasColour: true })).toContain('\u001b[1m');
});

test('leaves what is to be pasted free of colour and of indentation that would be pasted too', () => {
  const text = banner({ ...facts, hasColour: true });
  const from = text.indexOf('\n(\n') + 1;
  const pasted = text.slice(from, text.indexOf('\n)\n', from));
  expect(pasted.length).toBeGreaterThan(200);
  expect(pasted).not.toContain('\u001b');
});

test('[OP31] links to the page of this server, where a browser can reach it, with nothing secret', () => {
  const linkOf = (more: Partial<Parameters<typeof banner>[0]>) =>
    /page +(\S+)/.exec(banner({ ...facts, ...more }))?.[1] ?? '';
  expect(linkOf({})).toBe('http://127.0.0.1:6001/?app=1234&key=the-key');
  expect(linkOf({ url: 'http://0.0.0.0:80' })).toBe('http://127.0.0.1:80/?app=1234&key=the-key');
  expect(linkOf({ url: 'https://[::1]:443', pathPrefix: '/realtime' })).toBe(
    'https://[::1]:443/realtime/?app=1234&key=the-key',
  );
  expect(linkOf({ publicUrl: 'https://starling.example.com/rt' })).toBe(
    'https://starling.example.com/rt/?app=1234&key=the-key',
  );
  expect(linkOf({ app: { ...app, secret: undefined } })).toBe(linkOf({}));
  expect(banner(facts)).not.toMatch(/<script|js\.pusher\.com/);
});

test('sends the command to an address that is reached, over TLS and below a prefix where they are set', () => {
  const text = banner({ ...facts, url: 'https://[::1]:443', pathPrefix: '/realtime' });
  expect(text).toContain('"https://[::1]/realtime/apps/1234/events?');
});

test('[AU24] without the secret prints nothing that holds it, and still where to become the owner', () => {
  const text = banner({
    ...facts,
    app: { ...app, secret: undefined },
    setupLink: 'https://starling.example.com/setup?token=t',
  });
  expect(text).toContain('1234');
  expect(text).toContain('not shown again');
  expect(text).toContain('https://starling.example.com/setup?token=t\n');
  expect(text).not.toContain('openssl');
});

test('[AU23] finds the public URL in the settings, else at the address that a browser here can reach', () => {
  expect(publicUrlOf('https://starling.example.com/rt', 'http://0.0.0.0:6001', '/rt')).toBe(
    'https://starling.example.com/rt',
  );
  expect(publicUrlOf(undefined, 'http://0.0.0.0:6001', '/rt')).toBe('http://127.0.0.1:6001/rt');
  expect(publicUrlOf(undefined, 'https://[::]:6001', '')).toBe('https://127.0.0.1:6001');
});
