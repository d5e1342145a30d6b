/** `/app/KEY`: the opening handshake, and the way into a conversation. */
import type { IncomingHttpHeaders, Server } from 'node:http';
import type { Socket } from 'node:net';
import websocket from '@fastify/websocket';
import { problems, type Refusal, refuse } from '@starling/protocol';
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import type { Turnstile } from '../turnstile.ts';
import { acceptOffer } from './deflate.ts';
import { checkHandshake } from './handshake.ts';
import { detachFromHttp, guardUpgrades, type UpgradeListener } from './upgrade.ts';
import { Conversations, type WsDeps } from './ws-transport.ts';

/**
 * Mounts the WebSocket transport. It answers every request to upgrade that the server gets, also those for other paths:
 * register it once per server. When the server closes, conversations still open are told to reconnect and are awaited.
 */
export function wsRoutes(deps: WsDeps): FastifyPluginAsync {
  return async (fastify) => {
    const { server } = fastify;
    const conversations = new Conversations(deps);
    const { limits } = conversations;
    const options = {
      maxPayload: limits.maxMessageBytes,
      maxFragments: limits.maxFragments,
      maxBufferedChunks: limits.maxPieces,
      closeTimeout: limits.closeTimeoutMs,
      perMessageDeflate: deps.compresses === true && noContextTakeover,
      // Each of these would cost a closure per connection; the transport does both.
      autoPong: false,
      clientTracking: false,
    };
    await fastify.register(websocket, {
      options,
      errorHandler: (err, ws) => {
        deps.observer.problem('failed: opening a WebSocket', { err });
        ws.terminate();
      },
      preClose: async () => {
        server.removeListener('upgrade', onUpgrade);
        conversations.turnstile.open();
        await conversations.dismissAll();
      },
    });
    fastify.websocketServer.on('headers', (_headers, { socket }) => holdForGreeting(socket));
    const onUpgrade = guardLastListener(server, limits.handshakeTimeoutMs, conversations.turnstile);

    // A key may be followed by a slash: some clients put one before the query.
    for (const url of ['/app/:key', '/app/:key/']) {
      fastify.route<{ Params: { key: string }; Querystring: Query }>({
        method: 'GET',
        url,
        onRequest: (request, reply, done) => {
          const checked = checkRequest(request);
          if (!checked.ok) {
            answer(request, reply, checked.refusal);
            return;
          }
          // The library wants it alone, where the RFC lets others stand beside it.
          request.raw.headers.upgrade = 'websocket';
          if (deps.compresses === true) chooseOffer(request.raw.headers);
          done();
        },
        // Never reached: what is no handshake has been answered above.
        handler: (request, reply) => answer(request, reply, refuse('upgrade_required').refusal),
        wsHandler: (ws, request) => {
          const { socket } = request.raw;
          detachFromHttp(socket);
          // The plugin's own listener would keep the request and its reply as long as the connection lives.
          ws.removeAllListeners('error');
          const { protocol, client, version, token } = request.query;
          const greeting = {
            key: request.params.key,
            protocol: first(protocol),
            client: first(client),
            version: first(version),
            origin: request.headers.origin,
            address: request.ip,
            isTls: request.protocol === 'https',
          };
          conversations.open(ws, socket, greeting, first(token));
        },
      });
    }
  };
}

const noContextTakeover = { serverNoContextTakeover: true, clientNoContextTakeover: true } as const;

/** Of all that the client offers, the library is to see only what we accept. */
function chooseOffer(headers: IncomingHttpHeaders): void {
  const accepted = acceptOffer(headers['sec-websocket-extensions']);
  if (accepted === null) delete headers['sec-websocket-extensions'];
  else headers['sec-websocket-extensions'] = accepted;
}

/**
 * The answer to the handshake is about to be written. It leaves in one piece with the greeting, which comes a turn later
 * unless the app has to be asked for elsewhere: then the answer goes alone.
 */
function holdForGreeting(socket: Socket): void {
  socket.cork();
  setImmediate(() => setImmediate(uncork, socket));
}

function uncork(socket: Socket): void {
  socket.uncork();
}

type Query = Readonly<Record<string, string | readonly string[] | undefined>>;

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

/** Replaces the upgrade listener that was added last, the plugin's. Returns what stands there now. */
function guardLastListener(server: Server, timeoutMs: number, turnstile: Turnstile): UpgradeListener {
  const route = server.listeners('upgrade').at(-1) as UpgradeListener;
  const guarded = guardUpgrades(server, route, timeoutMs, turnstile);
  server.removeListener('upgrade', route);
  server.on('upgrade', guarded);
  return guarded;
}
