/** The HTTP server every program mounts its routes on: timeouts, TLS, prefix, error shape, operator's paths. */
import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import { STATUS_CODES } from 'node:http';
import { Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { type LimitState, type ProblemCode, problems, type Refusal, StarlingError } from '@starling/protocol';
import { type FastifyBaseLogger, type FastifyInstance, type FastifyReply, fastify, LogController } from 'fastify';
import { StartError } from './lifecycle.ts';
import type { Log } from './log.ts';
import type { MetricsText } from './metrics.ts';
import type { Readiness } from './readiness.ts';

export interface HttpServerOptions {
  readonly log: Log;
  readonly readiness: Readiness;
  readonly metrics: MetricsText;
  /** Whose X-Forwarded headers are believed: all, a number of proxies, or their addresses. */
  readonly trustProxy?: boolean | number | string[];
  /** Like `/realtime`, or empty. `request.originalUrl` keeps what the peer sent: signatures may cover either. */
  readonly pathPrefix?: string;
  /** Files in PEM; read again when they change. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string; readonly checkEveryMs?: number };
  /** From the connection's start to the end of the request's headers: a slow peer is cut then. */
  readonly headersTimeoutMs?: number;
  /** From the connection's start to the end of the request's body. */
  readonly requestTimeoutMs?: number;
}

export interface HttpServer {
  /** Mount routes here before `listen`. */
  readonly app: FastifyInstance;
  /** Resolves with the address as `http://127.0.0.1:6001`. */
  listen(host: string, port: number): Promise<string>;
  /** No new connections; requests in flight are answered; idle connections are ended. */
  close(): Promise<void>;
}

/** Builds it; nothing listens yet. */
export function openHttpServer(options: HttpServerOptions): HttpServer {
  const { log, readiness, metrics, trustProxy = false, pathPrefix = '', tls } = options;
  const headersTimeout = options.headersTimeoutMs ?? 10_000;
  const requestTimeout = Math.max(options.requestTimeoutMs ?? 30_000, headersTimeout);
  const timeouts = {
    headersTimeout,
    // Node looks at timeouts only this often.
    connectionsCheckingInterval: Math.min(1_000, headersTimeout),
  };
  const app: FastifyInstance = fastify({
    loggerInstance: log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: typeof trustProxy === 'number' ? (_address, hops) => hops < trustProxy : trustProxy,
    requestTimeout,
    // Longer than the 60 s after which the usual load balancers drop an idle connection, so that they do it first.
    keepAliveTimeout: 72_000,
    // What arrives while closing is answered like anything else: the stores close only after this server.
    return503OnClosing: false,
    routerOptions: { maxParamLength: 2_000 },
    rewriteUrl: (request) => withoutPrefix(request.url ?? '/', pathPrefix),
    frameworkErrors: (err, _request, reply) => send(reply, toHttpReply(err)),
    clientErrorHandler,
    ...(tls === undefined
      ? { http: timeouts }
      : { https: { ...timeouts, ...readTls(tls), handshakeTimeout: headersTimeout } }),
  });
  // Fastify makes a child of the log for each request; nothing here logs by request.
  app.setChildLoggerFactory((logger) => logger);
  app.setErrorHandler((err, request, reply) => {
    const answer = toHttpReply(err);
    if (answer.status >= 500)
      log.error({ err, method: request.method, path: request.url.split('?')[0] }, 'A request failed');
    return send(reply, answer);
  });
  app.setNotFoundHandler((request, reply) =>
    send(
      reply,
      toHttpReply({ code: 'route_unknown', message: `No such path: ${request.method} ${request.url.split('?')[0]}` }),
    ),
  );
  app.addHook('onSend', (_request, reply, payload, done) => {
    // Otherwise a busy keep-alive connection would outlive the listening socket.
    if (readiness.isStopping) reply.header('connection', 'close');
    done(null, payload);
  });

  app.get('/healthz', async () => ({ status: 'alive' }));
  app.get('/readyz', async (_request, reply) => {
    const { isReady, checks } = await readiness.read();
    return reply
      .code(isReady ? 200 : problems.unavailable.status)
      .header('cache-control', 'no-store')
      .send({ status: isReady ? 'ready' : 'not ready', checks });
  });
  app.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await metrics.read()));

  const sockets = new Set<Socket>();
  function forget(this: Socket): void {
    sockets.delete(this);
  }
  app.server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', forget);
  });

  const stopWatching = tls === undefined ? undefined : watchTls(app, tls, log);
  return {
    app,
    listen: async (host, port) => {
      // With Node's 511, clients that return together are dropped by the kernel and try again after 1, 3 and 7 s.
      await app.listen({ host, port, backlog: 4_096 }).catch((err: unknown) => {
        throw explained(err, host, port);
      });
      const { port: boundPort } = app.server.address() as AddressInfo;
      return `${tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${boundPort}`;
    },
    close: async () => {
      stopWatching?.();
      const closed = app.close();
      // Browsers and proxies open connections ahead. To Node only one that has had a request can be idle, so it would
      // wait for those that have sent nothing yet.
      for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
      await closed;
    },
  };
}

// ── Errors ───────────────────────────────────────────────────────────────────────────────────────────────────────

