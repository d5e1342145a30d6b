/** How many connections a process holds, so that strangers cannot take every descriptor that it may open. */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';

export interface SocketLimits {
  /** Open at once, WebSockets included. Default: what the system allows this process, but for a reserve. */
  readonly most?: number;
  /** Of one address: those that have not sent the headers of a first request, TLS handshakes included. */
  readonly unfinishedPerAddress?: number;
  /** Which addresses count as one. */
  readonly groupOf?: (address: string) => string;
}

/** Descriptors for what else is opened: stores, files, listeners, the log. */
const reserve = 64;
/** Where the system's limit is unknown. */
const unknownLimit = 65_536;
const unfinishedDefault = 1_000;

export class SocketBounds {
  readonly open = new Set<Socket>();
  readonly #most: number;
  readonly #unfinishedPerAddress: number;
  readonly #groupOf: (address: string) => string;
  /** By `keyOf` the connection: the group that it is counted to. */
  readonly #unfinished = new Map<string, string>();
  readonly #byGroup = new Map<string, number>();
  /** Connections known to have finished, by the socket that HTTP reads: with TLS another than the one accepted. */
  readonly #finished = new WeakSet<Socket>();
  refused = 0;

  constructor(limits: SocketLimits = {}) {
    this.#most = limits.most ?? defaultMost(openFilesLimit());
    this.#unfinishedPerAddress = limits.unfinishedPerAddress ?? Math.min(unfinishedDefault, this.#most / 2);
    this.#groupOf = limits.groupOf ?? ((address) => address);
  }

  /** Of a connection just accepted. False: there are too many, and it must be destroyed. */
  admit(socket: Socket): boolean {
    // Put back in the server's care, it is announced a second time.
    if (this.open.has(socket)) return true;
    const group = this.#groupOf(socket.remoteAddress ?? '');
    const unfinished = this.#byGroup.get(group) ?? 0;
    if (this.open.size >= this.#most || unfinished >= this.#unfinishedPerAddress) {
      this.refused++;
      return false;
    }
    const key = keyOf(socket);
    this.open.add(socket);
    this.#unfinished.set(key, group);
    this.#byGroup.set(group, unfinished + 1);
    socket.once('close', () => {
      this.open.delete(socket);
      this.#settle(key);
    });
    return true;
  }

  /** Resolves when none is open. */
  async allClosed(): Promise<void> {
    for (const socket of this.open) await new Promise((resolve) => socket.once('close', resolve));
  }

  /** The headers of a request have arrived on it. */
  finished(socket: Socket): void {
    if (this.#finished.has(socket)) return;
    this.#finished.add(socket);
    this.#settle(keyOf(socket));
  }

  #settle(key: string): void {
    const group = this.#unfinished.get(key);
    if (group === undefined) return;
    this.#unfinished.delete(key);
    const left = (this.#byGroup.get(group) ?? 1) - 1;
    if (left > 0) this.#byGroup.set(group, left);
    else this.#byGroup.delete(group);
  }
}

/** One connection at a time has it. The same for a TLS socket and the one below it. */
function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/** Exported for its test. */
export function defaultMost(openFiles: number): number {
  return Math.max(16, openFiles - Math.max(reserve, Math.ceil(openFiles / 20)));
}

/** How many descriptors this process may open. Node has raised its limit as far as it may. */
function openFilesLimit(): number {
  try {
    const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return soft === undefined ? unknownLimit : Number(soft);
  } catch {
    // Not a Linux.
    return unknownLimit;
  }
}
