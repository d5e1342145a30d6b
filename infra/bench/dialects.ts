/** What the load generator says to each kind of server, and what it waits to hear. */
import { createHash, createHmac } from 'node:crypto';

export interface Dialect {
  /** `%06d` becomes the channel's number. */
  readonly path: string;
  /** [what a text frame must contain, what is sent then]; an empty text waits for nothing. */
  readonly steps: ReadonlyArray<readonly [expect: string, send: string]>;
  /** [a text frame, what it is answered with]: heartbeats. */
  readonly answer?: readonly [string, string];
  /** A whole HTTP request that publishes one event. */
  request(channel: string, data: string): Buffer;
  /** Publishing over a connection, where the server can do that. */
  readonly publishing?: {
    /** In the place of `path`. */
    readonly path: string;
    readonly talk: { readonly send: string; readonly expect: string };
  };
  /** The same as `request` for several events in one request, where the server can do that. */
  batchRequest?(channels: readonly string[], data: string): Buffer;
}

export interface Credentials {
  readonly id: string;
  readonly key: string;
  readonly secret: string;
}

export const channelPattern = 'bench-%06d';
export const channelName = (number: number): string => `bench-${String(number).padStart(6, '0')}`;

function post(path: string, type: string, body: string): Buffer {
  return Buffer.from(
    `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${type}\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

/** Written out here rather than taken from our own rooms, which are what is measured. */
function signedPost({ key, secret }: Credentials, path: string, body: string): Buffer {
  const md5 = createHash('md5').update(body).digest('hex');
  const query = `auth_key=${key}&auth_timestamp=${Math.floor(Date.now() / 1_000)}&auth_version=1.0&body_md5=${md5}`;
  const signature = createHmac('sha256', secret).update(`POST\n${path}\n${query}`).digest('hex');
  return post(`${path}?${query}&auth_signature=${signature}`, 'application/json', body);
}

export function pusherDialect(app: Credentials): Dialect {
  return {
    path: `/app/${app.key}?protocol=7&client=bench&version=1.0.0`,
    steps: [
      ['pusher:connection_established', `{"event":"pusher:subscribe","data":{"channel":"${channelPattern}"}}`],
      ['subscription_succeeded', ''],
    ],
    answer: ['{"event":"pusher:ping","data":{}}', '{"event":"pusher:pong","data":{}}'],
    request: (channel, data) =>
      signedPost(app, `/apps/${app.id}/events`, JSON.stringify({ name: 'event', channels: [channel], data })),
    batchRequest: (channels, data) => {
      const batch = channels.map((channel) => ({ name: 'event', channel, data }));
      return signedPost(app, `/apps/${app.id}/batch_events`, JSON.stringify({ batch }));
    },
  };
}

/** Pusher's, and what Starling adds to it. */
export function starlingDialect(app: Credentials): Dialect {
  const dialect = pusherDialect(app);
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const iat = Math.floor(Date.now() / 1_000);
  const claims = { iat, exp: iat + 80_000, cap: { 'said-*': ['publish'] } };
  const text = `${part({ alg: 'HS256', kid: app.key })}.${part(claims)}`;
  const token = `${text}.${createHmac('sha256', app.secret).update(text).digest('base64url')}`;
  const data = `{"id":"%06d","channels":["said-here"],"name":"event","data":"${'x'.repeat(100)}"}`;
  const talk = { send: `{"event":"starling:publish","data":${data}}`, expect: 'starling:publish_ack' };
  return { ...dialect, publishing: { path: `${dialect.path}&token=${token}`, talk } };
}

/** One connection and many channels, in Pusher's protocol; leaving is not answered, so a ping is sent behind it. */
export const pusherTalk = {
  join: { send: '{"event":"pusher:subscribe","data":{"channel":"many-%06d"}}', expect: 'subscription_succeeded' },
  leave: {
    send: '{"event":"pusher:unsubscribe","data":{"channel":"many-%06d"}}',
    last: '{"event":"pusher:ping","data":{}}',
    expect: 'pusher:pong',
  },
} as const;

export const socketIoDialect: Dialect = {
  path: '/socket.io/?EIO=4&transport=websocket',
  steps: [
    ['"sid"', '40'],
    ['40{"sid"', `42["subscribe","${channelPattern}"]`],
    ['"subscribed"', ''],
  ],
  answer: ['2', '3'],
  request: (channel, data) =>
    post('/publish', 'application/json', JSON.stringify({ name: 'event', channels: [channel], data })),
  batchRequest: (channels, data) => {
    const batch = channels.map((channel) => ({ name: 'event', channel, data }));
    return post('/publish', 'application/json', JSON.stringify({ batch }));
  },
};

/** nchan sends the published bytes as they are, and says nothing to a newcomer: the upgrade is the subscription. */
export const nchanDialect: Dialect = {
  path: `/sub/${channelPattern}`,
  steps: [],
  request: (channel, data) => post(`/pub/${channel}`, 'text/plain', data),
};
