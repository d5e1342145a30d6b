/** An answer that goes on: server-sent events, for as long as the reader has the right to them. */
import type { ServerResponse } from 'node:http';
import { type ElapsedMs, every, fence, msSince } from '@starling/ports';
import { type ProblemCode, problems } from '@starling/protocol';
import type { FastifyInstance } from 'fastify';
import type { Operation } from '../contract/operation.ts';
import { fail } from './answer.ts';
import { recordAudit } from './audit.ts';
import type { Call, Failed } from './implement.ts';
import { admitRole, admitting, type FrameDeps, readParts, refuse, toEntry } from './mount.ts';

/** Where one stream goes. */
export interface Stream {
  /** Never throws. What a reader is too slow for is left out; after the end it does nothing. */
  send(value: unknown): void;
}

/** Begins to send; returns the function that ends it, which is called once. */
export type Begin = (call: Call, stream: Stream) => Promise<() => void>;

/** Streams at once, in this process. */
export interface StreamBounds {
  readonly perUser: number;
  readonly perOrganisation: number;
  readonly perNode: number;
}

export interface StreamDeps extends FrameDeps {
  readonly streamBounds?: Partial<StreamBounds>;
}

/** Times `waitingMax` this is what all readers that do not read can cost. */
export const defaultStreamBounds: StreamBounds = { perUser: 5, perOrganisation: 20, perNode: 100 };

const lastsMs = 3_600_000;
/** Proxies end what is silent. With each beat the reader's right is looked at again. */
export const heartbeatMs = 10_000;
/** Bytes that wait for a reader. What is more is left out, and the reader told how much. */
export const waitingMax = 262_144;
/** A reader that does not read gets no end, and is cut so long after it. */
export const farewellMs = 3_000;
/** So long a stream goes on while the database cannot say whether its reader still may. */
const unprovenMs = 60_000;

export function mountStream(server: FastifyInstance, deps: StreamDeps, operation: Operation, begin: Begin): void {
  const { controlBus, observer } = deps;
  const { onRequest, admissionOf } = admitting(deps, operation);
  const open = new Set<Reader>();
  const bounds = { ...defaultStreamBounds, ...deps.streamBounds };
  let isClosing = false;

  server.route({
    method: 'GET',
    url: operation.path,
    exposeHeadRoute: false,
    onRequest,
    handler: async (request, reply) => {
      const parts = readParts(operation, request);
      if (!parts.ok) return refuse(reply, parts.refusal);
      const call = { ...admissionOf(request), ...parts.value, request, reply } as Call;
      if (isClosing) return refuse(reply, fail('unavailable').refusal);
      const full = overBounds(open, bounds, call);
      if (full !== undefined) return refuse(reply, full.refusal, heartbeatMs);

      // Nothing is waited for between counting and being counted, nor before it is heard that the reader leaves.
      const reader = new Reader(reply.raw, call, deps, () => mayStill(deps, operation, call));
      open.add(reader);
      reader.onEnd(() => open.delete(reader));
      try {
        const target = `app:${(call.params as Readonly<Record<string, string>>)['appId']}`;
        await recordAudit(deps, toEntry(operation, call, { target, details: parts.value.query }));
        if (!reader.isOver) reader.onEnd(await begin(call, reader));
        // A right that was taken away since the reader was admitted has not been looked at yet.
        await reader.check();
      } catch (err) {
        // Answered as any other failure, since nothing has been sent yet.
        reader.end();
        throw err;
      }
      if (reader.isOver && !reader.isGone) {
        return refuse(reply, fail(reader.reason ?? 'unavailable').refusal);
      }
      reply.hijack();
      reader.start(reply.getHeaders() as Record<string, string>);
      return reply;
    },
  });

  const endListening = [
    controlBus.listen(
      fence(observer, 'control message', (controlMessage) => {
        if (controlMessage.kind !== 'access-changed') return;
        for (const reader of open)
          if (controlMessage.userId === null || controlMessage.userId === reader.userId) void reader.check();
      }),
    ),
    controlBus.onGap(
      fence(observer, 'control message', () => {
        for (const reader of open) void reader.check();
      }),
    ),
  ];
  // They would keep a server that stops waiting for an hour.
  server.addHook('preClose', async () => {
    isClosing = true;
    for (const reader of [...open]) reader.finish('unavailable');
  });
  server.addHook('onClose', async () => {
    for (const end of endListening) end();
  });
}

type Deps = Pick<StreamDeps, 'clock' | 'observer'>;
/** Why not, or undefined. */
type MayStill = () => Promise<ProblemCode | undefined>;

/** One reader, from being admitted to the end of the connection. */
class Reader implements Stream {
  readonly userId: string;
  readonly organisationId: string | undefined;
  /** Why it was ended by us. */
  reason: ProblemCode | undefined;
  readonly #raw: ServerResponse;
  readonly #deps: Deps;
  readonly #mayStill: MayStill;
  readonly #stops: Array<() => void> = [];
  /** What was sent before the answer had begun. */
  #early: string[] = [];
  #earlyLength = 0;
  #isStarted = false;
  #isOver = false;
  #skipped = 0;
  #provenAt: ElapsedMs;
  #checking: Promise<void> | undefined;
  #checksAgain = false;

  constructor(raw: ServerResponse, call: Call, deps: Deps, mayStill: MayStill) {
    this.#deps = deps;
    const { clock, observer } = deps;
    this.#raw = raw;
    this.#mayStill = mayStill;
    this.userId = call.principal?.userId ?? '';
    this.organisationId = call.organisationId;
    this.#provenAt = clock.elapsed();
    // For as long as there is the answer: an error event without a listener ends the process.
    raw.on('error', () => raw.destroy());
    raw.on(
      'close',
      fence(observer, 'stream', () => this.end()),
    );
    raw.on(
      'drain',
      fence(
        observer,
        'stream',
        () => this.#tellSkipped(),
        () => raw.destroy(),
      ),
    );
    if (raw.destroyed) this.#isOver = true;
  }

