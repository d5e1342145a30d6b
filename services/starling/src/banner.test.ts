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
  for (const [begin, end] of [
    ['<!doctype html>', '\n</script>\n'],
    ['(\n', '\n)\n'],
  ] as const) {
    const from = text.indexOf(`\n${begin}`) + 1;
    const pasted = text.slice(from, text.indexOf(end, from));
    expect(pasted.length).toBeGreaterThan(200);
    expect(pasted).not.toContain('\u001b');
  }
});

test('sends a browser to an address it can reach, over TLS and below a prefix where they are set', () => {
  expect(banner({ ...facts, url: 'http://0.0.0.0:80' })).toContain("wsHost: '127.0.0.1',\n    wsPort: 80,");
  const text = banner({ ...facts, url: 'https://[::1]:443', pathPrefix: '/realtime' });
  expect(text).toContain(
    "wsHost: '[::1]',\n    wsPort: 443,\n    wssPort: 443,\n    wsPath: '/realtime',\n    forceTLS: true",
  );
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
