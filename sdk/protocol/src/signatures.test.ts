import { createHash, createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { channelSignatureText, requestSignatureText, signinSignatureText, splitAuth } from './index.ts';

const key = '278d425bdf160c739803';
const secret = '7ad3773142a6692b25b8';
const sign = (text: string): string => createHmac('sha256', secret).update(text).digest('hex');
const md5 = (body: string): string => createHash('md5').update(body).digest('hex');

/** The query of a request, without its signature. */
const queryOf = (body: string | null, more: ReadonlyArray<readonly [string, string]> = []) => [
  ['auth_key', key] as const,
  ['auth_timestamp', '1353088179'] as const,
  ['auth_version', '1.0'] as const,
  ...(body === null ? [] : [['body_md5', md5(body)] as const]),
  ...more,
];

describe('signatures', () => {
  it.each([
    ['private-foobar', undefined, '58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4'],
    ['private-encrypted-lab', undefined, '7c7c638a9c66a0114227c3f34cc6f1083821eadf6f63979a635c1275fa9841c4'],
    ['private-foobar', '{"meta":1}', '1c10ca9eb1c636e9b5d2f957181fc2645a94c5d9cacf23c4a1c7bf8c12c47a2e'],
    [
      'presence-foobar',
      '{"user_id":10,"user_info":{"name":"Mr. Channels"}}',
      '31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80',
    ],
    [
      'presence-foobar',
      '{"user_id":10,"user_info":{"name":"Mr. Pusher"}}',
      'afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c',
    ],
    ['presence-foobar', undefined, '71506e66e7fdca106571b8999a849ad34245bc653772e51e0026c1a2475b92ba'],
  ])('[SG2] of channel %s with data %s are those of every Pusher library', (channel, channelData, signature) => {
    expect(sign(channelSignatureText('1234.1234', channel, channelData))).toBe(signature);
  });

  it('[SG2] cover the data whenever it is given, even when it is empty', () => {
    expect(channelSignatureText('1.2', 'private-a')).toBe('1.2:private-a');
    expect(channelSignatureText('1.2', 'private-a', '')).toBe('1.2:private-a:');
    expect(channelSignatureText('1.2', 'private-a', '{"a": "\\u00e9"}')).toBe('1.2:private-a:{"a": "\\u00e9"}');
  });

  it('[SG3] of a sign-in are those of every Pusher library', () => {
    const text = signinSignatureText('1234.1234', '{"id":"12345"}');
    expect(text).toBe('1234.1234::user::{"id":"12345"}');
    expect(sign(text)).toBe('4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba');
  });

  it.each([
    [
      'POST',
      '/apps/3/events',
      queryOf('{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'),
      'POST\n/apps/3/events\nauth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f',
      'da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c',
    ],
    [
      'GET',
      '/apps/3/channels',
      queryOf(null, [
        ['filter_by_prefix', 'presence-'],
        ['info', 'user_count'],
      ]),
      'GET\n/apps/3/channels\nauth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&filter_by_prefix=presence-&info=user_count',
      '16819168891cb5dfd72b5c7a5d3d602605b26c6ba1930033b5e2eeeb65010291',
    ],
    [
      'POST',
      '/apps/3/users/u-1/terminate_connections',
      queryOf('{}'),
      'POST\n/apps/3/users/u-1/terminate_connections\nauth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&body_md5=99914b932bd37a50b983c5e7c90ae93b',
      '7c997da6925b3a3f458062d931c8c6a6a312be47e26f975d96c44c3cf9739747',
    ],
  ])('[SG4] of %s %s are those of every Pusher library', (method, path, query, text, signature) => {
    expect(requestSignatureText(method, path, query)).toBe(text);
    expect(requestSignatureText(method, path, [...query].reverse())).toBe(text);
    expect(sign(text)).toBe(signature);
  });

  it('[SG4] leave the signature itself out, and lower-case the keys but not the values', () => {
    const query = [
      ['B', 'X=Y'],
      ['auth_signature', 'abc'],
      ['Auth_Signature', 'abc'],
      ['a', ''],
      ['auth_signature_2', 'stays'],
    ] as const;
    expect(requestSignatureText('post', '/Apps/3', query)).toBe('POST\n/Apps/3\na=&auth_signature_2=stays&b=X=Y');
  });

  it('[SG4] keep the order in which a repeated key was given', () => {
    const query = [
      ['channels[]', 'b'],
      ['z', '1'],
      ['channels[]', 'a'],
      ['CHANNELS[]', 'c'],
    ] as const;
    expect(requestSignatureText('GET', '/', query)).toBe('GET\n/\nchannels[]=b&channels[]=a&channels[]=c&z=1');
  });

  it('[SG4] sort keys by byte, not by the rules of a language', () => {
    const query = ['b', 'a_b', 'a-b', 'a', 'ab', 'a1', 'é', 'z', '漢'].map((name) => [name, ''] as const);
    const sorted = requestSignatureText('GET', '/', query)
      .split('\n')[2]
      ?.split('&')
      .map((pair) => pair.slice(0, -1));
    const byByte = query.map(([name]) => name).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect(sorted).toEqual(byByte);
  });

  it('[SG4] have three lines even without a query', () => {
    expect(requestSignatureText('GET', '/apps/3/channels', [])).toBe('GET\n/apps/3/channels\n');
  });

  it('[SG5] of a webhook cover its body and nothing else', () => {
    const body = '{"time_ms":1700000000000,"events":[{"name":"channel_occupied","channel":"room-1"}]}';
    expect(sign(body)).toBe('6db77ee0d95164170f6d2884d4b5b344010ca2cb7e6e83636195a65fa4d1dc0f');
  });

  it('[SG1] are lower-case hex of 32 bytes', () => {
    expect(sign(channelSignatureText('1.1', 'private-a'))).toMatch(/^[0-9a-f]{64}$/);
  });

  it('[SU3] of an auth value stand after its first colon', () => {
    expect(splitAuth('key:abc')).toEqual({ key: 'key', signature: 'abc' });
    expect(splitAuth('key:a:b')).toEqual({ key: 'key', signature: 'a:b' });
    expect(splitAuth('key::')).toEqual({ key: 'key', signature: ':' });
    for (const auth of ['', ':', 'key', 'key:', ':abc', '::abc']) expect(splitAuth(auth)).toBeNull();
  });
});
