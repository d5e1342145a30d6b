/**
 * The publishes of one connection, in the order in which they came.
 *
 * Hot path. What arrives while a publish waits for its answer goes out together when that has come: one call of the
 * limiter for all, and none waits for a turn of its own. So the order holds, and the pace is not that of the answers.
 */
import type { App, Observer } from '@starling/ports';
import {
  limits,
  problems,
  type Refusal,
  refuse,
  refuseByLimit,
  type ServerEvent,
  StarlingError,
} from '@starling/protocol';
import type { Charge } from './capacity.ts';
import { type PublishCommand, type PublishDeps, type Published, publishAll } from './publish.ts';
import type { AppTraffic } from './traffic.ts';

/** Whose publishes they are. */
export interface Publisher {
  readonly app: App;
  readonly isClosed: boolean;
  readonly traffic: AppTraffic;
  readonly charge: Pick<Charge, 'take' | 'give'>;
  tell(event: ServerEvent): void;
}

export interface PublishQueueDeps extends PublishDeps {
  readonly observer: Observer;
}

interface Waiting {
  readonly id: string;
  readonly commands: readonly PublishCommand[];
  /** UTF-16 units of data. */
  readonly units: number;
  /** Bytes of the connection's charge. */
  readonly cost: number;
}

/** What a message costs beside its data, which all of one request share. */
const messageBytes = 512;

/** What is told when a retry may do, and nothing knows when. */
const retrySeconds = 1;

export class PublishQueue {
  readonly #publisher: Publisher;
  readonly #deps: PublishQueueDeps;
  #waiting: Waiting[] = [];
  #running: Promise<void> | null = null;
  /** Messages and their data that have no answer yet. */
  #messages = 0;
  #units = 0;

  constructor(publisher: Publisher, deps: PublishQueueDeps) {
    this.#publisher = publisher;
    this.#deps = deps;
  }

  /** `commands`: one for each channel, with the same data. */
  add(id: string, commands: readonly PublishCommand[]): void {
    const units = commands[0]?.data.length ?? 0;
    // Alone one may be of any size.
    if (this.#messages > 0) {
      const { publishesUnderWay, publishUnitsUnderWay } = limits;
      if (this.#messages + commands.length > publishesUnderWay) {
        this.refuse(id, backlog('messages', publishesUnderWay, this.#messages));
        return;
      }
      if (this.#units + units > publishUnitsUnderWay) {
        this.refuse(id, backlog('characters of data', publishUnitsUnderWay, this.#units));
        return;
      }
    }
    const cost = 2 * units + messageBytes * commands.length;
    const full = this.#publisher.charge.take(cost);
    if (full !== null) {
      this.refuse(id, full, full.limit?.reset ?? retrySeconds);
      return;
    }
    this.#messages += commands.length;
    this.#units += units;
    this.#waiting.push({ id, commands, units, cost });
    this.#running ??= this.#run().catch((err: unknown) => {
      this.#running = null;
      this.#deps.observer.defect('rejection', err);
    });
  }

  /** `retryAfterSeconds`: only where the same publish may succeed later; a limit knows it by itself. */
  refuse(id: string, refusal: Refusal, retryAfterSeconds = refusal.limit?.reset ?? null): void {
    const { isClosed, traffic } = this.#publisher;
    traffic.refused(refusal.code);
    if (!isClosed) this.#publisher.tell({ type: 'publish-refused', id, refusal, retryAfterSeconds });
  }

  /** Drops what waits. What is with the broker stays there. */
  cut(): void {
    for (const { cost } of this.#waiting) this.#publisher.charge.give(cost);
    this.#waiting = [];
  }

  /** Resolves when all is answered; null where it is. */
  get answered(): Promise<void> | null {
    return this.#running;
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      const answers = await this.#publish(batch);
      for (const [index, waiting] of batch.entries()) {
        this.#messages -= waiting.commands.length;
        this.#units -= waiting.units;
        this.#publisher.charge.give(waiting.cost);
        this.#answer(waiting.id, answers[index]);
      }
    }
    // Those cut took their share with them.
    this.#messages = 0;
    this.#units = 0;
    this.#running = null;
  }

  async #publish(batch: readonly Waiting[]): Promise<readonly (Published | undefined)[]> {
    try {
      const requests = batch.map(({ commands }) => commands);
      return await publishAll(this.#deps, this.#publisher.app, requests);
    } catch (failure) {
      return batch.map(() => ({ ok: false, failure }));
    }
  }

  #answer(id: string, published: Published | undefined): void {
    if (published === undefined) return;
    if (published.ok) {
      if (!this.#publisher.isClosed) this.#publisher.tell({ type: 'published', id });
    } else if ('refusal' in published) {
      this.refuse(id, published.refusal);
    } else {
      const { failure } = published;
      this.#deps.observer.problem('failed: a publish over a connection', { err: failure, app: this.#publisher.app.id });
      const isUnavailable = failure instanceof StarlingError && failure.code === 'unavailable';
      if (isUnavailable) this.refuse(id, refuse('unavailable').refusal, failure.retryAfterSeconds ?? retrySeconds);
      else this.refuse(id, refuse('internal').refusal);
    }
  }
}

function backlog(unit: string, limit: number, taken: number): Refusal {
  const state = { limit, remaining: Math.max(0, limit - taken), reset: retrySeconds };
  return refuseByLimit('publish_backlog', problems.publish_backlog.text, unit, state).refusal;
}
