/** What is signed and sealed, against values computed by others. */
import { createHmac } from 'node:crypto';
import Pusher from 'pusher';
import { describe, expect, it } from 'vitest';
import { EncryptionKey, Starling } from './index.ts';

const key = '278d425bdf160c739803';
const secret = '7ad3773142a6692b25b8';
const encryptionMasterKey = 'MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=';
const starling = new Starling({ appId: '3', key, secret, url: 'http://127.0.0.1:1', encryptionMasterKey });
const pusher = new Pusher({
  appId: '3',
  key,
  secret,
  host: '127.0.0.1',
  encryptionMasterKeyBase64: encryptionMasterKey,
});

describe('authorising a channel', () => {
  it('signs a private channel', async () => {
    expect(await starling.authorizeChannel('1234.1234', 'private-foobar')).toEqual({
      auth: `${key}:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4`,
    });
  });

  it('signs a presence channel with its member', async () => {
    const member = { id: 10, info: { name: 'Mr. Channels' } };
    expect(await starling.authorizeChannel('1234.1234', 'presence-foobar', member)).toEqual({
      auth: `${key}:31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80`,
      channel_data: '{"user_id":10,"user_info":{"name":"Mr. Channels"}}',
    });
  });

  it('hands the key of an encrypted channel to who may read it', async () => {
    expect(await starling.authorizeChannel('1234.1234', 'private-encrypted-lab')).toEqual({
      auth: `${key}:7c7c638a9c66a0114227c3f34cc6f1083821eadf6f63979a635c1275fa9841c4`,
      shared_secret: 'tt3enJ9mhElEbUsNEtY2dRuDlt3lf0NmVaE43WABkkc=',
    });
  });

  it.each(['private-a', 'private-encrypted-b', 'private-cache-c', 'presence-d', 'presence-encrypted-e'])(
    'answers for %s as the pusher package does',
    async (channel) => {
      const member = channel.startsWith('presence') ? { id: 'u é', info: { a: [1] } } : undefined;
      const theirs = member && { user_id: member.id, user_info: member.info };
      expect(await starling.authorizeChannel('1.2', channel, member)).toEqual(
        pusher.authorizeChannel('1.2', channel, theirs),
      );
    },
  );

  it('answers for many channels at once, each on its own', async () => {
    const asked: string[] = [];
    const answer = await starling.authorizeChannels(
      { socketId: '1.2', channels: ['private-a', 'presence-b', 'private-not-mine', 'bad name'] },
      async (channel) => {
        asked.push(channel);
        return channel === 'presence-b' ? { id: 'u' } : channel !== 'private-not-mine';
      },
    );
    expect(answer).toEqual({
      channels: {
        'private-a': await starling.authorizeChannel('1.2', 'private-a'),
        'presence-b': await starling.authorizeChannel('1.2', 'presence-b', { id: 'u' }),
        'private-not-mine': { error: 'Forbidden', status: 403 },
        'bad name': { error: expect.stringContaining('may have only the characters'), status: 400 },
      },
    });
    expect(asked).not.toContain('bad name');
  });

  it('refuses what no client could have sent, with the reason', async () => {
    const refused = { code: 'invalid_argument' };
    await expect(starling.authorizeChannel('1234', 'private-a')).rejects.toMatchObject(refused);
    await expect(starling.authorizeChannel('1.2:private-b', 'private-a')).rejects.toMatchObject(refused);
    await expect(starling.authorizeChannel('1.2', 'private a')).rejects.toMatchObject(refused);
    await expect(starling.authorizeChannel('1.2', 'presence-a')).rejects.toThrow('say who comes');
    await expect(starling.authorizeChannel('1.2', 'presence-a', { id: '' })).rejects.toMatchObject(refused);
  });

  it('refuses an encrypted channel without a master key', async () => {
    const plain = new Starling({ appId: '3', key, secret, url: 'http://127.0.0.1:1' });
    await expect(plain.authorizeChannel('1.2', 'private-encrypted-a')).rejects.toThrow('encryptionMasterKey');
  });
});

