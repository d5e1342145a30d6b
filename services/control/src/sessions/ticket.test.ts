import { Keyring } from '@starling/database';
import { describe, expect, it } from 'vitest';
import { Tickets } from './ticket.ts';

function keyringOf(...keys: string[]): Keyring {
  const read = Keyring.parse(keys.join(','));
  if (!read.ok) throw new Error(read.refusal.message);
  return read.value;
}

describe('tickets', () => {
  const [one, other] = [Keyring.make(), Keyring.make()];
  const now = Date.UTC(2026, 0, 1);

  it('[AU4] are good for their use, until their end, and under keys that were replaced', async () => {
    const text = await new Tickets(keyringOf(one)).sign('session', { jti: 'a' }, now + 1_000);
    const renewed = new Tickets(keyringOf(other, one));
    expect(await renewed.read('session', text, now)).toMatchObject({ jti: 'a' });
    expect(await renewed.read('browser', text, now)).toBeUndefined();
    expect(await renewed.read('session', text, now + 1_000)).toBeUndefined();
    expect(await new Tickets(keyringOf(other)).read('session', text, now)).toBeUndefined();
  });

  it('[AU4] are not forged', async () => {
    const tickets = new Tickets(keyringOf(one));
    const text = await tickets.sign('session', { jti: 'a' }, now + 1_000);
    const [head, body, signature] = text.split('.') as [string, string, string];
    const claims = Buffer.from(JSON.stringify({ jti: 'b', aud: 'session', exp: now })).toString('base64url');
    const none = Buffer.from('{"alg":"none"}').toString('base64url');
    for (const forged of [`${head}.${claims}.${signature}`, `${none}.${body}.`, `${head}.${body}.`, '', 'a.b.c', 'ü']) {
      expect(await tickets.read('session', forged, now)).toBeUndefined();
    }
  });

  it('[AU15] of a sign-in elsewhere are not readable', async () => {
    const tickets = new Tickets(keyringOf(one));
    const text = await tickets.seal('oidc', { verifier: 'secret' }, now + 1_000);
    expect(Buffer.from(text, 'base64url').toString('latin1')).not.toContain('secret');
    expect(await tickets.unseal('oidc', text, now)).toMatchObject({ verifier: 'secret' });
    expect(await tickets.unseal('oidc', text, now + 1_000)).toBeUndefined();
    expect(await tickets.unseal('session', text, now)).toBeUndefined();
  });
});
