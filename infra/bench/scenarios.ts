/** What is measured, and how each figure comes about. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import type { Children } from './children.ts';
import { channelName, type Dialect, pusherTalk } from './dialects.ts';
import { Load, type Published, type PublishOrder } from './load/load.ts';
import { gcOnSignal, type RunningServer, type Server, type StartOptions } from './servers.ts';
import { cpuMs, machineCpuMs, memory, openFilesLimit } from './usage.ts';

export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  /** What design.md promises of ours, in words. */
  readonly target?: string;
  /** Says something of the run rather than of the server: not compared. */
  readonly isContext?: boolean;
}

export interface Outcome {
  readonly figures: readonly Figure[];
  /** What a reader must know before believing the figures. */
  readonly remarks: readonly string[];
  /** As the load generator said it. */
  readonly raw: readonly unknown[];
}

export interface Scenario {
  readonly name: string;
  /**
   * Starling beside itself, rather than beside others. `redis`: as a cluster; `workers`: with one and with two of them;
   * `compression`: with and without.
   */
  readonly group?: 'redis' | 'workers' | 'compression';
  readonly title: string;
  run(stage: Stage): Promise<void>;
}

export interface StageDeps {
  readonly children: Children;
  readonly loadProgram: string;
  readonly buildDir: string;
  readonly server: Server;
  /** Fewer and shorter, to see that all works; the figures are rough. */
  readonly isQuick: boolean;
  readonly nodeFlags: readonly string[];
  /** What ends the server after the scenario. SIGTERM lets Node write a profile. */
  readonly stopSignal: NodeJS.Signals;
}

/** What was used since some moment. */
export interface Usage {
  /** Of all the server's processes. */
  readonly serverMs: number;
  readonly processes: ReadonlyArray<{ readonly name: string; readonly ms: number }>;
  readonly loadMs: number;
  readonly othersMs: number;
  readonly elapsedMs: number;
}

/** Requests are replayed in turn: enough that one is answered and delivered long before its turn comes again. */
const slots = 4_000;

/** One scenario on one server: its processes and the load generator, and what they use. */
export class Stage {
  readonly #deps: StageDeps;
  readonly #figures: Figure[] = [];
  readonly #remarks: string[] = [];
  readonly #raw: unknown[] = [];
  #server: RunningServer | null = null;
  /** The first is the one that publishes and measures. */
  readonly #loads: Load[] = [];

  constructor(deps: StageDeps) {
    this.#deps = deps;
  }

  get isQuick(): boolean {
    return this.#deps.isQuick;
  }

  get dialect(): Dialect {
    return this.#deps.server.dialect;
  }

