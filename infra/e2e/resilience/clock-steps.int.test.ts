/** Wall clocks that are set back or on while programs run: nobody who is connected may notice. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { WebSocket } from 'ws';
import { openProgram, type Program, signedPath } from '../../testing/program.ts';
import { WallClock } from '../../testing/wall-clock.ts';
import { app, Cluster, eventually, type Node } from '../cluster/cluster.ts';
import { Connection } from '../cluster/connection.ts';

/** In seconds, one after another: a wall clock is wrong by their sum. */
const steps = [-3_600, -120, -60, -5, +5, +60, +3_600];
const presence = 'presence-hall';

/** Where the clients of a test connect: programs whose wall clock is stepped, and one whose need not be. */
interface Place {
  readonly clock: WallClock;
  /** Its wall clock is stepped. */
  readonly stepped: string;
  /** Where the others are. */
  readonly other: string;
  /** Takes publishes; by the stepped clock. */
  readonly api: string;
}

/** Signed by the wall clock of the program that checks it, as a backend on the same machine would. */
async function request(place: Place, method: 'GET' | 'POST', path: string, body = '', nowMs = place.clock.nowMs) {
  const signed = signedPath(app, method, `/apps/${app.id}${path}`, body, '', nowMs);
  const response = await fetch(place.api + signed, {
    method,
    signal: AbortSignal.timeout(20_000),
    ...(body !== '' && { body }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

function publish(place: Place, channels: readonly string[], name: string, data = '{}') {
  return request(place, 'POST', '/events', JSON.stringify({ name, channels, data }));
}

async function connect(url: string): Promise<Connection> {
  const connection = await Connection.open(url, app);
  onTestFinished(() => connection.close());
  return connection;
}

/** Who is connected before the first step, and stays. */
class Residents {
  readonly place: Place;
  readonly ada: Connection;
  readonly bob: Connection;
  #rounds = 0;

  private constructor(place: Place, ada: Connection, bob: Connection) {
    this.place = place;
    this.ada = ada;
    this.bob = bob;
  }

  /** Ada where the clock will be stepped, Bob at the other place; both have sent all kinds of frames. */
  static async open(place: Place): Promise<Residents> {
    const residents = new Residents(place, await connect(place.stepped), await connect(place.other));
    for (const [resident, user] of [
      [residents.ada, 'ada'],
      [residents.bob, 'bob'],
    ] as const) {
      for (const channel of ['room', 'private-room']) await resident.join(channel);
      await resident.join(presence, user);
    }
    await residents.haveAll();
    return residents;
  }

  /** All that a client may want, and gets. */
  async haveAll(): Promise<void> {
    const { ada, bob, place } = this;
    const round = `${ada.socketId}-${++this.#rounds}`;
    // Frames are taken, several in a row.
    for (let count = 0; count < 5; count++) await ada.catchUp();
    ada.say('client-word', { round }, 'private-room');
    bob.say('client-word', { round }, 'private-room');
    const hasWord = (each: Connection) =>
      each.all('client-word', 'private-room').some((data) => (data as { round: string }).round === round);
    for (const each of [ada, bob]) await each.until(`the client event of round ${round}`, () => hasWord(each));
    // Those who are there join more channels, and newcomers come.
    for (const [from, who] of [
      [ada, `ada-${round}`],
      [await connect(place.stepped), `new-${round}`],
    ] as const) {
      await from.join(`room-${who}`);
      await from.join(`private-${who}`);
      await from.join(`presence-${who}`, who);
      if (from !== ada) await from.join(presence, who);
    }
    await bob.until('the newcomer is announced', () => bob.usersOf(presence).includes(`new-${round}`));
    const channels = ['room', 'private-room', presence, `room-ada-${round}`];
    expect(await publish(place, channels, `news-${round}`)).toMatchObject({ status: 200 });
    for (const channel of channels) await ada.hears(`news-${round}`, channel);
    await bob.hears(`news-${round}`, presence);
    const { body } = await request(place, 'GET', `/channels/${presence}/users`);
    expect((body['users'] as { id: string }[]).map(({ id }) => id)).toEqual(expect.arrayContaining(['ada', 'bob']));
    // Nobody was taken for gone, neither here nor there.
    for (const each of [ada, bob]) {
      expect(each.changesOf(presence)).not.toContain('-ada');
      expect(each.changesOf(presence)).not.toContain('-bob');
      expect(each.all('pusher:error')).toEqual([]);
      expect(each.faults).toEqual([]);
    }
    for (const url of [place.stepped, place.other, place.api]) expect((await fetch(`${url}/readyz`)).status).toBe(200);
  }
}

/** Bytes that the system has taken from the program for this client's port, and not brought over yet. */
function unsentTo(port: number): number {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const remote = new RegExp(`^\\s*\\d+: \\S+ \\S+:${hex} 01 ([0-9A-F]+):`, 'm');
  const found = remote.exec(readFileSync('/proc/net/tcp', 'utf8') + readFileSync('/proc/net/tcp6', 'utf8'));
  return Number.parseInt(found?.[1] ?? '0', 16);
}

/** A client that has stopped reading, for which the program holds bytes that the system does not take any more. */
async function openStalled(place: Place) {
  const socket = new WebSocket(`${place.stepped.replace('http', 'ws')}/app/${app.key}?protocol=7`, {
    // What is compressed to nothing fills nothing.
    perMessageDeflate: false,
  });
  onTestFinished(() => socket.terminate());
  let [frames, port, closedWith] = [0, 0, undefined as number | undefined];
  const watchers = new Set<() => void>();
  const wake = () => {
    for (const watcher of watchers) watcher();
  };
  socket.on('close', (code) => {
    closedWith = code;
    wake();
  });
  socket.on('upgrade', (response) => {
    port = response.socket.localPort ?? 0;
  });
  socket.on('message', (text) => {
    if (String(text).includes('connection_established')) {
      socket.send('{"event":"pusher:subscribe","data":{"channel":"flood"}}');
    }
    if (String(text).includes('subscription_succeeded')) socket.pause();
    if (String(text).startsWith('{"event":"drop')) frames++;
    wake();
  });
  const until = (isSo: () => boolean) =>
    new Promise<void>((resolve, reject) => {
      const watcher = () => {
        if (closedWith !== undefined) reject(new Error(`The stalled reader was closed with ${closedWith}`));
        else if (isSo()) resolve();
        else return;
        watchers.delete(watcher);
      };
      watchers.add(watcher);
      watcher();
    });
  await until(() => socket.isPaused);
  const data = 'x'.repeat(9_000);
  let sent = 0;
  let same = 0;
  for (let before = -1; same < 5; sent++) {
    expect(await publish(place, ['flood'], 'drop', data)).toMatchObject({ status: 200 });
    const unsent = unsentTo(port);
    same = unsent > 0 && unsent === before ? same + 1 : 0;
    before = unsent;
  }
  return {
    /** Rejects when it was closed. */
    readsAll: async () => {
      socket.resume();
      await until(() => frames === sent);
    },
  };
}

function itNoticesNothing(open: () => Place): void {
  test.each(steps)('[CK1] [CK2] a step of %i s', async (seconds) => {
    const residents = await Residents.open(open());
    residents.place.clock.step(seconds);
    await residents.haveAll();
  });

  test('[CK1] a reader that has stalled for a moment is not cut by a step of an hour', async () => {
    const place = open();
    const residents = await Residents.open(place);
    const reader = await openStalled(place);
    place.clock.step(3_600);
    // What must not happen has no event: the stalled are looked through once a second.
    const begin = performance.now();
    await eventually('the stalled are looked through', 10_000, () => performance.now() - begin > 2_500 || 'not yet');
    await reader.readsAll();
    place.clock.step(-3_600);
    await residents.haveAll();
  });

  test('[CK2] [RE2] a signature counts by the wall clock that there is', async () => {
    const place = open();
    const post = (nowMs: number) =>
      request(place, 'POST', '/events', JSON.stringify({ name: 'n', channel: 'room', data: '{}' }), nowMs);
    const offMs = place.clock.nowMs;
    place.clock.step(1_200);
    expect((await post(offMs)).status).toBe(401);
    expect((await post(place.clock.nowMs)).status).toBe(200);
    place.clock.step(-1_200);
    expect((await post(offMs + 1_200_000)).status).toBe(401);
    expect((await post(place.clock.nowMs)).status).toBe(200);
  });
}

const appEnv = { STARLING_APP_ID: app.id, STARLING_APP_KEY: app.key, STARLING_APP_SECRET: app.secret };

describe('a process that is alone', () => {
  let clock: WallClock;
  let program: Program;
  let place: Place;
  beforeAll(async () => {
    clock = WallClock.open();
    program = openProgram();
    const { url } = await program.start({ env: { ...appEnv, ...clock.env } });
    place = { clock, stepped: url, other: url, api: url };
  });
  afterAll(async () => {
    await program?.close();
    clock?.close();
  });

  itNoticesNothing(() => place);
});

describe('one machine of a cluster', () => {
  let clock: WallClock;
  let cluster: Cluster;
  let stepped: Node;
  let place: Place;
  beforeAll(async () => {
    clock = WallClock.open();
    cluster = await Cluster.open();
    const other = await cluster.start('edge');
    stepped = await cluster.start('edge', clock.env);
    const api = await cluster.start('api', clock.env);
    place = { clock, stepped: stepped.url, other: other.url, api: api.url };
  });
  afterAll(async () => {
    const defects = cluster?.defects();
    await cluster?.close();
    clock?.close();
    expect(defects).toEqual([]);
  });

  itNoticesNothing(() => place);

  test.each([-120, +120, -3_600, +3_600])('[CK1] [CK3] a step of %i s and then a cut from Redis', async (seconds) => {
    const residents = await Residents.open(place);
    clock.step(seconds);
    stepped.proxy.cut();
    const answers = async (channel: string, user?: string) => {
      const connection = await Connection.open(place.stepped, app);
      try {
        connection.subscribe(channel, user);
        const isAnswered = () =>
          connection.joinedAtMs.has(channel) || connection.all('pusher:subscription_error', channel).length > 0;
        await connection.until('an answer', isAnswered);
        return connection.joinedAtMs.has(channel) || JSON.stringify(connection.heard.at(-1)?.data);
      } finally {
        connection.close();
      }
    };
    // While Redis is not back yet each is refused, and told so.
    await eventually('a public channel is joined', 10_000, () => answers('room-after'));
    await eventually('a private channel is joined', 10_000, () => answers('private-after'));
    await eventually('a presence channel is joined', 10_000, () => answers('presence-after', 'eve'));
    await cluster.isReady(stepped, true, 10_000);
    await residents.haveAll();
  });
});