  /** Nothing is sent any more. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** The connection is closed. */
  get isGone(): boolean {
    return this.#raw.destroyed;
  }

  /** At once where it has ended already. */
  onEnd(stop: () => void): void {
    if (this.#isOver) this.#stop(stop);
    else this.#stops.push(stop);
  }

  start(headers: Record<string, string>): void {
    if (this.#isOver) return;
    this.#isStarted = true;
    this.#raw.writeHead(200, {
      ...headers,
      'content-type': 'text/event-stream',
      'x-accel-buffering': 'no',
      // Its end is the connection's: nothing is left open that was let in an hour ago.
      connection: 'close',
    });
    this.#raw.write(`:\n\n${this.#early.join('')}`);
    this.#early = [];
    this.onEnd(
      this.#deps.clock.after(
        lastsMs,
        fence(this.#deps.observer, 'timer', () => this.finish()),
      ),
    );
    this.#beat();
  }

  send(value: unknown): void {
    if (this.#isOver) return;
    try {
      this.#tellSkipped();
      if (this.#skipped > 0 || this.#waiting > waitingMax) this.#skipped++;
      else this.#write(`data: ${JSON.stringify(value)}\n\n`);
    } catch (err) {
      this.#deps.observer.defect('stream', err);
      this.#raw.destroy();
    }
  }

  /** Whether its reader may still: ends it if not. Several at once are two at most; never rejects. */
  check(): Promise<void> {
    if (this.#isOver) return Promise.resolve();
    if (this.#checking !== undefined) {
      // The one under way may have read before what this one is about.
      this.#checksAgain = true;
      return this.#checking;
    }
    this.#checking = this.#checkAll();
    return this.#checking;
  }

  /** Says that it is over and why, and gives the reader a little time to hear it. */
  finish(reason?: ProblemCode): void {
    if (this.#isOver) return;
    this.reason = reason;
    // First of all: whatever is sent after the end is an error of the answer.
    this.end();
    if (!this.#isStarted) return;
    const why = reason === undefined ? {} : { code: reason, message: problems[reason].text };
    this.#raw.end(`event: end\ndata: ${JSON.stringify(why)}\n\n`);
    const cancel = this.#deps.clock.after(farewellMs, () => this.#raw.destroy());
    this.#raw.once('close', cancel);
  }

  /** Stops whatever sends. Does nothing the second time. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#early = [];
    for (const stop of this.#stops.splice(0)) this.#stop(stop);
  }

  #stop(stop: () => void): void {
    try {
      stop();
    } catch (err) {
      this.#deps.observer.defect('stream', err);
    }
  }

  async #checkAll(): Promise<void> {
    do {
      this.#checksAgain = false;
      try {
        const fault = await this.#mayStill();
        this.#provenAt = this.#deps.clock.elapsed();
        if (fault !== undefined) this.finish(fault);
      } catch {
        // The database is away. An engineer who watches to find out why may go on for a while.
        if (msSince(this.#provenAt, this.#deps.clock) > unprovenMs) this.finish('unavailable');
      }
    } while (this.#checksAgain && !this.#isOver);
    this.#checking = undefined;
  }

  #beat(): void {
    const beat = (): void => {
      this.#tellSkipped();
      if (this.#waiting <= waitingMax) this.#write(':\n\n');
      void this.check();
    };
    const end = every(this.#deps.clock, heartbeatMs, beat, (err) => {
      this.#deps.observer.defect('timer', err);
      this.#raw.destroy();
    });
    this.onEnd(() => void end());
  }

  get #waiting(): number {
    return this.#isStarted ? this.#raw.writableLength : this.#earlyLength;
  }

  /** When there is room for more than the next few. */
  #tellSkipped(): void {
    if (this.#skipped === 0 || this.#isOver || this.#waiting > waitingMax / 2) return;
    this.#write(`event: dropped\ndata: ${this.#skipped}\n\n`);
    this.#skipped = 0;
  }

  #write(text: string): void {
    if (this.#isStarted) this.#raw.write(text);
    else {
      this.#early.push(text);
      this.#earlyLength += text.length;
    }
  }
}

interface Counted {
  readonly userId: string;
  readonly organisationId: string | undefined;
}

function overBounds(open: Iterable<Counted>, bounds: StreamBounds, call: Call): Failed | undefined {
  const readers = [...open];
  const ofUser = readers.filter(({ userId }) => userId === call.principal?.userId).length;
  const ofOrganisation = readers.filter(({ organisationId }) => organisationId === call.organisationId).length;
  const refused = (message: string) => fail('rate_limited', { message, hint: 'End one that is open, or wait.' });
  if (ofUser >= bounds.perUser) return refused(`You watch ${ofUser} streams already, which is the most for one person`);
  if (ofOrganisation >= bounds.perOrganisation) {
    return refused(`Your organisation watches ${ofOrganisation} streams already, which is the most for one`);
  }
  if (readers.length >= bounds.perNode) return refused(`This server has ${readers.length} streams already`);
  return undefined;
}

/** As if they asked now. */
async function mayStill(deps: FrameDeps, operation: Operation, call: Call): Promise<ProblemCode | undefined> {
  const principal = call.principal && (await deps.renew(call.principal));
  if (principal === undefined) return 'request_unauthenticated';
  const admitted = await admitRole(deps, operation, principal, call.params);
  return admitted.ok ? undefined : admitted.refusal.code;
}
