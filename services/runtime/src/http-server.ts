/** The HTTP server every program mounts its routes on: limits, timeouts, TLS, prefix, error shape, operator's paths. */
import { unwatchFile, watchFile } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener, type Server, STATUS_CODES } from 'node:http';
import { createServer as createTlsServer, Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fence, type Observer } from '@starling/ports';
import { problems, StarlingError } from '@starling/protocol';
import { type FastifyBaseLogger, type FastifyInstance, type FastifyRequest, fastify, LogController } from 'fastify';
import { sendReply, toHttpReply } from './http-reply.ts';
import { type Log, PinoObserver } from './log.ts';
import { type GuardedMetrics, metricsAnswer } from './metrics-server.ts';
import { oneAtATime } from './pipelining.ts';
import type { Port } from './port.ts';
import type { Readiness } from './readiness.ts';
import { SocketBounds, type SocketLimits } from './socket-bounds.ts';
import { readTlsFiles } from './tls-files.ts';

export interface HttpServerOptions {
  readonly log: Log;
  readonly readiness: Readiness;
  /** Served at `/metrics` to those who know the token. Without it that path is unknown: see `openMetricsServer`. */
  readonly metrics?: GuardedMetrics;
  /** Told of what throws in a callback of a socket. Default: one that logs. */
  readonly observer?: Pick<Observer, 'defect'>;
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
  /** Of a request's line and headers together. */
  readonly maxHeaderBytes?: number;
  readonly sockets?: SocketLimits;
}

export interface HttpServer {
  /** Mount routes here before `serve`. */
  readonly app: FastifyInstance;
  /** How many connections were refused because there were too many. */
  readonly refusedSockets: number;
  /** How many connections there are, WebSockets among them. */
  readonly openSockets: number;
  /** Takes the port's connections, from when it resolves: with the address, as `http://127.0.0.1:6001`. */
  serve(port: Port): Promise<string>;
  /**
   * Resolves when each connection has begun a request, or after the limit: of one that was made just before the port was
   * closed the request may be on its way.
   */
  heardAll(limitMs: number): Promise<void>;
  /** No new connections; requests in flight are answered; idle connections are ended. */
  close(): Promise<void>;
}

/** A client that keeps its connection for so many requests is made to open another, which may go to another worker. */
const requestsPerSocketMax = 100_000;
/** Of a refused request: a body up to this size is read and thrown away, so that its connection can go on. */
const discardedBytesMax = 2 * 1024 * 1024;

/** In a stop: for the rest of a request that has begun to arrive. */
const halfRequestLimitMs = 1_000;
/** How often those are looked for that have not said anything. */
const silencePollMs = 20;