export interface HttpReply {
  readonly status: number;
  readonly body: { readonly error: string; readonly code: ProblemCode; readonly limit?: LimitState };
  readonly retryAfterSeconds: number | undefined;
  /** `Retry-After` and `RateLimit-*`, as far as they are known. */
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * The one way from a refusal or an error to an HTTP answer. A refusal's text is meant for the peer; of an error only
 * the code's public text is.
 */
export function toHttpReply(problem: Refusal | unknown, retryAfterSeconds?: number): HttpReply {
  const { code, message, limit, retrySeconds } = understood(problem);
  const { status, text } = problems[code];
  const mayRetry =
    (status === problems.unavailable.status || status === problems.rate_limited.status) && limit?.reset !== null;
  const seconds = retryAfterSeconds ?? retrySeconds ?? limit?.reset ?? 1;
  const retryAfter = mayRetry ? Math.max(1, Math.ceil(seconds)) : undefined;
  return {
    status,
    body: { error: message ?? text, code, ...(limit !== undefined && { limit }) },
    retryAfterSeconds: retryAfter,
    headers: {
      ...(retryAfter !== undefined && { 'retry-after': String(retryAfter) }),
      ...(limit !== undefined && limitHeaders(limit)),
    },
  };
}

function limitHeaders({ limit, remaining, reset }: LimitState): Record<string, string> {
  return {
    'ratelimit-limit': String(limit),
    'ratelimit-remaining': String(remaining),
    ...(reset !== null && { 'ratelimit-reset': String(reset) }),
  };
}

interface Understood {
  readonly code: ProblemCode;
  readonly message?: string;
  readonly limit?: LimitState;
  readonly retrySeconds?: number | undefined;
}

function understood(problem: unknown): Understood {
  if (problem instanceof StarlingError) return { code: problem.code, retrySeconds: problem.retryAfterSeconds };
  if (isRefusal(problem)) return problem;
  const status = problem instanceof Error && 'statusCode' in problem ? problem.statusCode : undefined;
  // Fastify's own: a body too large, JSON that does not parse, a path that does not decode.
  if (status === problems.request_too_large.status) return { code: 'request_too_large' };
  if (problem instanceof Error && typeof status === 'number' && status >= 400 && status < 500) {
    return { code: 'request_malformed', message: problem.message };
  }
  return { code: 'internal' };
}

function isRefusal(problem: unknown): problem is Refusal {
  return (
    typeof problem === 'object' &&
    problem !== null &&
    !(problem instanceof Error) &&
    'code' in problem &&
    typeof problem.code === 'string' &&
    Object.hasOwn(problems, problem.code)
  );
}

function send(reply: FastifyReply, { status, body, headers }: HttpReply): FastifyReply {
  return reply.code(status).headers(headers).send(body);
}

/** What is not HTTP, or came too slowly or too long: there is no request yet, so the answer is written by hand. */
function clientErrorHandler(err: Error & { readonly code?: string }, socket: Socket): void {
  if (socket.destroyed || err.code === 'ECONNRESET') return;
  const late = err.code === 'ERR_HTTP_REQUEST_TIMEOUT';
  const message = late
    ? 'The request did not arrive in time'
    : err.code === 'HPE_HEADER_OVERFLOW'
      ? 'The request headers are too large'
      : 'The request is not valid HTTP';
  const { status, body } = toHttpReply({ code: 'request_malformed', message });
  const text = JSON.stringify(body);
  if (socket.writable) {
    socket.write(
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
    );
  }
  socket.destroySoon();
}

// ── Paths and TLS ────────────────────────────────────────────────────────────────────────────────────────────────

function explained(err: unknown, host: string, port: number): unknown {
  const code = err instanceof Error && 'code' in err ? err.code : undefined;
  const at = `port ${port} of ${host}`;
  if (code === 'EADDRINUSE') return new StartError(`${at} is in use: end the other program, or set STARLING_PORT`);
  if (code === 'EACCES') return new StartError(`${at} is not ours to take: set STARLING_PORT to one above 1023`);
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
    return new StartError(`${host} is no address of this machine: set STARLING_HOST`);
  }
  return err;
}

function withoutPrefix(url: string, prefix: string): string {
  if (prefix === '' || !url.startsWith(prefix)) return url;
  const rest = url.slice(prefix.length);
  if (rest === '' || rest.startsWith('?')) return `/${rest}`;
  return rest.startsWith('/') ? rest : url;
}

type Tls = NonNullable<HttpServerOptions['tls']>;

function readTls({ certFile, keyFile }: Tls): { cert: Buffer; key: Buffer } {
  return { cert: readFileSync(certFile), key: readFileSync(keyFile) };
}

/** By looking at the files: notices of the system get lost where a certificate is a link that is switched. */
function watchTls(app: FastifyInstance, tls: Tls, log: Log): () => void {
  const files = [tls.certFile, tls.keyFile];
  const reread = () => {
    try {
      if (app.server instanceof TlsServer) app.server.setSecureContext(readTls(tls));
      log.info({ files }, 'The TLS certificate was read again');
    } catch (err) {
      // The two files change one after the other: between them they do not fit, and the second change comes here too.
      log.warn({ files, err }, 'The TLS certificate could not be read again: the former one stays in use');
    }
  };
  for (const file of files) watchFile(file, { interval: tls.checkEveryMs ?? 5_000, persistent: false }, reread);
  return () => {
    for (const file of files) unwatchFile(file, reread);
  };
}
