/**
 * The port: opened before anything else, so that a start refuses nobody; closed apart from the connections that came by
 * it, so that these can be served to their end.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { authorityOf, explained, listen } from './listening.ts';
import { StartError } from './start-error.ts';

/** Where connections come from: a port of this process, or that of the process that started it. */
export interface Port {
  /** By which it is reached, such as `127.0.0.1:6001` or `[::1]:6001`. */
  readonly authority: string;
  /** From now on each connection goes to `take`, first those that have waited. */
  serve(take: Take): void;
  /** No connections any more, from when it resolves. Those that still wait are ended. */
  close(): Promise<void>;
}

/**
 * Gets a connection that is paused, and all that happens on it from then on. False: not now; it waits until the port is
 * told that there is room.
 */
export type Take = (socket: Socket) => boolean;

/** With Node's 511, clients that return together are dropped by the kernel and try again after 1, 3 and 7 s. */
const backlog = 4_096;
/** Connections that wait until somebody takes them: each holds a descriptor. More are ended at once. */
const waitingMax = 8_192;
/** Longer than a start takes, and than a client waits for an answer. */
const waitLimitMs = 30_000;
/** For a turn of the event loop in which nothing comes, before the port is closed all the same. */
const closeLimitMs = 1_000;
/** An idle turn takes a tenth of it. */
const shortTurnMs = 0.2;
/** How many of those that waited are taken in one turn. */
const takenAtOnce = 64;

/** The first descriptor that a service manager passes. */
const passedDescriptor = 3;

export interface PortOptions {
  readonly host: string;
  /** 0 for a free one. */
  readonly port: number;
  /** Where LISTEN_FDS and LISTEN_PID say that a service manager has opened the port already: sd_listen_fds(3). */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** Rejects with a StartError that names the setting to change. */
export async function openPort({ host, port, env = {} }: PortOptions): Promise<OwnPort> {
  const isPassed = env['LISTEN_PID'] === String(process.pid) && env['LISTEN_FDS'] !== undefined;
  if (isPassed && env['LISTEN_FDS'] !== '1') {
    throw new StartError(
      `${env['LISTEN_FDS']} sockets were passed by LISTEN_FDS: Starling serves one, so leave one ListenStream`,
    );
  }
  const server = createServer({ noDelay: true, pauseOnConnect: true });
  const opened = new OwnPort(server, host);
  await listen(server, isPassed ? { fd: passedDescriptor, backlog } : { host, port, backlog }).catch((err: unknown) => {
    if (isPassed) throw new StartError(`The socket passed by LISTEN_FDS cannot be listened on: ${String(err)}`);
    throw explained(err, host, port, 'STARLING_PORT', 'STARLING_HOST');
  });
  if (typeof server.address() === 'string') {
    await opened.close();
    throw new StartError('The socket passed by LISTEN_FDS is none of TCP: let ListenStream name a port');
  }
  return opened;
}

export class OwnPort implements Port {
  readonly #server: Server;
  readonly #host: string;
  readonly #waiting = new Set<Socket>();
  #take: Take | undefined;
  #closing: Promise<void> | undefined;
  #acceptedCount = 0;
  #onError: (err: unknown) => void = () => {};

  constructor(server: Server, host: string) {
    this.#server = server;
    this.#host = host;
    server.on('connection', (socket) => {
      this.#acceptedCount++;
      this.#accepted(socket);
    });
    server.on('error', (err) => this.#onError(err));
  }

  get authority(): string {
    return authorityOf(this.#server, this.#host);
  }

  /** How many wait for somebody to take them. */
  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** Told when a connection could not be accepted, such as when the process has no descriptor left. */
  onError(listener: (err: unknown) => void): void {
    this.#onError = listener;
  }

  serve(take: Take): void {
    this.#take = take;
    this.#passOn();
  }

  /** Who took no more takes again. */
  hasRoom(): void {
    this.#passOn();
  }

  /** One that its taker could not serve: it waits as if it had just come. */
  putBack(socket: Socket): void {
    this.#accepted(socket);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /**
   * The system resets, when the port is closed, the connections that it has let in and this process has not accepted. One
   * is accepted in each turn of the event loop, so there is none after a turn without; and in a short turn hardly one comes
   * between that and the close.
   */
  async #close(): Promise<void> {
    for (const socket of this.#waiting) socket.destroy();
    const limitMs = performance.now() + closeLimitMs;
    let isQuiet = false;
    while (!isQuiet && performance.now() < limitMs) {
      await nextTurn();
      const before = this.#acceptedCount;
      const beganMs = performance.now();
      await nextTurn();
      isQuiet = this.#acceptedCount === before && performance.now() - beganMs < shortTurnMs;
    }
    this.#server.close();
  }

  #accepted(socket: Socket): void {
    if (this.#waiting.size === 0 && this.#take?.(socket) === true) return;
    if (this.#closing !== undefined || this.#waiting.size >= waitingMax) {
      socket.destroy();
      return;
    }
    this.#waiting.add(socket);
    socket.on('error', destroyThis);
    socket.on('timeout', destroyThis);
    socket.once('close', () => this.#waiting.delete(socket));
    socket.setTimeout(waitLimitMs);
  }

  #passOn(): void {
    let count = 0;
    for (const socket of this.#waiting) {
      if (++count > takenAtOnce) {
        setImmediate(() => this.#passOn());
        return;
      }
      socket.off('error', destroyThis);
      if (!socket.destroyed && this.#take?.(socket) !== true) {
        socket.on('error', destroyThis);
        return;
      }
      this.#waiting.delete(socket);
      socket.setTimeout(0);
      socket.off('timeout', destroyThis);
    }
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function destroyThis(this: Socket): void {
  this.destroy();
}
