/** What is measured, and how each figure comes about. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import type { Children } from './children.ts';
import { channelName, type Dialect } from './dialects.ts';
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

/** Requests are replayed in turn: enough that one is answered and delivered long before its turn comes again. */
const slots = 4_000;

/** One scenario on one server: both processes, and what they use. */
export class Stage {
  readonly #deps: StageDeps;
  readonly #figures: Figure[] = [];
  readonly #remarks: string[] = [];
  readonly #raw: unknown[] = [];
  #server: RunningServer | null = null;
  #load: Load | null = null;

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
    if (this.#load === null) throw new Error('The stage is not set');
    return this.#load;
  }

  get outcome(): Outcome {
    return { figures: this.#figures, remarks: this.#remarks, raw: this.#raw };
  }

  /** Starts the server, and a load generator that speaks its dialect. */
  async set(channels: number, options: StartOptions = {}): Promise<void> {
    const { children, loadProgram, server, nodeFlags } = this.#deps;
    this.#server = await server.start({ nodeFlags: [...nodeFlags, ...(options.nodeFlags ?? [])] });
    this.#load = new Load(children, loadProgram, this.#server.port);
    this.load.order('path', this.dialect.path);
    this.load.order('channels', channels);
    for (const [expect, send] of this.dialect.steps) this.load.order('step', expect, send);
    if (this.dialect.answer !== undefined) this.load.order('answer', ...this.dialect.answer);
  }

  async strike(): Promise<void> {
    // The server first: otherwise its last act, and the end of its profile, would be thousands of cut connections.
    await this.#server?.stop(this.#deps.stopSignal);
    this.#load?.end();
  }

  /** Writes down the requests to replay: `dataBytes` of data each, to one channel after the other. */
  prepare(request: (channel: number, data: string) => Buffer, channels: number, dataBytes: number): void {
    const parts: Buffer[] = [uint32(slots)];
    for (let slot = 0; slot < slots; slot++) {
      const data = `#${String(slot).padStart(8, '0')}#`.padEnd(dataBytes, 'x');
      const bytes = request(slot % channels, data);
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

  /** Publishes, and says what it cost the server: `cpuMs` is of the whole run, sending to last delivery. */
  async publish(order: PublishOrder): Promise<Published & { readonly cpuMs: number }> {
    const usage = this.startUsage();
    const published = await this.load.publish(order);
    const used = usage();
    const { sent, expected, delivered, closed, closeCode, badLength, unknown } = published;
    this.#raw.push({ ...published, serverCpuMs: used.serverMs });
    if (delivered !== expected) this.remark(`${expected - delivered} of ${expected} deliveries did not arrive`);
    if (badLength > 0) this.remark(`${badLength} deliveries had another length than the first`);
    if (unknown > 0) this.remark(`${unknown} frames were no deliveries`);
    if (closed > 0) this.remark(`the server ended ${closed} connections, the last with ${closeCode}`);
    if (order.seconds !== undefined && order.perSecond !== undefined) {
      const due = Math.floor(order.seconds * order.perSecond);
      if (sent < due * 0.99) this.remark(`only ${sent} of ${due} events could be sent in time`);
    }
    return { ...published, cpuMs: used.serverMs };
  }

  /** The returned function says what has been used since. */
  startUsage(): () => { serverMs: number; loadMs: number; othersMs: number; elapsedMs: number } {
    const read = () => ({
      server: cpuMs(this.server.pid),
      load: cpuMs(this.load.pid),
      machine: machineCpuMs(),
      at: performance.now(),
    });
    const before = read();
    return () => {
      const now = read();
      const serverMs = now.server - before.server;
      const loadMs = now.load - before.load;
      const othersMs = Math.max(0, now.machine - before.machine - serverMs - loadMs);
      return { serverMs, loadMs, othersMs, elapsedMs: now.at - before.at };
    };
  }

  figure(name: string, unit: string, value: number, target?: string): void {
    this.#figures.push({ name, unit, value, ...(target === undefined ? {} : { target }) });
  }

  /** How much of a core each took: who was the slowest is read from this. */
  shares({ serverMs, loadMs, othersMs, elapsedMs }: ReturnType<ReturnType<Stage['startUsage']>>): void {
    const share = (name: string, ms: number): void => {
      this.#figures.push({ name, unit: '% core', value: (100 * ms) / elapsedMs, isContext: true });
    };
    share('server', serverMs);
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
    stage.figure('CPU per delivery, 4 in flight', 'µs', (1_000 * few.cpuMs) / few.delivered, '≤ 1.2 × C++ (2.1 µs)');
    stage.figure('deliveries, 4 in flight', '1/s', (1_000 * few.delivered) / few.ms);
    const usage = stage.startUsage();
    const many = await stage.publish({ sockets: 32, seconds: stage.isQuick ? 0.5 : 3.5 });
    const used = usage();
    stage.figure('CPU per delivery, 32 in flight', 'µs', (1_000 * many.cpuMs) / many.delivered);
    stage.figure('deliveries, 32 in flight', '1/s', (1_000 * many.delivered) / many.ms);
    stage.shares(used);
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
    const usage = stage.startUsage();
    const run = await stage.publish({ sockets: 32, perSecond: 50, seconds: stage.isQuick ? 1.2 : 6 });
    const used = usage();
    const target = '≤ 1.2 × C++ (8.1 µs)';
    stage.figure('CPU per delivery', 'µs', (1_000 * run.cpuMs) / run.delivered, target);
    stage.latency('publish to delivery', run.delivery);
    stage.shares(used);
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
    const usage = stage.startUsage();
    const run = await stage.publish({ sockets: 32, seconds: stage.isQuick ? 0.7 : 4 });
    const used = usage();
    stage.figure('CPU per event', 'µs', (1_000 * run.cpuMs) / run.sent);
    stage.figure('events', '1/s', (1_000 * run.sent) / run.ms);
    stage.shares(used);
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
    stage.figure('CPU per trigger', 'µs', (1_000 * run.cpuMs) / run.sent, target);
    stage.figure('triggers', '1/s', (1_000 * run.sent) / run.ms);
    stage.figure('answer p99', 'ms', run.reply.p99Ms);
    if (dialect.batchRequest !== undefined) {
      const batch = dialect.batchRequest;
      const names = Array.from({ length: 10 }, (_, index) => channelName(index));
      stage.prepare((_, data) => batch(names, data), 1, 100);
      await stage.publish({ sockets: 16, seconds: stage.isQuick ? 0.3 : 1 });
      const batches = await stage.publish({ sockets: 16, seconds: stage.isQuick ? 0.6 : 3 });
      stage.figure('CPU per batch of 10', 'µs', (1_000 * batches.cpuMs) / batches.sent);
      stage.figure('batches', '1/s', (1_000 * batches.sent) / batches.ms);
    }
    stage.shares(used);
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
    stage.figure('CPU per connection', 'µs', (1_000 * used.serverMs) / count);
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
    const before = { plain: memory(server.pid), collected: memory(server.pid) };
    if (await server.collectGarbage()) before.collected = memory(server.pid);
    await stage.load.open(1, count, 100);
    await after(1_000);
    const plain = memory(server.pid);
    const perConnection = (now: number, then: number): number => (now - then) / count / 1_024;
    const target = '≤ 8 KiB at 10,000';
    stage.figure('resident, as it is', 'KiB', perConnection(plain.rssBytes, before.plain.rssBytes));
    stage.figure('private, as it is', 'KiB', perConnection(plain.privateBytes, before.plain.privateBytes));
    if (await server.collectGarbage()) {
      const collected = memory(server.pid);
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
    const usage = stage.startUsage();
    const run = await stage.publish({ sockets: 64, perSecond: 100, seconds: stage.isQuick ? 1.5 : 10 });
    const used = usage();
    stage.latency('publish to delivery', run.delivery);
    stage.figure('CPU per delivery', 'µs', (1_000 * used.serverMs) / run.delivered);
    stage.shares(used);
  },
};

const storm: Scenario = {
  name: 'storm',
  title: 'Reconnect storm: 2,000 clients are cut and return at once while 100 events a second go to 100 others',
  async run(stage) {
    const clients = stage.isQuick ? 1_000 : 2_000;
    await stage.set(1);
    stage.prepareEvents(1);
    await stage.load.open(0, 100, 100);
    await stage.publish({ sockets: 32, seconds: stage.isQuick ? 0.3 : 1 });
    await stage.load.open(1, clients, 100);
    const usage = stage.startUsage();
    const publishing = stage.publish({ sockets: 64, perSecond: 100, seconds: stage.isQuick ? 2 : 6 });
    await after(300);
    const back = await stage.load.cut(1, clients);
    const during = await publishing;
    stage.figure('until all are back', 'ms', back.ms);
    stage.latency('publish to delivery', during.delivery);
    stage.figure('publish answered, longest', 'ms', during.reply.maxMs);
    if (back.retries > 0) stage.remark(`${back.retries} attempts failed and were repeated`);
    stage.shares(usage());
  },
};

export const scenarios: readonly Scenario[] = [
  fanOut,
  fanOutPaced,
  manyChannels,
  trigger,
  connecting,
  idleMemory,
  latency,
  storm,
];
