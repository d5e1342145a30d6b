/** The API over the HTTP server that programs mount it on and memory stores, and a signer that shares no code with it. */
import { createHash, createHmac } from 'node:crypto';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import {
  FakeClock,
  MemoryAppStore,
  MemoryBroker,
  MemoryPresenceStore,
  MemoryRateLimiter,
} from '@starling/adapters/memory';
import { Traffic } from '@starling/core';
import { type App, type BrokerMessage, channelTopic, type Observer, type Topic } from '@starling/ports';
import { appOf } from '@starling/ports/contract';
import { createLog, openHttpServer, openPort, Readiness } from '@starling/runtime';
import { onTestFinished } from 'vitest';
import { type ApiDeps, api } from '../src/app.ts';

export const key = '278d425bdf160c739803';
export const secret = '7ad3773142a6692b25b8';

export const app3 = appOf('3', {
  keys: [{ key, secret, isEnabled: true }],
  hasClientEvents: true,
  hasSubscriptionCounts: true,
});

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly json: unknown;
}

export interface Delivery {
  readonly topic: Topic;
  readonly message: BrokerMessage;
  readonly frame: unknown;
}

export interface StartOptions {
  readonly apps?: readonly App[];
  readonly nowMs?: number;
  readonly pathPrefix?: string;
  readonly broker?: (clock: FakeClock) => MemoryBroker;
  readonly bodyLimits?: ApiDeps['bodyLimits'];
}

export async function startApi(options: StartOptions = {}) {
  const clock = new FakeClock(options.nowMs ?? Date.now());
  const broker = options.broker?.(clock) ?? new MemoryBroker(clock);
  const presenceStore = new MemoryPresenceStore(broker);
  const appStore = new MemoryAppStore(options.apps ?? [app3], () => clock.now());
  const traffic = new Traffic();
  const problems: unknown[] = [];
  const observer: Observer = {
    notes: false,
    note: () => {},
    problem: (what, details) => problems.push({ what, ...details }),
    defect: (kind, err, details) => problems.push({ what: `defect: ${kind}`, err, ...details }),
  };
  const pathPrefix = options.pathPrefix ?? '';
  const server = openHttpServer({
    log: createLog({ level: 'error', isReadable: false }),
    readiness: new Readiness([], observer),
    observer,
    pathPrefix,
  });
  await server.app.register(
    api({
      appStore,
      revoker: appStore,
      broker,
      presenceStore,
      rateLimiter: new MemoryRateLimiter(clock),
      traffic,
      clock,
      observer,
      pathPrefix,
      ...(options.bodyLimits !== undefined && { bodyLimits: options.bodyLimits }),
    }),
  );
  const port = Number(new URL(await server.serve(await openPort({ host: '127.0.0.1', port: 0 }))).port);
  onTestFinished(() => server.close());

  const deliveries: Delivery[] = [];
  broker.listen((topic, message) => {
    const text = Buffer.from(message.payload).toString();
    deliveries.push({ topic, message, frame: text === '' ? null : JSON.parse(text) });
  });

  const send = (method: string, target: string, body?: string | Buffer, headers: Record<string, string> = {}) =>
    sendRaw(port, method, target, body, headers);
  const nowSeconds = () => Math.floor(clock.now() / 1000);

  return {
    port,
    clock,
    broker,
    presenceStore,
    appStore,
    traffic,
    problems,
    deliveries,
    /** As is: nothing is signed or encoded. */
    send,
    /** Sends what `sign` makes of it, with the clock's time. */
    call: (method: string, path: string, given: Omit<Signable, 'method' | 'path'> = {}) => {
      const target = sign({ timestamp: nowSeconds(), ...given, method, path });
      return send(method, target, given.body);
    },
    /** `POST /apps/3/events`. */
    trigger: (fields: unknown) => {
      const body = JSON.stringify(fields);
      const path = '/apps/3/events';
      return send('POST', sign({ timestamp: nowSeconds(), method: 'POST', path, body }), body);
    },
    nowSeconds,
    subscribe: async (...channels: string[]) => {
      for (const channel of channels) await broker.subscribe(channelTopic('3', channel));
    },
    join: async (channel: string, socketId: string, userId?: string) => {
      const topic = channelTopic('3', channel);
      const member = userId === undefined ? {} : { member: { userId, userInfo: 'null' } };
      await presenceStore.join({ topic, socketId, ...member });
    },
  };
}

export interface Signable {
  readonly method: string;
  readonly path: string;
  readonly query?: ReadonlyArray<readonly [string, string]>;
  readonly body?: string | Buffer;
  readonly timestamp?: number;
  readonly key?: string;
  readonly secret?: string;
  /** Where the client signs another path than it sends. */
  readonly signedPath?: string;
  /** How values are written into the URL; the signature is over them as given. */
  readonly encode?: (value: string) => string;
}

/** The request target. */
export function sign(request: Signable): string {
  const query: Array<readonly [string, string]> = [
    ['auth_version', '1.0'],
    ...(request.query ?? []),
    ['auth_timestamp', String(request.timestamp ?? Math.floor(Date.now() / 1000))],
    ['auth_key', request.key ?? key],
  ];
  if (request.body !== undefined && request.body.length > 0) query.push(['body_md5', md5(request.body)]);
  return signQuery(request, query);
}

/** With exactly these parameters. */
export function signQuery(request: Signable, query: ReadonlyArray<readonly [string, string]>): string {
  const sorted = query
    .map(([name, value], index) => ({ name: name.toLowerCase(), value, index }))
    .sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)) || a.index - b.index);
  const text = [
    request.method,
    request.signedPath ?? request.path,
    sorted.map(({ name, value }) => `${name}=${value}`).join('&'),
  ].join('\n');
  const signature = createHmac('sha256', request.secret ?? secret)
    .update(text)
    .digest('hex');
  const encode = request.encode ?? ((value) => value);
  const pairs = [...query, ['auth_signature', signature] as const].map(([name, value]) => `${name}=${encode(value)}`);
  return `${request.path}?${pairs.join('&')}`;
}

export function md5(body: string | Buffer): string {
  return createHash('md5').update(body).digest('hex');
}

function sendRaw(
  port: number,
  method: string,
  path: string,
  body: string | Buffer | undefined,
  headers: Record<string, string>,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const isSized = body !== undefined && headers['transfer-encoding'] === undefined;
    const length = isSized ? { 'content-length': String(Buffer.byteLength(body)) } : {};
    const req = httpRequest({ host: '127.0.0.1', port, method, path, headers: { ...length, ...headers } }, (res) => {
      const chunks: Buffer[] = [];
      res.on('data', (chunk: Buffer) => chunks.push(chunk));
      res.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        resolve({
          status: res.statusCode ?? 0,
          headers: res.headers,
          text,
          json: text === '' ? null : JSON.parse(text),
        });
      });
    });
    req.on('error', reject);
    req.end(body);
  });
}
