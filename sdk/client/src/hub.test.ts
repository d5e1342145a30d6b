/** What a hub says to the server and to its tabs, in the orders in which things may come. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Hub, type HubMessage } from './hub.ts';

let posts: HubMessage[];
let sent: string[];
let hub: Hub;
let upstream: {
  readyState: number;
  onmessage(event: { data: string }): void;
  onclose(event: { code: number; reason: string }): void;
};
let gone: Map<string, () => void>;
let ended: number;
let emptied: number;
beforeEach(() => {
  vi.useFakeTimers();
  [posts, sent, gone, ended, emptied] = [[], [], new Map(), 0, 0];
  class Socket {
    readyState = 1;
    constructor() {
      upstream = this as unknown as typeof upstream;
    }
    send(text: string): void {
      sent.push(text);
    }
    close(): void {
      this.readyState = 3;
    }
  }
  hub = new Hub({
    id: 'hub',
    url: 'ws://realtime.test/app/key?protocol=7',
    WebSocket: Socket,
    post: (message) => posts.push(message),
    watch: (tab, isGone) => {
      gone.set(tab, isGone);
      return () => gone.delete(tab);
    },
    emptied: () => emptied++,
    ended: () => ended++,
  });
  for (const from of ['a', 'b', 'c']) hub.receive({ from, kind: 'open' });
  heard();
});
afterEach(() => {
  vi.useRealTimers();
});

const say = (from: string, event: string, data: unknown = {}, channel?: string) =>
  hub.receive({ from, kind: 'say', hub: 'hub', text: JSON.stringify({ event, data, channel }) });
const subscribe = (from: string, channel: string, auth = '', channel_data?: string) =>
  say(from, 'pusher:subscribe', { channel, auth, channel_data });
const unsubscribe = (from: string, channel: string) => say(from, 'pusher:unsubscribe', { channel });
const hear = (event: string, data: unknown = {}, channel?: string) =>
  upstream.onmessage({ data: JSON.stringify({ event, data: JSON.stringify(data), channel }) });
const succeed = (channel: string, data?: unknown) => hear('pusher_internal:subscription_succeeded', data, channel);
/** What the server was told since the last call. */
const asked = () =>
  sent.splice(0).map((text) => {
    const { event, data } = JSON.parse(text) as { event: string; data: { channel?: string; id?: string } };
    return `${event.split(':')[1] ?? event} ${data.channel ?? data.id ?? ''}`.trim();
  });
/** What the tabs were told since the last call. */
function heard(): string[] {
  return posts.splice(0).map((message) => {
    const to = message.to?.join('') ?? 'all';
    if (message.kind === 'frame')
      return `${to}: ${(JSON.parse(message.text) as { event: string }).event.split(':')[1] ?? (JSON.parse(message.text) as { event: string }).event}`;
    return message.kind === 'close' ? `${to}: close ${message.code}` : `${to}: ${message.kind}`;
  });
}

test('a tab that comes is welcomed once, and told of the connection there is', () => {
  hear('pusher:connection_established', { socket_id: '1.2', activity_timeout: 120 });
  hear('starling:auth_success', { user_id: 'ada', expires_in: 60, capabilities: {} });
  expect(heard()).toEqual(['abc: connection_established', 'abc: auth_success']);
  vi.advanceTimersByTime(20_000);
  for (let times = 0; times < 2; times++) hub.receive({ from: 'd', kind: 'open' });
  expect(JSON.parse((posts.at(-1) as { text: string }).text)).toMatchObject({
    data: JSON.stringify({ user_id: 'ada', expires_in: 40, capabilities: {} }),
  });
  expect(heard()).toEqual(['d: welcome', 'd: connection_established', 'd: auth_success']);
});

test('those who ask for the same while an answer is under way share it', () => {
  for (const tab of ['a', 'b']) subscribe(tab, 'room');
  expect(asked()).toEqual(['subscribe room']);
  succeed('room');
  subscribe('c', 'room');
  expect(asked()).toEqual([]);
  expect(heard()).toEqual(['ab: subscription_succeeded', 'c: subscription_succeeded']);
  hear('order', 1, 'room');
  expect(heard()).toEqual(['abc: order']);
});

test('a channel is left with the last tab, however it goes', () => {
  for (const tab of ['a', 'b', 'c']) subscribe(tab, 'room');
  succeed('room');
  asked();
  unsubscribe('a', 'room');
  hub.receive({ from: 'b', kind: 'leave' });
  expect(asked()).toEqual([]);
  gone.get('c')?.();
  expect(asked()).toEqual(['unsubscribe room']);
  expect(emptied).toBe(0);
  hub.receive({ from: 'a', kind: 'leave' });
  expect(emptied).toBe(1);
  heard();
  hear('order', 1, 'room');
  expect(heard()).toEqual([]);
});

test('who comes after a channel was left, before the answer, asks anew', () => {
  subscribe('a', 'room');
  unsubscribe('a', 'room');
  subscribe('b', 'room');
  expect(asked()).toEqual(['subscribe room', 'unsubscribe room', 'subscribe room']);
  succeed('room');
  expect(heard()).toEqual([]);
  succeed('room');
  expect(heard()).toEqual(['b: subscription_succeeded']);
  expect(asked()).toEqual([]);
});

