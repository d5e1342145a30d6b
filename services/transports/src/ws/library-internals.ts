/**
 * Everything of this room that is no public door of a library: what is read or replaced, in which version that was read,
 * and why there is no other way. `library-internals.test.ts` fails when a library changes it.
 */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type WebSocket from 'ws';

/**
 * Node 20.20, `lib/_http_server.js`: the response that HTTP is writing to the socket, or would; null when there is none.
 * Node hands an upgrade over while the answer to a request before it is still owed, and has no other way to ask.
 */
export function responseOn(socket: Socket): ServerResponse | null {
  return (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage ?? null;
}

/** What `ws` asks of permessage-deflate when a message comes. `done` must not be called within the call. */
export interface Inflater {
  decompress(data: Buffer, isLast: boolean, done: (err: Error | null, data: Buffer) => void): void;
  cleanup(): void;
}

/**
 * `ws` 8.23, `lib/websocket.js`: puts another inflater into the place of the library's, where compression was agreed on.
 * The library's keeps a stream of zlib for each connection that ever sent something compressed, 19 KiB, and every browser
 * does; it asks a pool of threads, which for messages of this size costs ten times the inflating; and nothing could be
 * charged before it is done. The library has no option for any of that.
 */
export function replaceInflater(ws: WebSocket, inflater: Inflater): void {
  const { _extensions: extensions } = ws as WebSocket & { readonly _extensions: Record<string, Inflater> };
  extensions['permessage-deflate'] = inflater;
}
