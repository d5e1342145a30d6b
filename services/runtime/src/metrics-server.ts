/** Who may read the metrics: whoever reaches a port of their own, or knows a token. They name every app, and cost CPU. */
import { hash, timingSafeEqual } from 'node:crypto';
import { createServer, type RequestListener } from 'node:http';
import type { Observer } from '@starling/ports';
import { toHttpReply } from './http-reply.ts';
import { authorityOf, explained, listen } from './listening.ts';
import type { MetricsText } from './metrics.ts';

export interface GuardedMetrics {
  readonly text: MetricsText;
  /** What `Authorization: Bearer` must hold. */
  readonly token: string;
}

export interface MetricsServerOptions {
  readonly text: MetricsText;
  /** Undefined: whoever reaches the port may read. */
  readonly token: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly observer: Pick<Observer, 'defect'>;
}

export interface MetricsServer {
  /** As `http://127.0.0.1:9100`. */
  readonly url: string;
  close(): Promise<void>;
}

export interface MetricsAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Of those who ask while the numbers are read, all get that one reading. */
const reading = new WeakMap<MetricsText, Promise<string>>();

export async function metricsAnswer(
  { text, token }: Pick<MetricsServerOptions, 'text' | 'token'>,
  authorization: string | undefined,
): Promise<MetricsAnswer> {
  if (token !== undefined && !isToken(authorization, token)) {
    const message = 'The metrics need the header Authorization: Bearer, with the token of STARLING_METRICS_TOKEN';
    return jsonAnswer(toHttpReply({ code: 'request_unauthenticated', message }), { 'www-authenticate': 'Bearer' });
  }
  let read = reading.get(text);
  if (read === undefined) {
    read = text.read().finally(() => reading.delete(text));
    reading.set(text, read);
  }
  return { status: 200, headers: { 'content-type': text.contentType, 'cache-control': 'no-store' }, body: await read };
}

function jsonAnswer({ status, body }: ReturnType<typeof toHttpReply>, headers: Record<string, string> = {}) {
  return {
    status,
    headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
    body: JSON.stringify(body),
  };
}

/** In a time that tells nothing of how much of it was right. */
function isToken(authorization: string | undefined, token: string): boolean {
  const [, given = ''] = /^Bearer +(\S+) *$/i.exec(authorization ?? '') ?? [];
  return timingSafeEqual(hash('sha256', given, 'buffer'), hash('sha256', token, 'buffer'));
}

/** `/metrics` and nothing else, on a port that need not be reachable from where clients are. */
export async function openMetricsServer(options: MetricsServerOptions): Promise<MetricsServer> {
  const { host, port, observer } = options;
  const answer: RequestListener = async (request, response) => {
    try {
      const { status, headers, body } =
        request.method === 'GET' && request.url?.split('?', 1)[0] === '/metrics'
          ? await metricsAnswer(options, request.headers.authorization)
          : jsonAnswer(toHttpReply({ code: 'route_unknown', message: 'Only GET /metrics is answered here' }));
      response.writeHead(status, headers).end(body);
    } catch (err) {
      observer.defect('request', err);
      response.destroy();
    }
  };
  const server = createServer({ headersTimeout: 10_000, requestTimeout: 10_000, keepAliveTimeout: 72_000 }, answer);
  server.maxConnections = 100;
  await listen(server, { host, port }).catch((err: unknown) => {
    throw explained(err, host, port, 'STARLING_METRICS_PORT', 'STARLING_METRICS_HOST');
  });
  server.on('error', (err) => observer.defect('connection', err));
  return {
    url: `http://${authorityOf(server, host)}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