test('each permission is judged by the server, and a refusal is for who asked', () => {
  subscribe('a', 'private-room', 'key:good');
  subscribe('b', 'private-room', 'key:bad');
  expect(asked()).toEqual(['subscribe private-room', 'subscribe private-room']);
  succeed('private-room');
  hear('pusher:subscription_error', { status: 401 }, 'private-room');
  expect(heard()).toEqual(['a: subscription_succeeded', 'b: subscription_error']);
  hear('order', 1, 'private-room');
  expect(heard()).toEqual(['a: order']);
  unsubscribe('a', 'private-room');
  asked();
  // What was accepted before the channel was left says nothing now.
  subscribe('c', 'private-room', 'key:good');
  expect(asked()).toEqual(['subscribe private-room']);
});

test('a channel that a new token has taken is taken from all', () => {
  for (const tab of ['a', 'b']) subscribe(tab, 'private-room');
  succeed('private-room');
  heard();
  hear('pusher:subscription_error', { status: 403 }, 'private-room');
  hear('order', 1, 'private-room');
  expect(heard()).toEqual(['ab: subscription_error']);
});

test('who comes later to a cache channel is told its last event while that is fresh, and the count', () => {
  subscribe('a', 'cache-room');
  succeed('cache-room');
  hear('pusher:cache_miss', {}, 'cache-room');
  hear('pusher_internal:subscription_count', { subscription_count: 1 }, 'cache-room');
  subscribe('b', 'cache-room');
  hear('order', 1, 'cache-room');
  heard();
  subscribe('c', 'cache-room');
  expect(heard()).toEqual(['c: subscription_succeeded', 'c: order', 'c: subscription_count']);
  unsubscribe('c', 'cache-room');
  vi.advanceTimersByTime(1_800_000);
  subscribe('c', 'cache-room');
  expect(heard()).toEqual(['c: subscription_succeeded', 'c: cache_miss', 'c: subscription_count']);
});

test('a connection is one member: a tab with another is sent apart, unless nobody is there', () => {
  subscribe('a', 'presence-room', 'key:1', '{"user_id":"ada"}');
  subscribe('b', 'presence-room', 'key:2', '{"user_id":"bob"}');
  expect(heard()).toEqual(['b: apart']);
  hub.receive({ from: 'a', kind: 'leave' });
  subscribe('c', 'presence-room', 'key:3', '{"user_id":"bob"}');
  expect(heard()).toEqual([]);
  expect(asked()).toEqual(['subscribe presence-room', 'unsubscribe presence-room', 'subscribe presence-room']);
});

test('the watchlist is told to those who have signed in, and to who signs in later', () => {
  const user_data = '{"id":"ada","watchlist":["bob","eve"]}';
  say('a', 'pusher:signin', { auth: 'key:1', user_data });
  hear('pusher:signin_success', { user_data });
  hear('pusher_internal:watchlist_events', { events: [{ name: 'offline', user_ids: ['bob', 'eve'] }] });
  hear('pusher_internal:watchlist_events', { events: [{ name: 'online', user_ids: ['bob'] }] });
  hear('alert', 1, '#server-to-user-ada');
  expect(heard()).toEqual(['a: signin_success', 'a: watchlist_events', 'a: watchlist_events', 'a: alert']);
  say('b', 'pusher:signin', { auth: 'key:1', user_data });
  hear('pusher:signin_success', { user_data });
  expect(JSON.parse(JSON.parse((posts.at(-1) as { text: string }).text).data)).toEqual({
    events: [
      { name: 'online', user_ids: ['bob'] },
      { name: 'offline', user_ids: ['eve'] },
    ],
  });
  say('c', 'pusher:signin', { auth: 'key:2', user_data: '{"id":"bob"}' });
  expect(heard().at(-1)).toBe('c: apart');
});

test('publishes of different tabs are told apart, as are their new tokens', () => {
  for (const tab of ['a', 'b']) say(tab, 'starling:publish', { id: '1', channels: ['room'], name: 'order', data: '1' });
  const ids = asked().map((each) => each.split(' ')[1]);
  expect(new Set(ids).size).toBe(2);
  hear('starling:publish_ack', { id: ids[1] });
  expect(JSON.parse(JSON.parse((posts.at(-1) as { text: string }).text).data)).toEqual({ id: '1' });
  hear('starling:publish_error', { id: ids[0], code: 'capability_missing', message: 'No' });
  expect(heard()).toEqual(['b: publish_ack', 'a: publish_error']);
  for (const tab of ['c', 'a']) say(tab, 'starling:auth', { token: 'x.y.z' });
  hear('starling:auth_error', { code: 'token_invalid', message: 'No' });
  hear('starling:auth_success', { user_id: null, expires_in: 60, capabilities: {} });
  expect(heard()).toEqual(['c: auth_error', 'a: auth_success']);
});

test('pings go on to the server, once, and a tab that gives up waiting speaks for all', () => {
  for (const tab of ['a', 'b']) say(tab, 'pusher:ping');
  expect(asked()).toEqual(['ping']);
  hear('pusher:pong');
  expect(heard()).toEqual(['ab: pong']);
  say('a', 'pusher:ping');
  hub.receive({ from: 'a', kind: 'leave' });
  expect(ended).toBe(0);
  say('b', 'pusher:ping');
  vi.advanceTimersByTime(5_000);
  hub.receive({ from: 'b', kind: 'leave' });
  expect(heard()).toEqual(['all: close 4201']);
  expect([ended, upstream.readyState]).toEqual([1, 3]);
});

test('the server’s close is everybody’s, told once', () => {
  upstream.onclose({ code: 4003, reason: 'This app is disabled' });
  hub.end(4200, 'Later');
  hub.receive({ from: 'd', kind: 'open' });
  expect(heard()).toEqual(['all: close 4003']);
  expect([ended, gone.size]).toEqual([1, 0]);
});