/** Builds it; nothing listens yet. */
export function openHttpServer(options: HttpServerOptions): HttpServer {
  const { log, readiness, metrics, trustProxy = false, pathPrefix = '', tls } = options;
  const observer = options.observer ?? new PinoObserver(log);
  const headersTimeout = options.headersTimeoutMs ?? 10_000;
  const settings = {
    headersTimeout,
    requestTimeout: Math.max(options.requestTimeoutMs ?? 30_000, headersTimeout),
    // Longer than the 60 s after which the usual load balancers drop an idle connection, so that they do it first.
    keepAliveTimeout: 72_000,
    // Node looks at timeouts only this often.
    connectionsCheckingInterval: Math.min(1_000, headersTimeout),
    maxHeaderSize: options.maxHeaderBytes ?? 16_384,
    // The defaults; a start with --insecure-http-parser would change the first.
    insecureHTTPParser: false,
    requireHostHeader: true,
  };
  const bounds = new SocketBounds({
    // Behind a proxy all connections come from one address.
    ...(trustProxy !== false && { unfinishedPerAddress: Number.POSITIVE_INFINITY }),
    ...options.sockets,
  });
  let isAnswering = (_socket: Socket): boolean => false;
  let isClosing = false;
  const serverFactory = (handler: RequestListener): Server => {
    const server =
      tls === undefined
        ? createServer(settings)
        : createTlsServer({ ...settings, ...readTlsFiles(tls), handshakeTimeout: headersTimeout });
    server.maxRequestsPerSocket = requestsPerSocketMax;
    const requests = oneAtATime((request, response) => {
      try {
        bounds.finished(request.socket);
        if (request.httpVersionMajor < 1) {
          // HTTP/0.9, which Node's parser still takes: it has no headers, and its end is no end of a request to others.
          answerClientError(new Error('HTTP/0.9'), request.socket);
          return;
        }
        toOriginForm(request);
        handler(request, response);
      } catch (err) {
        observer.defect('request', err);
        request.socket.destroy();
      }
    });
    isAnswering = requests.isAnswering;
    server.on('request', requests.listener);
    // In the place of Node's own listener, which asks for the body at once: it is asked for when it is wanted.
    server.on('checkContinue', requests.listener);
    return server;
  };
  const app: FastifyInstance = fastify({
    loggerInstance: log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: typeof trustProxy === 'number' ? (_address, hops) => hops < trustProxy : trustProxy,
    // What arrives while closing is answered like anything else: the stores close only after this server.
    return503OnClosing: false,
    routerOptions: { maxParamLength: 2_000 },
    rewriteUrl: (request) => withoutPrefix(request.url ?? '/', pathPrefix),
    frameworkErrors: (err, _request, reply) => sendReply(reply, toHttpReply(err)),
    clientErrorHandler: (err, socket) => {
      try {
        answerClientError(err, socket);
      } catch (second) {
        observer.defect('connection', second);
        socket.destroy();
      }
    },
    serverFactory,
  });
  // Whoever takes bodies says so. Otherwise a body for an unknown path would be read and parsed before its 404.
  app.removeAllContentTypeParsers();
  // Fastify makes a child of the log for each request; nothing here logs by request.
  app.setChildLoggerFactory((logger) => logger);
  app.setErrorHandler((err, request, reply) => {
    const answer = toHttpReply(err);
    if (answer.status >= 500) observer.defect('request', err, { method: request.method, path: pathOf(request) });
    return sendReply(reply, answer);
  });
  app.setNotFoundHandler((request, reply) => {
    const message = `No such path: ${request.method} ${pathOf(request)}`;
    return sendReply(reply, toHttpReply({ code: 'route_unknown', message }));
  });
  app.addHook('onRequest', (request, _reply, done) => done(problemOfHeaders(request)));
  app.addHook('preParsing', (request, reply, _payload, done) => {
    if (request.headers.expect !== undefined && hasBody(request) && !request.is404) {
      reply.raw.writeContinue();
      continued.add(request);
    }
    done();
  });
  app.addHook('onSend', (request, reply, payload, done) => {
    // Otherwise a busy keep-alive connection would outlive the listening socket.
    if (readiness.isStopping || isClosing || isLeftUnread(request)) reply.header('connection', 'close');
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
  if (metrics !== undefined) {
    app.get('/metrics', async (request, reply) => {
      const { status, headers, body } = await metricsAnswer(metrics, request.headers.authorization);
      return reply.code(status).headers(headers).send(body);
    });
  }

  const { server } = app;
  server.on('connection', (socket: Socket) => {
    if (!bounds.admit(socket)) {
      // The cheapest room there is: connections whose last request has been answered.
      server.closeIdleConnections();
      socket.destroy();
    }
  });
  /** Those that HTTP reads: with TLS others than those accepted. */
  const talking = tls === undefined ? bounds.open : new Set<Socket>();
  if (tls !== undefined) {
    server.on('secureConnection', (socket: Socket) => {
      talking.add(socket);
      socket.once('close', () => talking.delete(socket));
    });
  }
  const onUpgrade = (request: IncomingMessage): void => {
    bounds.finished(request.socket);
    toOriginForm(request);
  };

  const stopWatching = tls === undefined ? undefined : watchTls(app, tls, log);
  let served: Port | undefined;
  return {
    app,
    get refusedSockets() {
      return bounds.refused;
    },
    get openSockets() {
      return bounds.open.size;
    },
    serve: async (port) => {
      await app.ready();
      // First of those that take upgrades, if any does: without one Node would answer such a request as any other.
      if (server.listenerCount('upgrade') > 0) server.prependListener('upgrade', onUpgrade);
      // It listens nowhere itself. From this event on Node looks after the timeouts of its connections.
      server.emit('listening');
      served = port;
      server.on('error', (err) => observer.defect('connection', err));
      const receive = fence(
        observer,
        'connection',
        (socket: Socket) => {
          // As sockets of Node's own servers are: HTTP answers a peer that has ended its side, TLS ends with it.
          socket.allowHalfOpen = tls === undefined;
          server.emit('connection', socket);
          socket.resume();
        },
        (socket) => socket.destroy(),
      );
      port.serve((socket) => {
        receive(socket);
        return true;
      });
      return `${tls === undefined ? 'http' : 'https'}://${port.authority}`;
    },
    heardAll: async (limitMs) => {
      const beganAt = performance.now();
      const isSilent = (socket: Socket) => socket.bytesRead === 0;
      while ([...bounds.open].some(isSilent) && performance.now() - beganAt < limitMs) await delay(silencePollMs);
    },
    close: async () => {
      isClosing = true;
      stopWatching?.();
      await served?.close();
      server.removeListener('upgrade', onUpgrade);
      const closed = app.close();
      // Browsers and proxies open connections ahead. To Node only one that has had a request can be idle, so it would
      // wait for those that have sent nothing yet.
      for (const socket of bounds.open) if (socket.bytesRead === 0) socket.destroy();
      const patience = setTimeout(() => {
        for (const socket of talking) if (!isAnswering(socket)) socket.destroy();
      }, halfRequestLimitMs);
      await closed;
      server.close();
      await bounds.allClosed();
      clearTimeout(patience);
    },
  };
}

// ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Requests whose client was told to send the body. */
const continued = new WeakSet<FastifyRequest>();

function hasBody({ headers }: FastifyRequest): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/**
 * Whether the answer comes before the body, and the connection cannot go on behind it: the body is too large to be thrown
 * away, or has no stated end, or may never be sent because the client waits for a word that it did not get.
 */
function isLeftUnread(request: FastifyRequest): boolean {
  const { headers, raw } = request;
  if (raw.complete || !hasBody(request)) return false;
  return (
    headers['transfer-encoding'] !== undefined ||
    Number(headers['content-length']) > discardedBytesMax ||
    (headers.expect !== undefined && !continued.has(request))
  );
}

/** What Node's parser lets through and no route wants: RFC 9112, 3.2, and RFC 9110, 8.4. */
function problemOfHeaders({ raw }: FastifyRequest): StarlingError | undefined {
  let hosts = 0;
  for (let index = 0; index < raw.rawHeaders.length; index += 2) {
    const name = raw.rawHeaders[index];
    if (name?.length === 4 && name.toLowerCase() === 'host') hosts++;
  }
  if (hosts > 1) return new StarlingError('host_ambiguous', problems.host_ambiguous.text);
  const encoding = raw.headers['content-encoding'];
  if (encoding !== undefined && encoding !== '' && encoding.toLowerCase() !== 'identity') {
    return new StarlingError('encoding_unsupported', encoding);
  }
  return undefined;
}

/**
 * `GET http://host/path`, as clients send it to a proxy, becomes `GET /path`, and its host counts rather than that of the
 * header: RFC 9112, 3.2.2. Signatures cover the path alone.
 */
function toOriginForm(request: IncomingMessage): void {
  const { url = '' } = request;
  if (url.startsWith('/')) return;
  const [start, host] = /^https?:\/\/([^/?#]+)/i.exec(url) ?? [];
  if (start === undefined || host === undefined) return;
  const rest = url.slice(start.length);
  request.url = rest.startsWith('/') ? rest : `/${rest}`;
  request.headers.host = host;
}

/** The characters of a path that are repeated in an answer or in the log. */
const shownPathMax = 200;

function pathOf(request: FastifyRequest): string {
  const [path = ''] = request.url.split('?', 1);
  return path.length > shownPathMax ? `${path.slice(0, shownPathMax)}…` : path;
}

/** What is not HTTP, or came too slowly or too long: there is no request yet, so the answer is written by hand. */
function answerClientError(err: Error & { readonly code?: string }, socket: Socket): void {
  if (socket.destroyed || err.code === 'ECONNRESET') return;
  const { status, body } = toHttpReply(
    err.code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? { code: 'request_timeout', message: problems.request_timeout.text }
      : err.code === 'HPE_HEADER_OVERFLOW'
        ? { code: 'headers_too_large', message: problems.headers_too_large.text }
        : { code: 'request_malformed', message: 'The request is not valid HTTP' },
  );
  const text = JSON.stringify(body);
  if (socket.writable) {
    socket.write(
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
    );
  }
  socket.destroySoon();
}

// ── Paths and TLS ────────────────────────────────────────────────────────────────────────────────────────────────

function withoutPrefix(url: string, prefix: string): string {
  if (prefix === '' || !url.startsWith(prefix)) return url;
  const rest = url.slice(prefix.length);
  if (rest === '' || rest.startsWith('?')) return `/${rest}`;
  return rest.startsWith('/') ? rest : url;
}

type Tls = NonNullable<HttpServerOptions['tls']>;

/** By looking at the files: notices of the system get lost where a certificate is a link that is switched. */
function watchTls(app: FastifyInstance, tls: Tls, log: Log): () => void {
  const files = [tls.certFile, tls.keyFile];
  const reread = () => {
    try {
      if (app.server instanceof TlsServer) app.server.setSecureContext(readTlsFiles(tls));
      log.info({ files }, 'The TLS certificate was read again');
    } catch (err) {
      // The two files change one after the other: between them they do not fit, and the second change comes here too.
      log.warn(
        { files, reason: err instanceof Error ? err.message : err },
        'The TLS certificate could not be read again: the former one stays in use',
      );
    }
  };
  for (const file of files) watchFile(file, { interval: tls.checkEveryMs ?? 5_000, persistent: false }, reread);
  return () => {
    for (const file of files) unwatchFile(file, reread);
  };
}
