/** Backends that publish over connections they keep: the official library, and plain requests over an agent. */
import { Agent, request } from 'node:http';
import Pusher from 'pusher';
import { type Credentials, signedPath } from '../../testing/program.ts';
import { room } from './clients.ts';

export interface Publish {
  readonly publisher: string;
  readonly id: string;
  /** By the wall clock, as the clients' records. */
  readonly sentAtMs: number;
  readonly answeredAtMs: number;
  readonly status: number | undefined;
  /** The code of the error that was the answer, such as ECONNRESET. */
  readonly fault: string | undefined;
  /** It was sent over a connection that had carried one before. */
  readonly isOnKept: boolean;
}

export interface PublisherOptions {
  readonly kind: 'library' | 'agent';
  readonly name: string;
  readonly url: string;
  readonly everyMs: number;
}

class CountingAgent extends Agent {
  connectionCount = 0;

  override createConnection(...args: Parameters<Agent['createConnection']>): ReturnType<Agent['createConnection']> {
    this.connectionCount++;
    return super.createConnection(...args);
  }
}

/** Publishes one after another, never twice the same. A publish that fails is recorded and not tried again. */
export class Publisher {
  readonly publishes: Publish[] = [];
  /** Resolves when the first publish is answered. */
  readonly answered: Promise<void>;
  readonly #options: PublisherOptions;
  readonly #agent = new CountingAgent({ keepAlive: true, maxSockets: 1 });
  readonly #send: (id: string) => Promise<number>;
  readonly #ended: Promise<void>;
  #isStopping = false;
  #wake: () => void = () => undefined;

  constructor(app: Credentials, options: PublisherOptions) {
    this.#options = options;
    this.#send = options.kind === 'library' ? this.#byLibrary(app) : (id) => this.#byAgent(app, id);
    let isAnswered: () => void = () => undefined;
    this.answered = new Promise((resolve) => {
      isAnswered = resolve;
    });
    this.#ended = this.#run(isAnswered);
  }

  /** Resolves when the last publish is answered. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#wake();
    await this.#ended;
    this.#agent.destroy();
  }

  async #run(onAnswer: () => void): Promise<void> {
    const { name, everyMs } = this.#options;
    for (let number = 1; !this.#isStopping; number++) {
      const id = `${name} ${number}`;
      const { connectionCount } = this.#agent;
      const sentAtMs = Date.now();
      let status: number | undefined;
      let fault: string | undefined;
      try {
        status = await this.#send(id);
      } catch (err) {
        fault = faultOf(err);
      }
      const isOnKept = this.#agent.connectionCount === connectionCount;
      this.publishes.push({ publisher: name, id, sentAtMs, answeredAtMs: Date.now(), status, fault, isOnKept });
      onAnswer();
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, everyMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  #byLibrary({ id: appId, key, secret }: Credentials): (id: string) => Promise<number> {
    const { hostname, port } = new URL(this.#options.url);
    const pusher = new Pusher({ appId, key, secret, host: hostname, port, useTLS: false, agent: this.#agent });
    return async (id) => (await pusher.trigger(room, 'published', { id })).status;
  }

  #byAgent(app: Credentials, id: string): Promise<number> {
    const body = JSON.stringify({ name: 'published', channels: [room], data: JSON.stringify({ id }) });
    const path = signedPath(app, 'POST', `/apps/${app.id}/events`, body);
    return new Promise((resolve, reject) => {
      const sent = request(
        this.#options.url + path,
        { method: 'POST', agent: this.#agent, headers: { 'content-type': 'application/json' } },
        (res) => {
          res.resume();
          res.on('error', reject);
          res.on('end', () => resolve(res.statusCode ?? 0));
        },
      );
      sent.on('error', reject);
      sent.end(body);
    });
  }
}

/** The official library wraps what went wrong, and tells a status in its own way. */
function faultOf(err: unknown): string {
  const inner = (err as { error?: unknown }).error ?? err;
  const { code, status } = inner as { code?: string; status?: number };
  return code ?? (status === undefined ? String(inner) : String(status));
}
