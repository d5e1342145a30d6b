'use client';
/**
 * Hooks for React 18 and later. Components that use the same channel share one subscription, which ends with the last
 * of them. On a server nothing connects and every hook gives its first value.
 */
import {
  createContext,
  createElement,
  type ReactElement,
  type ReactNode,
  useContext,
  useEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from 'react';
import {
  type AnyEvents,
  type Channel,
  type ChannelName,
  type ChannelOf,
  type ChannelSystemEvents,
  type ConnectionState,
  type DataOf,
  type Listeners,
  type Member,
  type Metadata,
  type Options,
  type PresenceChannel,
  type PresenceSystemEvents,
  Starling,
  type Untyped,
} from './index.ts';
import { after } from './surroundings.ts';

const Context = createContext<Starling<Untyped> | null>(null);

export type StarlingProviderProps =
  | {
      /** Connected and disconnected by whoever made it. */
      readonly client: Starling<Untyped>;
      readonly children?: ReactNode;
    }
  | {
      /** For a client that connects while the provider is mounted. Read once. */
      readonly appKey: string;
      readonly options: Options;
      readonly children?: ReactNode;
    };

export function StarlingProvider(props: StarlingProviderProps): ReactElement {
  const given = 'client' in props ? props.client : null;
  const [own] = useState(() =>
    'client' in props ? null : new Starling(props.appKey, { ...props.options, autoConnect: false }),
  );
  useEffect(() => {
    if (own === null) return;
    own.connect();
    return () => own.disconnect();
  }, [own]);
  return createElement(Context.Provider, { value: given ?? own }, props.children);
}

export function useStarling<Events extends object = AnyEvents>(): Starling<Events> {
  const client = useContext(Context);
  if (client === null) throw new TypeError('This hook works below a <StarlingProvider> only');
  return client;
}

export function useConnectionState(): ConnectionState {
  const { connection } = useStarling();
  const [subscribe] = useState(() => (changed: () => void) => {
    connection.bind('state_change', changed);
    return () => connection.unbind('state_change', changed);
  });
  return useSyncExternalStore(
    subscribe,
    () => connection.state,
    () => 'initialized',
  );
}

/** Joins the channel while the component is mounted; undefined before that, and while the name is null. */
export function useChannel<Events extends object = AnyEvents, Name extends ChannelName<Events> = ChannelName<Events>>(
  name: Name | null,
): ChannelOf<Events, Name> | undefined {
  const client = useStarling();
  const [channel, setChannel] = useState<Channel>();
  useEffect(() => {
    if (name === null) return;
    setChannel(hold(client, name));
    return () => {
      setChannel(undefined);
      release(client, name);
    };
  }, [client, name]);
  return channel as unknown as ChannelOf<Events, Name> | undefined;
}

/** Joins the channel and listens to one event. The callback may be another function in every render. */
export function useEvent<
  Events extends object = AnyEvents,
  Name extends ChannelName<Events> = ChannelName<Events>,
  Event extends string = string,
>(name: Name | null, event: Event, callback: (data: DataOf<Events, Name, Event>, metadata: Metadata) => void): void {
  const client = useStarling();
  const latest = useRef(callback);
  useEffect(() => {
    latest.current = callback;
  });
  useEffect(() => {
    if (name === null) return;
    const channel = hold(client, name);
    const listener = (data: Untyped, metadata: Metadata) => latest.current(data, metadata);
    channel.bind(event, listener);
    return () => {
      channel.unbind(event, listener);
      release(client, name);
    };
  }, [client, name, event]);
}

export interface Presence {
  /** Whether the channel is joined: before that, nobody is known. */
  readonly isJoined: boolean;
  readonly members: readonly Member[];
  readonly me: Member | null;
  readonly count: number;
}

const nobody: Presence = { isJoined: false, members: [], me: null, count: 0 };

/** Joins a presence channel, and renders anew when somebody comes or goes. */
export function usePresence(name: `presence-${string}` | null): Presence {
  const client = useStarling();
  const [presence, setPresence] = useState(nobody);
  useEffect(() => {
    if (name === null) return;
    const channel = hold(client, name) as unknown as PresenceChannel;
    const update = () => setPresence(presenceOf(channel));
    const sources = [channel, client.connection] as unknown as ReadonlyArray<Listeners<Record<string, unknown>>>;
    for (const source of sources) {
      for (const event of changes) source.bind(event, update);
    }
    update();
    return () => {
      for (const source of sources) {
        for (const event of changes) source.unbind(event, update);
      }
      setPresence(nobody);
      release(client, name);
    };
  }, [client, name]);
  return presence;
}

const changes = ['pusher:subscription_succeeded', 'pusher:member_added', 'pusher:member_removed', 'state_change'];

function presenceOf({ subscribed, members }: PresenceChannel): Presence {
  if (!subscribed) return nobody;
  const all: Member[] = [];
  members.each((member) => all.push(member));
  return { isJoined: true, members: all, me: members.me, count: members.count };
}

/** The hooks, with channels, events and their data checked: `export const { useEvent } = typedHooks<Events>()`. */
export interface TypedHooks<Events extends object> {
  useStarling(): Starling<Events>;
  useChannel<Name extends ChannelName<Events>>(name: Name | null): ChannelOf<Events, Name> | undefined;
  useEvent<
    Name extends ChannelName<Events>,
    Event extends (keyof Events[Name] | keyof PresenceSystemEvents | keyof ChannelSystemEvents) & string,
  >(name: Name | null, event: Event, callback: (data: DataOf<Events, Name, Event>, metadata: Metadata) => void): void;
  usePresence(name: (ChannelName<Events> & `presence-${string}`) | null): Presence;
}

export function typedHooks<Events extends object>(): TypedHooks<Events> {
  return { useStarling, useChannel, useEvent, usePresence } as unknown as TypedHooks<Events>;
}

/** How many components hold a channel of a client. */
const holders = new WeakMap<object, Map<string, number>>();

function hold(client: Starling, name: string): Channel {
  const counts = holders.get(client) ?? new Map<string, number>();
  holders.set(client, counts);
  const existing = client.channel(name);
  // What somebody else has subscribed stays when the last component goes: one more holder, who never does.
  const others = counts.get(name) ?? (existing === undefined ? 0 : 1);
  counts.set(name, others + 1);
  return others > 0 && existing !== undefined ? existing : client.subscribe(name);
}

function release(client: Starling, name: string): void {
  const counts = holders.get(client);
  counts?.set(name, (counts.get(name) ?? 1) - 1);
  // Later, since a component that moves, or is mounted twice for a test, takes it again at once.
  after(0, () => {
    if (counts?.get(name) !== 0) return;
    counts.delete(name);
    client.unsubscribe(name);
  });
}
