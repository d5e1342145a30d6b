/** What the compiler lets pass and what it does not; it is `npm run types` that fails when one of these is wrong. */
import { expect, test } from 'vitest';
import { type Members, type PresenceChannel, Starling } from './index.ts';
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
