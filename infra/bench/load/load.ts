/** Builds the load generator with the machine's C compiler at its first use, and gives it orders. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Children } from '../children.ts';

export interface Latency {
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

/** All who were asked for are connected and have taken their steps. */
export interface Opened {
  readonly event: 'opened';
  readonly group: number;
  readonly count: number;
  readonly ms: number;
  readonly retries: number;
  readonly loadCpuMs: number;
}

export interface Published {
  readonly event: 'published';
  readonly sent: number;
  readonly answered: number;
  /** Answered with something other than 2xx; `refusal` is the first of these answers. */
  readonly failed: number;
  readonly refusal: string;
  readonly expected: number;
  readonly delivered: number;
  readonly badLength: number;
  readonly unknown: number;
  /** Connections the server ended meanwhile, and the code of the last close. */
  readonly closed: number;
  readonly closeCode: number;
  readonly eventBytes: number;
  readonly bytes: number;
  readonly ms: number;
  readonly loadCpuMs: number;
  readonly delivery: Latency;
  readonly reply: Latency;
}

export interface Talked {
  readonly event: 'talked';
  readonly ms: number;
  readonly loadCpuMs: number;
}

/** What each connection of a group says; `%06d` becomes a number that no other one says. */
export interface TalkOrder {
  readonly send: string;
  /** A part of the text frame that answers. */
  readonly expect: string;
  /** Where `send` is not answered: said after each round, and answered once. */
  readonly last?: string;
  readonly count: number;
  /** How many are said before the answers are waited for. */
  readonly round: number;
}

export interface PublishOrder {
  readonly sockets: number;
  /** How many events may be under way where no rate is given. */
  readonly inFlight?: number;
  readonly perSecond?: number;
  readonly count?: number;
  readonly seconds?: number;
}

/** Where a server is reached. */
export interface Doors {
  readonly publishPort: number;
  /** Subscribers connect to them in turn. */
  readonly subscribePorts: readonly number[];
}

const source = fileURLToPath(new URL('load.c', import.meta.url));

/** The program's path. Throws an error that says what to install when there is no compiler. */
export function buildLoad(buildDir: string): string {
  const program = join(buildDir, 'load');
  if (existsSync(program) && statSync(program).mtimeMs > statSync(source).mtimeMs) return program;
  mkdirSync(buildDir, { recursive: true });
  const made = `${program}.${process.pid}`;
  const { status, error, stderr } = spawnSync('cc', ['-O2', '-o', made, source], { encoding: 'utf8' });
  if (error !== undefined) {
    throw new Error(
      `The load generator is a C program and there is no compiler called cc (${error.message}). ` +
        'Install one: apt-get install gcc libc6-dev, apk add gcc musl-dev linux-headers.',
    );
  }
  if (status !== 0) throw new Error(`The load generator does not compile:\n${stderr}`);
  renameSync(made, program);
  return program;
}

export class Load {
  readonly #child: ChildProcess;
  readonly #waiting: Array<{ event: string; take: (answer: unknown) => void; fail: (err: Error) => void }> = [];
  #errors = '';
  #end: string | null = null;

  constructor(children: Children, program: string, { publishPort, subscribePorts }: Doors) {
    const addresses = ['127.0.0.1', String(publishPort), ...subscribePorts.map(String)];
    this.#child = children.start(spawn(program, addresses, { stdio: ['pipe', 'pipe', 'pipe'] }));
    const { stdin, stdout, stderr } = this.#child;
    if (stdin === null || stdout === null || stderr === null) throw new Error('The load generator has no pipes');
    createInterface({ input: stdout }).on('line', (line) => this.#hear(line));
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
    // It may end while an order is on the way; why is said by its 'exit'.
    stdin.on('error', () => {});
    this.#child.on('exit', () => {
      this.#end = `The load generator has ended: ${this.#errors.trim()}`;
      for (const { fail } of this.#waiting.splice(0)) fail(new Error(this.#end));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** It stops at the end of its orders. */
  end(): void {
    this.#child.stdin?.end();
  }

  order(...fields: ReadonlyArray<string | number>): void {
    this.#child.stdin?.write(`${fields.join('\t')}\n`);
  }

  /** Opens more connections, at most `atOnce` of them not yet ready at a time. */
  open(group: number, count: number, atOnce: number, limitMs = 60_000): Promise<Opened> {
    this.order('open', group, count, atOnce);
    return this.#answer<Opened>('opened', limitMs);
  }

  /** Closes all connections of a group and opens them again at once. */
  cut(group: number, atOnce: number, limitMs = 60_000): Promise<Opened> {
    this.order('cut', group, atOnce);
    return this.#answer<Opened>('opened', limitMs);
  }

  /** Has every connection of a group talk, all at once. */
  talk(group: number, { send, expect, last = '', count, round }: TalkOrder, limitMs = 60_000): Promise<Talked> {
    this.order('talk', group, count, round, expect, send, last);
    return this.#answer<Talked>('talked', limitMs);
  }

  async publish(order: PublishOrder): Promise<Published> {
    const { sockets, inFlight = sockets, perSecond = 0, count = 2 ** 31, seconds = 60 } = order;
    this.order('publish', sockets, inFlight, perSecond, count, seconds);
    const published = await this.#answer<Published>('published', (seconds + 20) * 1_000);
    if (published.failed > 0) {
      throw new Error(`${published.failed} of ${published.sent} publishes were refused: ${published.refusal}`);
    }
    return published;
  }

  #answer<T>(event: string, limitMs: number): Promise<T> {
    if (this.#end !== null) return Promise.reject(new Error(this.#end));
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`The load generator did not say "${event}" in ${limitMs} ms. ${this.#errors.trim()}`));
      }, limitMs);
      const settle =
        <A>(settled: (value: A) => void) =>
        (value: A): void => {
          clearTimeout(timer);
          settled(value);
        };
      this.#waiting.push({
        event,
        take: settle((answer: unknown) => resolve(answer as T)),
        fail: settle((err: Error) => reject(err)),
      });
    });
  }

  #hear(line: string): void {
    const answer: unknown = JSON.parse(line);
    const { event } = answer as { event: string };
    const index = this.#waiting.findIndex((waiting) => waiting.event === event);
    if (index >= 0) this.#waiting.splice(index, 1)[0]?.take(answer);
  }
}
