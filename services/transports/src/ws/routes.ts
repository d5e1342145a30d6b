/** `/app/KEY` and `/raw/KEY`: the opening handshake, and the way into a connection. */
import { EventEmitter } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, Server } from 'node:http';
import websocket from '@fastify/websocket';
import { type Dialect, problems, pusherDialect, type Refusal, rawDialect, refuse } from '@starling/protocol';
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import { acceptOffer } from './deflate.ts';
import { checkHandshake } from './handshake.ts';
import { listenForUpgrades, stopTimeout } from './upgrade.ts';
import { type WsCodecs, WsConnections, type WsDeps, wsCodecs } from './ws-connections.ts';

/**
 * Mounts the WebSocket transport. It answers every request to upgrade that the server gets, also those for other paths:
 * register it once per server. When the server closes, connections still open are told to reconnect and are awaited.
 */
export function wsRoutes(deps: WsDeps): FastifyPluginAsync {
  return async (fastify) => {
    const { server } = fastify;
    const { observer, compresses = false } = deps;
    const connections = new WsConnections(deps);
    const { limits, admission } = connections;
    // The plugin listens here, and hears of the handshakes that have passed. It takes a request to Fastify's routes.
    const passed = new EventEmitter();
    const options = {
      server: passed as Server,
      maxPayload: limits.maxMessageBytes,
      maxFragments: limits.maxFragments,
      maxBufferedChunks: limits.maxPieces,
      closeTimeout: limits.closeTimeoutMs,
      perMessageDeflate: compresses && noContextTakeover,
      // Each of these would cost a closure per connection; the transport does both.
      autoPong: false,
      clientTracking: false,
    };
    await fastify.register(websocket, {
      options,
      preClose: async () => {
        server.removeListener('upgrade', onUpgrade);
        admission.admitAll();
        await connections.closeAll();
      },
    });
    /** What came with a handshake, until that is answered. */
    const heads = new WeakMap<IncomingMessage, Buffer>();
    const onUpgrade = listenForUpgrades({
      server,
      observer,
      admission,
      route: (request, socket, head) => {
        if (head.length > 0) heads.set(request, head);
        passed.emit('upgrade', request, socket, head);
      },
      timeoutMs: limits.handshakeTimeoutMs,
    });
    server.on('upgrade', onUpgrade);

    /** From here on the socket is no longer HTTP's, and neither request nor response are held. */
    function accept(request: FastifyRequest<Handshake>, reply: FastifyReply, codecs: WsCodecs): void {
      const { raw } = request;
      const { socket } = raw;
      const head = heads.get(raw) ?? nothing;
      const { protocol, client, version, token } = request.query;
      const connectRequest = {
        key: request.params.key,
        protocol: first(protocol),
        client: first(client),
        version: first(version),
        origin: request.headers.origin,
        // None where the peer has gone already, whatever the type says.
        address: request.ip ?? '',
        isTls: request.protocol === 'https',
      };
      reply.hijack();
      reply.raw.detachSocket(socket);
      stopTimeout(socket);
      const stream = connections.streamOn(socket);
      try {
        // The stream gives the library what came with the handshake when it has listeners for it.
        fastify.websocketServer.handleUpgrade(shownTo(raw, compresses), stream, nothing, (ws) => {
          connections.open({ ws, stream, head }, socket, codecs, connectRequest, first(token));
        });
      } catch (err) {
        observer.defect('connection', err);
        stream.destroy();
      }
    }

    for (const [path, dialect] of dialects) {
      const codecs = wsCodecs(dialect);
      // A key may be followed by a slash: some clients put one before the query.
      for (const url of [`${path}/:key`, `${path}/:key/`]) {
        fastify.route<Handshake>({
          method: 'GET',
          url,
          onRequest: (request, reply, _done) => {
            const checked = checkRequest(request);
            if (!checked.ok) answer(request, reply, checked.refusal);
            // One that came as an ordinary request: nobody listens for upgrades any more.
            else if (!request.ws) answer(request, reply, refuse('upgrade_required').refusal);
            else accept(request, reply, codecs);
          },
          // Never reached: all is answered above.
          handler: (request, reply) => answer(request, reply, refuse('upgrade_required').refusal),
        });
      }
    }
  };
}

/** By where they are spoken. */
const dialects: readonly (readonly [path: string, dialect: Dialect])[] = [
  ['/app', pusherDialect],
  ['/raw', rawDialect],
];

const nothing = Buffer.alloc(0);
const noContextTakeover = { serverNoContextTakeover: true, clientNoContextTakeover: true } as const;

interface Handshake {
  Params: { key: string };
  Querystring: Readonly<Record<string, string | readonly string[] | undefined>>;
}

/**
 * The request as the library is to see it: with "websocket" alone in Upgrade, where the RFC lets others stand beside it,
 * and of all the offers of compression only what we accept.
 */
function shownTo(request: IncomingMessage, compresses: boolean): IncomingMessage {
  const { 'sec-websocket-extensions': offers, ...others } = request.headers;
  const headers: IncomingHttpHeaders = { ...others, upgrade: 'websocket' };
  const accepted = compresses ? acceptOffer(offers) : null;
  if (accepted !== null) headers['sec-websocket-extensions'] = accepted;
  return Object.create(request, { headers: { value: headers } });
}

function first(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}

/** A request that does not even try to be a handshake is told what this address is for, not what its headers lack. */
function checkRequest(request: FastifyRequest): ReturnType<typeof checkHandshake> {
  const { headers } = request;
  const isAttempt = request.ws || 'sec-websocket-key' in headers || 'sec-websocket-version' in headers;
  return isAttempt ? checkHandshake(request.raw) : refuse('upgrade_required');
}

function answer(request: FastifyRequest, reply: FastifyReply, refusal: Refusal): void {
  // After a refused upgrade no one reads the connection any more.
  const fate = request.ws ? ['close'] : [];
  if (refusal.code === 'upgrade_required') {
    reply.headers({ upgrade: 'websocket', 'sec-websocket-version': '13' });
    fate.unshift('Upgrade');
  }
  if (fate.length > 0) reply.header('connection', fate.join(', '));
  reply.code(problems[refusal.code].status).send({ error: refusal.message, code: refusal.code });
}
