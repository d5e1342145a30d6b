/**
 * What becomes of a request to upgrade. Node hands its socket over bare: no parser, no timeouts, and no one who ends it
 * after an answer. Whatever is not upgraded must be put back in someone's care here, or it stays open for ever.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Turnstile } from '../turnstile.ts';
import { listsToken } from './handshake.ts';

export type UpgradeListener = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** Header pairs, beyond which Node's parser drops them: then the request could not be told again in full. */
const maxHeaderPairs = 1_000;

/**
 * Puts `route`, which takes every upgrade to Fastify's routes, behind what a bare socket needs. Handshakes go through the
 * turnstile; one that finds it full is cut, since what answers would cost is what there is too much of.
 */
export function guardUpgrades(
  server: Server,
  route: UpgradeListener,
  timeoutMs: number,
  turnstile: Turnstile,
): UpgradeListener {
  const routeHandshake = (request: IncomingMessage, socket: Socket, head: Buffer): void => {
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
  };
  return (request, duplex, head) => {
    // A Socket, or a TLSSocket: an HTTP server has no others.
    const socket = duplex as Socket;
    if (responseOn(socket) !== null) {
      // Sent behind a request that has no answer yet: the two answers would mix.
      socket.destroy();
    } else if (request.method === 'GET' && listsToken(request.headers.upgrade, 'websocket')) {
      // An error that nobody listens to would end the process.
      socket.on('error', destroyThis);
      const isLetIn = turnstile.enter(() => {
        socket.removeListener('error', destroyThis);
        if (!socket.destroyed) routeHandshake(request, socket, head);
      });
      if (!isLetIn) socket.destroy();
    } else {
      readWithoutUpgrade(server, request, socket, head);
    }
  };
}

/** Takes the socket out of HTTP's hands for good; without this it would hold on to the request and its response. */
export function detachFromHttp(socket: Socket): void {
  responseOn(socket)?.detachSocket(socket);
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
}

function withoutUpgradeTokens(connection: string): string {
  const tokens = connection.split(',').map((token) => token.trim());
  return tokens.filter((token) => !['upgrade', 'http2-settings'].includes(token.toLowerCase())).join(', ');
}

/** The response that HTTP is writing to the socket, or would. Node keeps it there and has no other way to ask. */
function responseOn(socket: Socket): ServerResponse | null {
  return (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage ?? null;
}

function destroyThis(this: Socket): void {
  this.destroy();
}
