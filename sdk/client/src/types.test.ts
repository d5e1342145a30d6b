/** What the compiler lets pass and what it does not; it is `npm run types` that fails when one of these is wrong. */
import { expect, test } from 'vitest';
import { type Members, type PresenceChannel, Starling } from './index.ts';
import { StarlingProvider, typedHooks, useChannel, useConnectionState, useEvent, usePresence } from './react.ts';
import { TestServer } from './testing.ts';

interface Order {
  readonly id: number;
}
interface Events {
  orders: { created: Order; cancelled: { readonly reason: string } };
  'presence-room': { 'client-typing': boolean };
  [user: `private-user-${number}`]: { alert: string };
}

const options = { ...new TestServer().options(), autoConnect: false };

test('channels, events and data are checked where types are stated', () => {
  const starling = new Starling<Events>('key', options);
  const orders = starling.subscribe('orders');
  orders.bind('created', ({ id }, { user_id }) => [id.toFixed(), user_id?.length]);
  orders.bind('pusher:subscription_error', ({ status, willRetry }) => [status?.toFixed(), willRetry === true]);
  // @ts-expect-error No such channel.
  starling.subscribe('order');
  // @ts-expect-error No such event.
  orders.bind('made', () => {});
  // @ts-expect-error Not its data.
  orders.bind('created', ({ reason }) => reason);
  // @ts-expect-error Not on channels without presence.
  orders.members;

  starling.subscribe('private-user-7').bind('alert', (text) => text.toUpperCase());
  // @ts-expect-error Not of the pattern.
  starling.subscribe('private-user-seven');

  const room = starling.subscribe('presence-room');
  room.bind('pusher:subscription_succeeded', (members: Members) => members.me?.id);
  room.bind('pusher:member_added', ({ id }) => id.length);
  room.trigger('client-typing', true);
  // @ts-expect-error Not its data.
  room.trigger('client-typing', 'yes');

  const publish = () => [
    starling.publish('orders', 'created', { id: 7 }),
    // @ts-expect-error Not its data.
    starling.publish('orders', 'created', { id: 'seven' }),
  ];
  starling.connection.bind('state_change', ({ current }) => current === 'connected');
  // @ts-expect-error No such state.
  starling.connection.bind('state_change', ({ current }) => current === 'open');
  // @ts-expect-error No such event of a connection.
  starling.connection.bind('opened', () => {});
  expect(publish).toBeTypeOf('function');
});

test('without types everything is as loose as in pusher-js', () => {
  const starling = new Starling('key', options);
  const name: string = 'room';
  const channel = starling.subscribe(name);
  channel.bind('order', (order) => order.lines[0].price);
  channel.bind('order', (order: Order) => order.id);
  starling.subscribe('presence-room').bind('pusher:subscription_succeeded', (members) => members.count);
  expect((starling.subscribe('presence-room') as PresenceChannel).members.count).toBe(0);
  starling.bind('order', (order) => order.id).bind_global((event, order) => [event, order.id]);
});

test('hooks are checked where types are stated once', () => {
  const hooks = typedHooks<Events>();
  const Orders = (name: `private-user-${number}`) => {
    hooks.useEvent('orders', 'created', ({ id }, { user_id }) => [id.toFixed(), user_id?.length]);
    hooks.useEvent(name, 'alert', (text) => text.toUpperCase());
    hooks.useEvent('orders', 'pusher:subscription_succeeded', () => {});
    hooks.useEvent(name === 'private-user-7' ? 'orders' : null, 'created', ({ id }) => id.toFixed());
    // @ts-expect-error No such channel.
    hooks.useEvent('order', 'created', () => {});
    // @ts-expect-error No such event.
    hooks.useEvent('orders', 'made', () => {});
    // @ts-expect-error Not its data.
    hooks.useEvent('orders', 'created', ({ reason }) => reason);
    // @ts-expect-error An event of another channel.
    hooks.useEvent('orders', 'alert', () => {});

    hooks.useChannel('orders')?.bind('cancelled', ({ reason }) => reason.length);
    hooks.useChannel('presence-room')?.members.me?.id.length;
    // @ts-expect-error Undefined until it is joined.
    hooks.useChannel('orders').name;
    // @ts-expect-error No such channel.
    hooks.useChannel('order');
    // @ts-expect-error Not on channels without presence.
    hooks.useChannel('orders')?.members;

    hooks.usePresence('presence-room').members.map(({ id }) => id.length);
    // @ts-expect-error A channel without presence.
    hooks.usePresence('orders');
    // @ts-expect-error No such channel.
    hooks.usePresence('presence-other');
    // @ts-expect-error Not its data.
    void hooks.useStarling().publish('orders', 'created', { id: 'seven' });
  };
  expect(Orders).toBeTypeOf('function');
  expect(hooks.useEvent).toBe(useEvent);
});

test('without types hooks are as loose as channels, and the rest of React is as it should be', () => {
  const Anything = (name: string) => {
    useEvent(name, 'order', (order) => order.lines[0].price);
    useEvent<Events, 'orders', 'created'>('orders', 'created', ({ id }) => id.toFixed());
    useChannel(name)?.bind('order', (order) => order.id);
    usePresence('presence-room').me?.info.name;
    // @ts-expect-error A channel without presence.
    usePresence('room');
    const state = useConnectionState();
    // @ts-expect-error No such state.
    return state === 'connected' || state === 'open';
  };
  const elements = () => [
    StarlingProvider({ client: new Starling<Events>('key', options) }),
    StarlingProvider({ appKey: 'key', options }),
    // @ts-expect-error Neither a client nor what one needs.
    StarlingProvider({ appKey: 'key' }),
  ];
  expect([Anything, elements]).toHaveLength(2);
});
