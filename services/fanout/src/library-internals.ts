/**
 * Everything of this room that is no public door of Node: what is read, in which version that was read, and why there is no
 * other way. `library-internals.test.ts` fails when Node changes it.
 */
import { Socket } from 'node:net';

type Handled = Socket & { readonly _handle?: { readonly fd?: number } | null };

/**
 * Node 20.20, `src/stream_base.cc`: the descriptor of a socket, of which Node tells nobody.
 *
 * Where bytes may go past the stream, else -1. Only a Socket itself will do: a TLSSocket has the descriptor of the
 * connection below it, and what is sent there is not encrypted. Only an empty queue will do: what waits in it would
 * be overtaken. Node counts a write as waiting until the kernel has all of it, so an empty queue leaves nothing below.
 */
export function descriptorOf(socket: Socket | null | undefined): number {
  if (socket == null || socket.constructor !== Socket || socket.writableLength > 0 || !socket.writable) return -1;
  return (socket as Handled)._handle?.fd ?? -1;
}
