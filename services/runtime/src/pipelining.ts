/**
 * Requests that a peer sends without waiting for answers. Node's parser announces all that one read brought in one turn of
 * the event loop, and holds each answer until those before it are sent: 64 KB of requests would keep everybody else
 * waiting for seconds, and hold a thousand answers. Here the next begins when the one before has been answered.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Of one connection, behind the one that is being answered. Beyond, it is cut: no client of ours sends more. */
const waitingMax = 16;

interface Waiting {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

export interface OneAtATime {
  /** The server's listener for requests. */
  readonly listener: RequestListener;
  /** Whether a request that has come whole on this connection has not been answered to its end. */
  isAnswering(socket: Socket): boolean;
}

/** `handle` gets one request of each connection at a time. */
export function oneAtATime(handle: RequestListener): OneAtATime {
  const answering = new WeakMap<Socket, ServerResponse>();
  const queues = new WeakMap<Socket, Waiting[]>();

  const begin = ({ request, response }: Waiting): void => {
    answering.set(request.socket, response);
    handle(request as never, response as never);
  };

  /** In a turn of its own, behind what others have sent meanwhile. */
  const continueAfter = (response: ServerResponse, socket: Socket, queue: Waiting[]): void => {
    response.once('close', () => {
      setImmediate(() => {
        const next = queue.shift();
        if (next === undefined || socket.destroyed) {
          queues.delete(socket);
          return;
        }
        continueAfter(next.response, socket, queue);
        begin(next);
      });
    });
  };

  const listener: RequestListener = (request, response) => {
    const { socket } = request;
    // Cut a moment ago, in the middle of what the parser has read.
    if (socket.destroyed) return;
    const waiting = { request, response };
    const queue = queues.get(socket);
    if (queue !== undefined) {
      if (queue.push(waiting) > waitingMax) socket.destroy();
      return;
    }
    // A response has its socket from when all before it have been sent.
    const before = response.socket === null ? answering.get(socket) : undefined;
    if (before === undefined) {
      begin(waiting);
      return;
    }
    const first = [waiting];
    queues.set(socket, first);
    continueAfter(before, socket, first);
  };

  const isAnswering = (socket: Socket): boolean => {
    const response = answering.get(socket);
    return response?.req.complete === true && !response.writableFinished && !response.destroyed;
  };
  return { listener, isAnswering };
}