it('signs a user in as the pusher package does', async () => {
  expect(await starling.authenticateUser('1234.1234', { id: '12345' })).toEqual({
    auth: `${key}:4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba`,
    user_data: '{"id":"12345"}',
  });
  const user = { id: 'é', name: 'x', watchlist: ['a'] };
  expect(await starling.authenticateUser('1.2', user)).toEqual(pusher.authenticateUser('1.2', user));
  await expect(starling.authenticateUser('1.2', { id: '' })).rejects.toMatchObject({ code: 'invalid_argument' });
});

describe('the encryption key', () => {
  const encryption = new EncryptionKey(encryptionMasterKey);

  it('opens what it sealed for the channel, and nothing else', async () => {
    const sealed = await encryption.encrypt('private-encrypted-a', '"héllo"');
    expect(await encryption.decrypt('private-encrypted-a', sealed)).toBe('"héllo"');
    expect(await encryption.decrypt('private-encrypted-b', sealed)).toBeUndefined();
    const nonce = `${sealed.nonce.startsWith('A') ? 'B' : 'A'}${sealed.nonce.slice(1)}`;
    expect(await encryption.decrypt('private-encrypted-a', { ...sealed, nonce })).toBeUndefined();
    expect(await encryption.decrypt('private-encrypted-a', { nonce: '?', ciphertext: '?' })).toBeUndefined();
  });

  it('seals the same text differently each time', async () => {
    const [one, two] = [await encryption.encrypt('c', 'x'), await encryption.encrypt('c', 'x')];
    expect(one.nonce).not.toBe(two.nonce);
    expect(one.ciphertext).not.toBe(two.ciphertext);
  });

  it.each(['', 'short', 'x'.repeat(44), Buffer.alloc(31).toString('base64')])('refuses %j', (masterKey) => {
    expect(() => new EncryptionKey(masterKey)).toThrow('32 bytes in base64');
  });
});

describe('a webhook', () => {
  const body = '{"time_ms":1700000000000,"events":[{"name":"channel_occupied","channel":"room-1"}]}';
  const signature = '6db77ee0d95164170f6d2884d4b5b344010ca2cb7e6e83636195a65fa4d1dc0f';
  const headers = { 'X-Pusher-Key': key, 'x-pusher-signature': signature };

  it('is read when its signature fits', async () => {
    const webhook = await starling.verifyWebhook({ headers, body });
    expect(webhook).toEqual({
      time: new Date(1_700_000_000_000),
      events: [{ name: 'channel_occupied', channel: 'room-1' }],
    });
    expect(await starling.verifyWebhook({ headers: new Headers(headers), body })).toEqual(webhook);
  });

  it.each([
    ['another body', { headers, body: `${body} ` }],
    ['another signature', { headers: { ...headers, 'x-pusher-signature': signature.replace('6', '7') }, body }],
    ['no signature', { headers: { 'x-pusher-key': key }, body }],
    ['a signature that is longer', { headers: { ...headers, 'x-pusher-signature': `${signature}0` }, body }],
    ['a foreign key', { headers: { ...headers, 'X-Pusher-Key': 'other' }, body }],
  ])('is refused with %s', async (_what, request) => {
    await expect(starling.verifyWebhook(request)).rejects.toMatchObject({ code: 'webhook_invalid' });
  });

  it('may be signed with another key of the app that was named', async () => {
    const rotating = new Starling({
      appId: '3',
      key: 'new',
      secret: 'new-secret',
      url: 'http://127.0.0.1:1',
      webhookKeys: [{ key, secret }],
    });
    expect((await rotating.verifyWebhook({ headers, body })).events).toHaveLength(1);
  });

  it.each(['[]', 'null', '{"events":[]}', '{', '7'])(
    'is refused when it is signed and its body is %s',
    async (text) => {
      const own = { ...headers, 'x-pusher-signature': createHmac('sha256', secret).update(text).digest('hex') };
      await expect(starling.verifyWebhook({ headers: own, body: text })).rejects.toMatchObject({
        code: 'webhook_invalid',
      });
    },
  );
});
