/**
 * Connections on their way from the process that has the port to the workers that serve them. Until a worker says that it
 * has one, both hold it: one whose worker ends in between is given to another, and stays open nowhere else.
 */
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { fence, type Observer } from '@starling/ports';
import type { OwnPort, Port, Take } from './port.ts';

/** Beside what `Line` says on the same channel. */
type Message =
  | { readonly starling: 'connection'; readonly id: number }
  | { readonly starling: 'taken'; readonly id: number }
  /** It stops, and this one was on its way when it did. */
  | { readonly starling: 'declined'; readonly id: number }
  | { readonly starling: 'closed' };

/** Given to one worker and not taken yet: one that is busy or hangs gets no more. */
const underWayMax = 16;

interface Receiver {
  readonly child: ChildProcess;
  readonly underWay: Map<number, Socket>;
  isTaking: boolean;
}

/** In the process that has the port. */
export class HandOver {
  readonly #port: OwnPort;
  readonly #observer: Pick<Observer, 'defect'>;
  /** Who has waited longest for a connection comes first. */
  readonly #receivers = new Set<Receiver>();
  #lastId = 0;
  #isLast = false;

  constructor(port: OwnPort, observer: Pick<Observer, 'defect'>) {
    this.#port = port;
    this.#observer = observer;
    port.serve((socket) => this.#give(socket));
  }

  /** A worker that serves, until it ends. */
  add(child: ChildProcess): void {
    const receiver: Receiver = { child, underWay: new Map(), isTaking: true };
    child.on(
      'message',
      fence(this.#observer, 'control message', (message) => this.#received(receiver, message)),
    );
    child.once(
      'exit',
      fence(this.#observer, 'listener', () => this.#ended(receiver)),
    );
    this.#receivers.add(receiver);
    this.#port.hasRoom();
  }

  /**
   * What a worker said before its end may be read after it: that it has a connection it says before it reads the first
   * byte, so what is put back when all is read is whole. The event 'disconnect' would tell, but does not come while Node
   * waits for the worker to take a handle.
   */
  #ended(receiver: Receiver, turns = 1_000): void {
    if (receiver.child.connected && turns > 0) {
      setImmediate(fence(this.#observer, 'listener', () => this.#ended(receiver, turns - 1)));
      return;
    }
    this.#receivers.delete(receiver);
    for (const id of [...receiver.underWay.keys()]) this.#putBack(receiver, id);
    this.#closeWithLast();
  }

  /** The port is closed when no worker takes any more. */
  stop(): void {
    this.#isLast = true;
    this.#closeWithLast();
  }

  #give(socket: Socket): boolean {
    const receiver = this.#leastBusy();
    if (receiver === undefined) return false;
    // Behind the others, for the next time.
    this.#receivers.delete(receiver);
    this.#receivers.add(receiver);
    const id = ++this.#lastId;
    receiver.underWay.set(id, socket);
    socket.on('error', ignore);
    const message: Message = { starling: 'connection', id };
    receiver.child.send(message, socket, { keepOpen: true }, (err) => {
      // The worker is ending. A later word of its end has nothing left to put back.
      if (err !== null) this.#putBack(receiver, id);
    });
    return true;
  }

  #leastBusy(): Receiver | undefined {
    let found: Receiver | undefined;
    for (const receiver of this.#receivers) {
      const { size } = receiver.underWay;
      if (!receiver.isTaking || !receiver.child.connected || size >= underWayMax) continue;
      if (found === undefined || size < found.underWay.size) found = receiver;
      if (size === 0) break;
    }
    return found;
  }

  #received(receiver: Receiver, given: unknown): void {
    const message = parseMessage(given);
    switch (message?.starling) {
      case 'taken':
        // The worker has a descriptor of its own: this closes ours, and the connection goes on.
        this.#settle(receiver, message.id)?.destroy();
        this.#port.hasRoom();
        return;
      case 'declined':
        this.#putBack(receiver, message.id);
        return;
      case 'closed':
        receiver.isTaking = false;
        this.#closeWithLast();
    }
  }

  #settle(receiver: Receiver, id: number): Socket | undefined {
    const socket = receiver.underWay.get(id);
    receiver.underWay.delete(id);
    return socket;
  }

  #putBack(receiver: Receiver, id: number): void {
    const socket = this.#settle(receiver, id);
    if (socket === undefined) return;
    socket.off('error', ignore);
    this.#port.putBack(socket);
  }

  #closeWithLast(): void {
    if (this.#isLast && ![...this.#receivers].some(({ isTaking }) => isTaking)) void this.#port.close();
  }
}

/** In a worker: the port of the process that started it. */
export class SharedPort implements Port {
  readonly authority: string;
  readonly #process: NodeJS.Process;
  #take: Take | undefined;

  constructor(worker: NodeJS.Process, authority: string, observer: Pick<Observer, 'defect'>) {
    this.authority = authority;
    this.#process = worker;
    worker.on(
      'message',
      fence(observer, 'control message', (message: unknown, handle: unknown) =>
        this.#received(message, handle as Socket | undefined),
      ),
    );
  }

  serve(take: Take): void {
    this.#take = take;
  }

  async close(): Promise<void> {
    this.#take = undefined;
    this.#say({ starling: 'closed' });
  }

  #received(given: unknown, socket: Socket | undefined): void {
    const message = parseMessage(given);
    if (message?.starling !== 'connection') return;
    const { id } = message;
    if (this.#take === undefined) {
      socket?.destroy();
      this.#say({ starling: 'declined', id });
      return;
    }
    // None where the peer is gone already.
    if (socket !== undefined) this.#take(socket.setNoDelay(true));
    this.#say({ starling: 'taken', id });
  }

  #say(message: Message): void {
    this.#process.send?.(message, undefined, undefined, () => {
      // The other process is gone, and this one ends with it.
    });
  }
}

function parseMessage(given: unknown): Message | undefined {
  if (typeof given !== 'object' || given === null || !('starling' in given)) return undefined;
  const { starling } = given;
  if (starling === 'closed') return { starling };
  if (starling !== 'connection' && starling !== 'taken' && starling !== 'declined') return undefined;
  return 'id' in given && typeof given.id === 'number' ? { starling, id: given.id } : undefined;
}

function ignore(): void {}
