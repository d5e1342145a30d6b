import { describe, expect, it } from 'vitest';
import { Random } from '../../../../infra/testing/random.ts';
import { pusherDialect, rawDialect, readPublished, type ServerEvent } from '../index.ts';

const member = { userId: 'u1', userInfo: '{"name":"Ada"}' };
const refusal = { code: 'rate_limited', message: 'too many' } as const;

/** One of each, and the message that tells it; null where there is none. */
const told: readonly (readonly [event: ServerEvent, message: string | null])[] = [
  [{ type: 'established', socketId: '1.2', activityTimeoutSeconds: 30 }, '{"connected":"1.2","activity_timeout":30}'],
  [
    { type: 'refused', refusal: { code: 'app_disabled', message: 'off' } },
    '{"error":"app_disabled","number":4003,"message":"off"}',
  ],
  [
    { type: 'refused', refusal: { code: 'frame_malformed', message: 'm' } },
    '{"error":"frame_malformed","message":"m"}',
  ],
  [{ type: 'ping' }, null],
  [{ type: 'pong' }, '{"pong":true}'],
  [{ type: 'subscribed', channel: 'room', members: undefined }, '{"subscribed":"room"}'],
  [
    { type: 'subscribed', channel: 'presence-room', members: [member] },
    '{"subscribed":"presence-room","members":[{"user_id":"u1","user_info":{"name":"Ada"}}]}',
  ],
  [
    { type: 'subscription-refused', channel: 'private-x', refusal: { code: 'auth_missing', message: 'no' } },
    '{"subscribe_refused":"private-x","code":"auth_missing","message":"no"}',
  ],
  [
    {
      type: 'subscription-refused',
      channel: 'presence-x',
      refusal: { code: 'member_limit', message: 'full', limit: { limit: 1, remaining: 0, reset: null } },
    },
    '{"subscribe_refused":"presence-x","code":"member_limit","message":"full","limit":{"limit":1,"remaining":0,"reset":null}}',
  ],
  [
    { type: 'event', channel: 'room', event: 'e', data: '{"a":1}', userId: undefined },
    '{"event":"e","channel":"room","data":"{\\"a\\":1}"}',
  ],
  [
    { type: 'event', channel: 'presence-room', event: 'client-e', data: 'd', userId: 'u1' },
    '{"event":"client-e","channel":"presence-room","data":"d","user_id":"u1"}',
  ],
  [
    { type: 'member-added', channel: 'presence-room', member },
    '{"joined":"presence-room","member":{"user_id":"u1","user_info":{"name":"Ada"}}}',
  ],
  [{ type: 'member-removed', channel: 'presence-room', userId: 'u1' }, '{"left":"presence-room","user_id":"u1"}'],
  [{ type: 'subscription-count', channel: 'room', count: 3 }, '{"count":3,"channel":"room"}'],
  [{ type: 'cache-miss', channel: 'cache-x' }, '{"cache_miss":"cache-x"}'],
  [{ type: 'signed-in', userData: '{"id":"u1"}' }, '{"signed_in":"{\\"id\\":\\"u1\\"}"}'],
  [
    { type: 'token-accepted', userId: null, expiresInSeconds: 60, capabilities: '{"room":["subscribe"]}' },
    '{"token_accepted":{"user_id":null,"expires_in":60,"capabilities":{"room":["subscribe"]}}}',
  ],
  [
    { type: 'token-accepted', userId: 'u1', expiresInSeconds: 1, capabilities: '{}' },
    '{"token_accepted":{"user_id":"u1","expires_in":1,"capabilities":{}}}',
  ],
  [{ type: 'token-refused', refusal }, '{"token_refused":"rate_limited","message":"too many"}'],
  [{ type: 'published', id: '7' }, '{"published":"7"}'],
  [
    { type: 'publish-refused', id: '7', refusal, retryAfterSeconds: 2 },
    '{"publish_refused":"7","code":"rate_limited","message":"too many","retry_after":2}',
  ],
  [{ type: 'watchlist', online: ['u1'], offline: [] }, '{"online":["u1"],"offline":[]}'],
];

