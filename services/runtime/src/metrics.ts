/** What an operator's Prometheus reads. Nothing is counted here: plain integers kept elsewhere are read when asked. */
import { AggregatorRegistry, Counter, collectDefaultMetrics, Gauge, type MetricObject, Registry } from 'prom-client';
import { LogOutput } from './output.ts';

/** One app's counts on this node, as core's `AppTraffic` keeps them. */
export interface TrafficCounts {
  readonly connections: number;
  readonly subscriptions: number;
  readonly connectionsOpened: number;
  readonly framesIn: number;
  readonly requestsIn: number;
  readonly receivedBytes: number;
  readonly published: number;
  readonly clientEvents: number;
  readonly delivered: number;
  readonly deliveredBytes: number;
  readonly shareRefusals: number;
  readonly refusals: ReadonlyMap<string, number>;
}

export interface TrafficSource {
  byApp(): ReadonlyMap<string, TrafficCounts>;
  readonly unknownApp: TrafficCounts;
}

type Count = Exclude<keyof TrafficCounts, 'refusals'>;

const gauges: ReadonlyArray<readonly [string, Count, string]> = [
  ['starling_connections', 'connections', 'Connections open now'],
  ['starling_subscriptions', 'subscriptions', 'Subscriptions held now'],
];
const counters: ReadonlyArray<readonly [string, Count, string]> = [
  ['starling_connections_opened_total', 'connectionsOpened', 'Connections opened'],
  ['starling_frames_received_total', 'framesIn', 'Frames received from clients'],
  ['starling_requests_total', 'requestsIn', 'Signed requests of backends'],
  ['starling_received_bytes_total', 'receivedBytes', 'Bytes of what clients and backends sent'],
  ['starling_published_total', 'published', 'Messages published by backends, one per channel'],
  ['starling_client_events_total', 'clientEvents', 'Messages published by clients'],
  ['starling_delivered_total', 'delivered', 'Frames queued to clients'],
  ['starling_delivered_bytes_total', 'deliveredBytes', 'Bytes queued to clients, framing included'],
  [
    'starling_share_refused_total',
    'shareRefusals',
    'What was refused since the app had had its share of a busy process',
  ],
];

/** What is read of metrics. */
export interface MetricsText {
  readonly contentType: string;
  /** Prometheus text. */
  read(): Promise<string>;
}

/** All numbers of one process at one moment, to be sent to another. */
export type MetricsSnapshot = readonly MetricObject[];

/**
 * The numbers of several processes as one Prometheus text. Nothing is added up: each process labels its own, and a sum
 * over processes would fall, and look like a restart of all, whenever one of them is replaced.
 */
export function mergeMetrics(snapshots: readonly MetricsSnapshot[]): Promise<string> {
  // The library would leave some out, and take the mean of others.
  const all = snapshots.map((snapshot) => snapshot.map((metric) => ({ ...metric, aggregator: 'sum' as const })));
  return AggregatorRegistry.aggregate(all).metrics();
}

export class Metrics implements MetricsText {
  readonly #registry = new Registry();

  /** The labels are given to every number. */
  constructor(labels: Readonly<Record<string, string>> = {}) {
    this.#registry.setDefaultLabels(labels);
    // Memory, CPU, garbage collection, open files, event-loop lag.
    collectDefaultMetrics({ register: this.#registry });
    this.watchNumber(
      'starling_log_lines_dropped_total',
      'Lines of the log that were not written, since what reads it was gone, full or too slow',
      () => LogOutput.dropped,
    );
  }

  /** From now on every read includes these counts. `app` is the app's id, or empty for refusals that named no app. */
  watchTraffic(traffic: TrafficSource): void {
    const registers = [this.#registry];
    for (const [name, count, help] of gauges) {
      new Gauge({
        name,
        help,
        labelNames: ['app'],
        registers,
        collect() {
          this.reset();
          for (const [app, counts] of traffic.byApp()) this.set({ app }, counts[count]);
        },
      });
    }
    for (const [name, count, help] of counters) {
      new Counter({
        name,
        help,
        labelNames: ['app'],
        registers,
        collect() {
          this.reset();
          for (const [app, counts] of traffic.byApp()) this.inc({ app }, counts[count]);
        },
      });
    }
    new Counter({
      name: 'starling_refused_total',
      help: 'What was refused, by the rule that refused it',
      labelNames: ['app', 'code'],
      registers,
      collect() {
        this.reset();
        for (const [app, counts] of [['', traffic.unknownApp] as const, ...traffic.byApp()]) {
          for (const [code, times] of counts.refusals) this.inc({ app, code }, times);
        }
      },
    });
  }

  /** From now on every read includes how many defects there were, by kind. */
  watchDefects(counts: ReadonlyMap<string, number>): void {
    new Counter({
      name: 'starling_defects_total',
      help: 'Faults of this program that cost one connection, request or message, by what threw',
      labelNames: ['kind'],
      registers: [this.#registry],
      collect() {
        this.reset();
        for (const [kind, count] of counts) this.inc({ kind }, count);
      },
    });
  }

  /** From now on every read includes this number. One that only grows is a counter, and its name ends in `_total`. */
  watchNumber(name: string, help: string, read: () => number): void {
    const registers = [this.#registry];
    if (name.endsWith('_total')) {
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(read());
        },
      });
    } else {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    }
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  read(): Promise<string> {
    return this.#registry.metrics();
  }

  snapshot(): Promise<MetricsSnapshot> {
    return this.#registry.getMetricsAsJSON();
  }
}