  get server(): RunningServer {
    if (this.#server === null) throw new Error('The stage is not set');
    return this.#server;
  }

  get load(): Load {
    const [load] = this.#loads;
    if (load === undefined) throw new Error('The stage is not set');
    return load;
  }

  get outcome(): Outcome {
    return { figures: this.#figures, remarks: this.#remarks, raw: this.#raw };
  }

  /** Starts the server, and a load generator that speaks its dialect and sends these headers beside. */
  async set(
    channels: number,
    options: StartOptions = {},
    headers: readonly string[] = [],
    path: string = this.dialect.path,
  ): Promise<void> {
    const { server, nodeFlags } = this.#deps;
    this.#server = await server.start({ nodeFlags: [...nodeFlags, ...(options.nodeFlags ?? [])] });
    this.addLoad(channels, headers, path);
  }

  /** One more load generator: what one thread does all at once would keep it from publishing and from reading in time. */
  addLoad(channels: number, headers: readonly string[] = [], path: string = this.dialect.path): Load {
    const { children, loadProgram } = this.#deps;
    const load = new Load(children, loadProgram, this.server);
    load.order('path', path);
    load.order('channels', channels);
    for (const header of headers) load.order('header', header);
    for (const [expect, send] of this.dialect.steps) load.order('step', expect, send);
    if (this.dialect.answer !== undefined) load.order('answer', ...this.dialect.answer);
    this.#loads.push(load);
    return load;
  }

  async strike(): Promise<void> {
    // The server first: otherwise its last act, and the end of its profile, would be thousands of cut connections.
    await this.#server?.stop(this.#deps.stopSignal);
    for (const load of this.#loads) load.end();
  }

  /** Writes down the requests to replay: `dataBytes` of data each, to one channel after the other. */
  prepare(
    request: (channel: number, data: string) => Buffer,
    channels: number,
    dataBytes: number,
    dataOf: (mark: string, bytes: number) => string = (mark, bytes) => mark.padEnd(bytes, 'x'),
  ): void {
    const parts: Buffer[] = [uint32(slots)];
    for (let slot = 0; slot < slots; slot++) {
      const bytes = request(slot % channels, dataOf(`#${String(slot).padStart(8, '0')}#`, dataBytes));
      parts.push(uint32(bytes.byteLength), bytes);
    }
    mkdirSync(this.#deps.buildDir, { recursive: true });
    const file = join(this.#deps.buildDir, 'requests.bin');
    writeFileSync(file, Buffer.concat(parts));
    this.load.order('requests', file);
  }

  prepareEvents(channels: number, dataBytes = 100): void {
    this.prepare((channel, data) => this.dialect.request(channelName(channel), data), channels, dataBytes);
  }

  /** With data such as an application would send. */
  prepareJsonEvents(dataBytes: number): void {
    this.prepare((channel, data) => this.dialect.request(channelName(channel), data), 1, dataBytes, orders());
  }

  /** Publishes, and says what was used in the whole run, from sending to the last delivery. */
  async publish(order: PublishOrder): Promise<Published & { readonly used: Usage }> {
    const usage = this.startUsage();
    const published = await this.load.publish(order);
    const used = usage();
    const { sent, expected, delivered, closed, closeCode, badLength, unknown } = published;
    this.#raw.push({ ...published, serverCpuMs: used.serverMs, processes: used.processes });
    if (delivered !== expected) this.remark(`${expected - delivered} of ${expected} deliveries did not arrive`);
    if (badLength > 0) this.remark(`${badLength} deliveries had another length than the first`);
    if (unknown > 0) this.remark(`${unknown} frames were no deliveries`);
    if (closed > 0) this.remark(`the server ended ${closed} connections, the last with ${closeCode}`);
    if (order.seconds !== undefined && order.perSecond !== undefined) {
      const due = Math.floor(order.seconds * order.perSecond);
      if (sent < due * 0.99) this.remark(`only ${sent} of ${due} events could be sent in time`);
    }
    return { ...published, used };
  }

  /** The returned function says what has been used since. */
  startUsage(): () => Usage {
    const read = () => ({
      processes: this.server.processes.map(({ name, pid }) => ({ name, ms: cpuMs(pid) })),
      load: this.#loads.reduce((sum, { pid }) => sum + cpuMs(pid), 0),
      machine: machineCpuMs(),
      at: performance.now(),
    });
    const before = read();
    return () => {
      const now = read();
      const processes = now.processes.map(({ name, ms }, index) => ({
        name,
        ms: ms - (before.processes[index]?.ms ?? 0),
      }));
      const serverMs = processes.reduce((sum, { ms }) => sum + ms, 0);
      const loadMs = now.load - before.load;
      const othersMs = Math.max(0, now.machine - before.machine - serverMs - loadMs);
      return { serverMs, processes, loadMs, othersMs, elapsedMs: now.at - before.at };
    };
  }

  figure(name: string, unit: string, value: number, target?: string): void {
    this.#figures.push({ name, unit, value, ...(target === undefined ? {} : { target }) });
  }

  /** CPU for each of what was done, and whose it was. */
  cost(name: string, { serverMs, processes }: Usage, count: number, target?: string): void {
    this.figure(name, 'µs', (1_000 * serverMs) / count, target);
    if (processes.length < 2) return;
    for (const process of processes) this.figure(`${name}: ${process.name}`, 'µs', (1_000 * process.ms) / count);
  }

  /** How much of a core each took: who was the slowest is read from this. */
  shares({ serverMs, processes, loadMs, othersMs, elapsedMs }: Usage): void {
    const share = (name: string, ms: number): void => {
      this.#figures.push({ name, unit: '% core', value: (100 * ms) / elapsedMs, isContext: true });
    };
    share('server', serverMs);
    if (processes.length > 1) for (const { name, ms } of processes) share(`server: ${name}`, ms);
    share('load generator', loadMs);
    share('everything else', othersMs);
    if (loadMs > 0.9 * elapsedMs) this.remark('the load generator was saturated: rates are bounded by it');
    if (othersMs > 0.15 * elapsedMs * availableParallelism()) {
      this.remark('the machine was busy with something else: do not trust times, and CPU only roughly');
    }
    if (serverMs < 2_000 && !this.isQuick) this.remark(`only ${serverMs} ms of CPU: read in steps of 10`);
  }

  latency(what: string, { p50Ms, p99Ms, p999Ms }: Published['delivery']): void {
    this.figure(`${what} p50`, 'ms', p50Ms);
    this.figure(`${what} p99`, 'ms', p99Ms);
    this.figure(`${what} p99.9`, 'ms', p999Ms);
  }

  remark(text: string): void {
    this.#remarks.push(text);
  }
}

/** Lists of orders as JSON, of exactly so many bytes, no two alike and the same in each run. */
function orders(): (mark: string, bytes: number) => string {
  let seed = 1;
  const below = (limit: number): number => {
    // Knuth's multiplier; its high bits are the random ones.
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((seed / 2 ** 32) * limit);
  };
  const digits = (count: number): string => Array.from({ length: count }, () => below(10)).join('');
  // Of one length each, so that all events are.
  const cities = ['Berlin', 'London', 'Madrid', 'Athens', 'Lisbon', 'Prague'];
  const states = ['shipped', 'pending', 'waiting', 'refused', 'ordered'];
  const one = (texts: readonly string[]): string => texts[below(texts.length)] ?? '';
  return (mark, bytes) => {
    let text = `{"mark":"${mark}","note":"","orders":[`;
    for (;;) {
      const order =
        `{"id":"${digits(8)}","price":${1 + below(9)}${digits(2)}.${digits(2)},"city":"${one(cities)}",` +
        `"state":"${one(states)}","at":"2026-11-${10 + below(20)}T1${digits(1)}:${10 + below(50)}:00Z"}`;
      if (text.length + order.length + 2 > bytes) break;
      text += `${text.endsWith('[') ? '' : ','}${order}`;
    }
    return `${text}]}`.replace('"note":"', (note) => note.padEnd(note.length + bytes - text.length - 2, '-'));
  };
}

function uint32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

const fanOut: Scenario = {
  name: 'fanout',
  title: 'Fan-out, saturated: 1,000 subscribers, 100-byte events, 4 and 32 in flight',
  async run(stage) {
    await stage.set(1);
    stage.prepareEvents(1);
    await stage.load.open(0, 1_000, 100);
    await stage.publish({ sockets: 32, seconds: stage.isQuick ? 0.5 : 1.5 });
    const few = await stage.publish({ sockets: 4, seconds: stage.isQuick ? 0.5 : 3.5 });
    stage.cost('CPU per delivery, 4 in flight', few.used, few.delivered, '≤ 1.2 × C++ (2.1 µs)');
    stage.figure('deliveries, 4 in flight', '1/s', (1_000 * few.delivered) / few.ms);
    const many = await stage.publish({ sockets: 32, seconds: stage.isQuick ? 0.5 : 3.5 });
    stage.cost('CPU per delivery, 32 in flight', many.used, many.delivered);
    stage.figure('deliveries, 32 in flight', '1/s', (1_000 * many.delivered) / many.ms);
    stage.shares(many.used);
  },
};

const fanOutPaced: Scenario = {
  name: 'paced',
  title: 'Fan-out, paced: 1,000 subscribers, 100-byte events, 50 a second',
  async run(stage) {
    await stage.set(1);
    stage.prepareEvents(1);
    await stage.load.open(0, 1_000, 100);
    await stage.publish({ sockets: 32, seconds: stage.isQuick ? 0.3 : 1 });
    const run = await stage.publish({ sockets: 32, perSecond: 50, seconds: stage.isQuick ? 1.2 : 6 });
    const target = '≤ 1.2 × C++ (8.1 µs)';
    stage.cost('CPU per delivery', run.used, run.delivered, target);
    stage.latency('publish to delivery', run.delivery);
    stage.shares(run.used);
  },
};

const compression: Scenario = {
  name: 'compression',
  group: 'compression',
  title:
    'Compression: 1,000 subscribers that offer permessage-deflate, JSON events of 100 and 2,000 bytes, 4 in flight',
  async run(stage) {
    await stage.set(1, {}, ['Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits']);
    await stage.load.open(0, 1_000, 100);
    for (const bytes of [100, 2_000]) {
      stage.prepareJsonEvents(bytes);
      await stage.publish({ sockets: 4, seconds: stage.isQuick ? 0.5 : 1.5 });
      const run = await stage.publish({ sockets: 4, seconds: stage.isQuick ? 0.5 : 3.5 });
      stage.cost(`CPU per delivery of ${bytes} bytes`, run.used, run.delivered);
      stage.figure(`on the wire, of ${bytes} bytes`, 'B', run.bytes / run.delivered);
      stage.figure(`deliveries of ${bytes} bytes`, '1/s', (1_000 * run.delivered) / run.ms);
      if (bytes > 100) stage.shares(run.used);
    }
  },
};

const manyChannels: Scenario = {
  name: 'channels',
  title: 'Many channels: 1,000 channels of 2 subscribers, 32 in flight',
  async run(stage) {
    const channels = stage.isQuick ? 500 : 1_000;
    await stage.set(channels);
    stage.prepareEvents(channels);
    await stage.load.open(0, 2 * channels, 100);
    await stage.publish({ sockets: 32, seconds: stage.isQuick ? 0.5 : 1.5 });
    const run = await stage.publish({ sockets: 32, seconds: stage.isQuick ? 0.7 : 4 });
    stage.cost('CPU per event', run.used, run.sent);
    stage.figure('events', '1/s', (1_000 * run.sent) / run.ms);
    stage.shares(run.used);
  },
};

const trigger: Scenario = {
  name: 'trigger',
  title: 'Trigger over HTTP: 16 kept-alive connections, nobody subscribed, signed where the server asks for it',
  async run(stage) {
    const { dialect } = stage;
    await stage.set(1);
    stage.prepareEvents(1);
    await stage.publish({ sockets: 16, seconds: stage.isQuick ? 0.5 : 1.5 });
    const usage = stage.startUsage();
    const run = await stage.publish({ sockets: 16, seconds: stage.isQuick ? 0.7 : 4 });
    const used = usage();
    const target = '≤ 0.65 × soketi (195 µs)';
    stage.cost('CPU per trigger', run.used, run.sent, target);
    stage.figure('triggers', '1/s', (1_000 * run.sent) / run.ms);
    stage.figure('answer p99', 'ms', run.reply.p99Ms);
    if (dialect.batchRequest !== undefined) {
      const batch = dialect.batchRequest;
      const names = Array.from({ length: 10 }, (_, index) => channelName(index));
      stage.prepare((_, data) => batch(names, data), 1, 100);
      await stage.publish({ sockets: 16, seconds: stage.isQuick ? 0.3 : 1 });
      const batches = await stage.publish({ sockets: 16, seconds: stage.isQuick ? 0.6 : 3 });
      stage.cost('CPU per batch of 10', batches.used, batches.sent);
      stage.figure('batches', '1/s', (1_000 * batches.sent) / batches.ms);
    }
    stage.shares(used);
  },
};

const socketPublish: Scenario = {
  name: 'publish',
  title: 'Publish over a connection: 16 that await each answer, then one with 256 under way; nobody subscribed',
  async run(stage) {
    const { publishing } = stage.dialect;
    if (publishing === undefined) {
      stage.remark('this server takes no publishes over a connection');
      return;
    }
    const publishers = 16;
    // All of a phase are below what an app may publish in a second, however fast they come.
    const total = stage.isQuick ? 16_000 : 80_000;
    await stage.set(1, {}, [], publishing.path);
    await stage.load.open(0, publishers, publishers);
    const each = Math.floor(total / publishers);
    await stage.load.talk(0, { ...publishing.talk, count: each / 10, round: 1 });
    await after(1_000);
    const usage = stage.startUsage();
    const talked = await stage.load.talk(0, { ...publishing.talk, count: each, round: 1 });
    const used = usage();
    stage.cost('CPU per publish, one under way each', used, each * publishers);
    stage.figure('publishes, one under way each', '1/s', (1_000 * each * publishers) / talked.ms);
    await stage.load.open(1, 1, 1);
    await after(1_000);
    const alone = stage.startUsage();
    const pipelined = await stage.load.talk(1, { ...publishing.talk, count: total, round: 256 });
    const usedAlone = alone();
    stage.cost('CPU per publish, one connection', usedAlone, total);
    stage.figure('publishes, one connection', '1/s', (1_000 * total) / pipelined.ms);
    stage.shares(usedAlone);
  },
};

const connecting: Scenario = {
  name: 'connect',
  title: 'Connect and subscribe: 8,000 newcomers, 100 at a time, after 2,000 that are not counted',
  async run(stage) {
    const count = stage.isQuick ? 1_000 : 8_000;
    await stage.set(1);
    await stage.load.open(0, stage.isQuick ? 500 : 2_000, 100);
    const usage = stage.startUsage();
    const opened = await stage.load.open(1, count, 100);
    const used = usage();
    stage.cost('CPU per connection', used, count);
    stage.figure('connections', '1/s', (1_000 * count) / opened.ms);
    if (opened.retries > 0) stage.remark(`${opened.retries} attempts failed and were repeated`);
    stage.shares(used);
  },
};

const idleMemory: Scenario = {
  name: 'memory',
  title: 'Idle memory of subscribed connections, beyond the first 500',
  async run(stage) {
    const wanted = stage.isQuick ? 2_000 : 10_000;
    const warm = 500;
    // Room for what else the server has open.
    const count = Math.min(wanted, openFilesLimit() - warm - 200);
    if (count < wanted) stage.remark(`ulimit -n allows ${openFilesLimit()} files: ${count} connections`);
    await stage.set(1, { nodeFlags: gcOnSignal });
    await stage.load.open(0, warm, 100);
    await after(1_000);
    const { server } = stage;
    const measure = () => memory(server.processes.map(({ pid }) => pid));
    const before = { plain: measure(), collected: measure() };
    if (await server.collectGarbage()) before.collected = measure();
    await stage.load.open(1, count, 100);
    await after(1_000);
    const plain = measure();
    const perConnection = (now: number, then: number): number => (now - then) / count / 1_024;
    const target = '≤ 8 KiB at 10,000';
    stage.figure('resident, as it is', 'KiB', perConnection(plain.rssBytes, before.plain.rssBytes));
    stage.figure('private, as it is', 'KiB', perConnection(plain.privateBytes, before.plain.privateBytes));
    if (await server.collectGarbage()) {
      const collected = measure();
      stage.figure(
        'private, garbage collected',
        'KiB',
        perConnection(collected.privateBytes, before.collected.privateBytes),
        target,
      );
    }
    stage.figure('whole process, resident', 'MiB', plain.rssBytes / 1_048_576);
  },
};

const latency: Scenario = {
  name: 'latency',
  title: 'Latency from the moment an event is due to its delivery: 100 subscribers, 100 events a second',
  async run(stage) {
    await stage.set(1);
    stage.prepareEvents(1);
    await stage.load.open(0, 100, 100);
    await stage.publish({ sockets: 32, seconds: stage.isQuick ? 0.3 : 1 });
    const run = await stage.publish({ sockets: 64, perSecond: 100, seconds: stage.isQuick ? 1.5 : 10 });
    stage.latency('publish to delivery', run.delivery);
    stage.cost('CPU per delivery', run.used, run.delivered);
    stage.shares(run.used);
  },
};

const storm: Scenario = {
  name: 'storm',
  title: 'Reconnect storm: 10,000 clients are cut and return at once while 100 events a second go to 100 others',
  async run(stage) {
    const wanted = stage.isQuick ? 1_000 : 10_000;
    // Room for what else the server has open.
    const clients = Math.min(wanted, openFilesLimit() - 600);
    if (clients < wanted) stage.remark(`ulimit -n allows ${openFilesLimit()} files: ${clients} clients`);
    await stage.set(1);
    stage.prepareEvents(1);
    await stage.load.open(0, 100, 100);
    await stage.publish({ sockets: 32, seconds: stage.isQuick ? 0.3 : 1 });
    const crowd = stage.addLoad(1);
    await crowd.open(1, clients, 100);
    const usage = stage.startUsage();
    // Only while the storm lasts: what is published in the calm would hide what it does.
    const seconds = stage.isQuick ? 0.4 : 2;
    const publishing = stage.publish({ sockets: 64, perSecond: 100, seconds });
    const back = await crowd.cut(1, clients);
    const during = await publishing;
    stage.figure('until all are back', 'ms', back.ms);
    stage.latency('publish to delivery', during.delivery);
    stage.figure('publish answered p99', 'ms', during.reply.p99Ms);
    stage.figure('publish answered, longest', 'ms', during.reply.maxMs);
    if (back.ms < 1_000 * seconds)
      stage.remark('the storm was over before the publishing: its percentiles hold some calm');
    if (back.retries > 0) stage.remark(`${back.retries} attempts failed and were repeated`);
    stage.shares(usage());
  },
};

/** Longer than an edge waits before it leaves a channel that nobody of its own is in, and Redis with it. */
const lingerMs = 3_000;

const joining: Scenario = {
  name: 'redis-channels',
  group: 'redis',
  title: 'Subscribing and leaving: 10 connections of 1,000 channels each, all different, 100 at a time for each',
  async run(stage) {
    const connections = 10;
    // By default an app lets a connection into 1,000, and each is in one already.
    const each = stage.isQuick ? 200 : 999;
    const total = connections * each;
    await stage.set(connections);
    await stage.load.open(0, connections, connections);
    const { load, server } = stage;
    const warmup = { count: 200, round: 100 };
    await load.talk(0, { ...pusherTalk.join, ...warmup });
    await load.talk(0, { ...pusherTalk.leave, ...warmup });
    await after(lingerMs);

    const order = { count: each, round: 100 };
    const heldBefore = await server.redisSubscriptions?.();
    const joinUsage = stage.startUsage();
    const joined = await load.talk(0, { ...pusherTalk.join, ...order });
    const join = joinUsage();
    const heldBetween = await server.redisSubscriptions?.();
    const leaveUsage = stage.startUsage();
    const left = await load.talk(0, { ...pusherTalk.leave, ...order });
    await after(lingerMs);
    const leave = leaveUsage();
    const heldAfter = await server.redisSubscriptions?.();
    if (heldBefore !== undefined && heldBetween !== heldBefore + total) {
      stage.remark(`Redis held ${heldBetween} subscriptions where ${heldBefore + total} were expected`);
    }
    if (heldAfter !== heldBefore) stage.remark(`Redis still held ${heldAfter} subscriptions, ${heldBefore} before`);
    stage.cost('CPU per channel subscribed', join, total);
    stage.figure('until all were answered', 's', joined.ms / 1_000);
    stage.cost('CPU per channel left', leave, total);
    stage.figure('until all orders to leave were read', 's', left.ms / 1_000);
    stage.shares(join);
  },
};

/** The same, over a server whose parts meet in Redis. */
const overRedis = (scenario: Scenario): Scenario => ({ ...scenario, name: `redis-${scenario.name}`, group: 'redis' });

/** How much more than one core does: on a machine of few, the load generator and Redis take theirs of them. */
const scaling: Scenario = {
  name: 'workers-fanout',
  group: 'workers',
  title: 'Fan-out over one Redis, by one worker and by two: 1,000 subscribers, 100-byte events, 32 in flight',
  async run(stage) {
    await stage.set(1);
    stage.prepareEvents(1);
    await stage.load.open(0, 1_000, 100);
    await stage.publish({ sockets: 32, seconds: stage.isQuick ? 0.5 : 1.5 });
    const run = await stage.publish({ sockets: 32, seconds: stage.isQuick ? 0.7 : 4 });
    stage.figure('deliveries', '1/s', (1_000 * run.delivered) / run.ms);
    stage.cost('CPU per delivery', run.used, run.delivered);
    stage.shares(run.used);
    stage.remark(`${availableParallelism()} cores, of which the load generator and Redis take their shares`);
  },
};

export const scenarios: readonly Scenario[] = [
  fanOut,
  fanOutPaced,
  manyChannels,
  trigger,
  socketPublish,
  connecting,
  idleMemory,
  latency,
  storm,
  compression,
  overRedis(fanOut),
  overRedis(fanOutPaced),
  overRedis(latency),
  joining,
  scaling,
];