const subscribe = { type: 'subscribe', auth: undefined, channelData: undefined, isChannelDataBroken: false } as const;

const asked = [
  ['{"subscribe":"room"}', { ...subscribe, channel: 'room' }],
  [
    '{"subscribe":"presence-x","auth":"k:s","channel_data":"{}"}',
    { ...subscribe, channel: 'presence-x', auth: 'k:s', channelData: '{}' },
  ],
  ['{"subscribe":"presence-x","channel_data":{}}', { ...subscribe, channel: 'presence-x', isChannelDataBroken: true }],
  ['{"unsubscribe":"room"}', { type: 'unsubscribe', channel: 'room' }],
  [
    '{"publish":"room","event":"e","data":{"a":1},"id":"7"}',
    { type: 'publish', id: '7', fields: { name: 'e', channels: ['room'], data: '{"a":1}' } },
  ],
  [
    '{"publish":"room","event":"e","data":"text"}',
    { type: 'publish', id: '', fields: { name: 'e', channels: ['room'], data: 'text' } },
  ],
  [
    '{"publish":"private-x","event":"client-e","data":1}',
    { type: 'client-event', event: 'client-e', channel: 'private-x', data: '1' },
  ],
  [
    `{"publish":"room","event":"e","data":"","id":"${'x'.repeat(64)}"}`,
    { type: 'publish', id: 'x'.repeat(64), fields: { name: 'e', channels: ['room'], data: '' } },
  ],
  ['{"signin":"k:s","user_data":"{}"}', { type: 'signin', auth: 'k:s', userData: '{}' }],
  ['{"token":"a.b.c"}', { type: 'auth', token: 'a.b.c' }],
  ['{"ping":1}', { type: 'ping' }],
] as const;

const refused = [
  'no JSON',
  '[]',
  '{}',
  '{"hello":"room"}',
  '{"subscribe":1}',
  '{"publish":"room","event":1,"data":1}',
  '{"publish":"room","event":"e"}',
  `{"publish":"room","event":"e","data":1,"id":"${'x'.repeat(65)}"}`,
  '{"signin":"k:s"}',
  '{"token":null}',
  '['.repeat(1_000),
];

describe('the raw dialect', () => {
  it.each(told)('[RW2] tells %o', (event, message) => {
    expect(rawDialect.encode(event)).toEqual(message === null ? [] : [message]);
  });

  it.each(asked)('[RW1] takes %s', (text, command) => {
    expect(rawDialect.decode(text)).toEqual({ ok: true, value: command });
  });

  it.each(refused)('[RW1] refuses %s with a text that says what is taken', (text) => {
    const decoded = rawDialect.decode(text);
    expect(decoded.ok).toBe(false);
    if (!decoded.ok) expect(decoded.refusal.message).toMatch(/"|deep/);
  });

  it('[RW2] tells any text as one line of JSON that gives it back', () => {
    const random = new Random(7);
    for (let round = 0; round < 500; round++) {
      const [channel, event, data, userId] = [random.text(), random.text(), random.text(), random.text()];
      const [message = ''] = rawDialect.encode({ type: 'event', channel, event, data, userId });
      expect(message).not.toMatch(/[\n\r]/);
      const back = JSON.parse(message);
      expect(JSON.stringify(back)).toBe(JSON.stringify({ event, channel, data, user_id: userId }));
    }
  });
});

it('what Pusher clients are told of a publish can be read back for clients of another dialect', () => {
  const events: readonly ServerEvent[] = [
    { type: 'event', channel: 'room', event: 'e', data: 'd', userId: undefined },
    { type: 'event', channel: 'presence-room', event: 'client-e', data: '{"a":1}', userId: 'u1' },
    { type: 'subscription-count', channel: 'room', count: 3 },
  ];
  for (const event of events) expect(readPublished(pusherDialect.encode(event)[0] ?? '')).toEqual(event);
  for (const other of ['', '[]', '{}', '{"event":"e"}', '{"event":"e","channel":"c","data":{}}', '{"event":"e"']) {
    expect(readPublished(other)).toBeNull();
  }
});
