/**
 * What becomes of a request to upgrade. Node hands its socket over bare: no parser, no timeouts, and no one who ends it
 * after an answer. Whatever is not upgraded must be put back in someone's care here, or it stays open for ever.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { fence, type Observer } from '@starling/ports';
import type { AdmissionQueue } from '../admission-queue.ts';
import { listsToken, originForm } from './handshake.ts';
import { responseOn } from './library-internals.ts';

export type UpgradeListener = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

export interface UpgradeDeps {
  readonly server: Server;
  readonly observer: Observer;
  /** Handshakes go through it; one that finds it full is cut, since what answers would cost is what there is too much of. */
  readonly admission: AdmissionQueue;
  /** Takes a handshake to Fastify's routes. */
  readonly route: UpgradeListener;
  /** How long the answer to a handshake may take. */
  readonly timeoutMs: number;
}

/** Header pairs, beyond which Node's parser drops them: then the request could not be told again in full. */
const maxHeaderPairs = 1_000;

/** A listener for the server's 'upgrade'. */
export function listenForUpgrades({ server, observer, admission, route, timeoutMs }: UpgradeDeps): UpgradeListener {
  const destroy = (_request: IncomingMessage, socket: Duplex): void => void socket.destroy();

  const routeHandshake = fence(
    observer,
    'connection',
    (request: IncomingMessage, socket: Socket, head: Buffer): void => {
      if (socket.destroyed) return;
      route(request, socket, head);
      // Null when the WebSocket route has taken the socket; otherwise the answer, now or later, of whoever did not.
      const response = responseOn(socket);
      if (response === null) return;
      if (response.writableFinished) {
        socket.destroySoon();
      } else {
        socket.setTimeout(timeoutMs, destroyThis);
        response.once('finish', () => socket.destroySoon());
      }
    },
    destroy,
  );

  const listener = fence(
    observer,
    'connection',
    (request: IncomingMessage, duplex: Duplex, head: Buffer): void => {
      // A Socket, or a TLSSocket: an HTTP server has no others.
      const socket = duplex as Socket;
      if (responseOn(socket) !== null) {
        // Sent behind a request that has no answer yet: the two answers would mix.
        socket.destroy();
      } else if (request.method === 'GET' && listsToken(request.headers.upgrade, 'websocket')) {
        // An error that nobody listens to would end the process.
        socket.on('error', destroyThis);
        request.url = originForm(request.url ?? '/');
        if (!admission.enter(() => routeHandshake(request, socket, head))) socket.destroy();
      } else {
        readWithoutUpgrade(server, request, socket, head);
      }
    },
    destroy,
  );
  return listener;
}

/** Takes back the time that the answer to a handshake had. */
export function stopTimeout(socket: Socket): void {
  socket.setTimeout(0);
  socket.removeListener('timeout', destroyThis);
}

/**
 * An upgrade to something else (HTTP clients in Java ask for h2c whenever they may) is ignored, as RFC 9110, 7.8 has it:
 * the same request, without that wish, is put back in front of what follows it, and the server reads the connection anew.
 */
function readWithoutUpgrade(server: Server, request: IncomingMessage, socket: Socket, head: Buffer): void {
  const { method, url, httpVersion, rawHeaders } = request;
  if (rawHeaders.length >= 2 * maxHeaderPairs) {
    socket.destroy();
    return;
  }
  let text = `${method} ${url} HTTP/${httpVersion}\r\n`;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? '';
    const value = rawHeaders[index + 1] ?? '';
    const kept = name.toLowerCase() === 'connection' ? withoutUpgradeTokens(value) : value;
    if (name.toLowerCase() !== 'upgrade' && kept !== '') text += `${name}: ${kept}\r\n`;
  }
  socket.unshift(Buffer.concat([Buffer.from(`${text}\r\n`, 'latin1'), head]));
  server.emit('encrypted' in socket ? 'secureConnection' : 'connection', socket);
  removeRepeated(socket);
}

/**
 * Whoever follows the server's connections was just told of this one again, and listens to it twice: of the same listener
 * one is enough, or they would grow with every request of a connection that lives for days.
 */
function removeRepeated(socket: Socket): void {
  for (const event of socket.eventNames()) {
    const listeners = socket.listeners(event) as Array<(...args: unknown[]) => void>;
    const known = new Set<unknown>();
    for (const listener of listeners) {
      if (known.has(listener)) socket.removeListener(event, listener);
      known.add(listener);
    }
  }
}

function withoutUpgradeTokens(connection: string): string {
  const tokens = connection.split(',').map((token) => token.trim());
  return tokens.filter((token) => !['upgrade', 'http2-settings'].includes(token.toLowerCase())).join(', ');
}

function destroyThis(this: Socket): void {
  this.destroy();
}
