/** For tests: a server whose sessions send back what they receive and write down what the transport tells them. */
import { EventEmitter, once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ConnectRequest } from '@starling/core';
import type { Transport } from '@starling/ports';
import { encodeError, type ProblemCode, problems } from '@starling/protocol';
import Fastify, { type FastifyHttpOptions, type FastifyInstance } from 'fastify';
import type { Conversation } from './conversation.ts';
import { sseRoutes } from './sse/routes.ts';
import { wsRoutes } from './ws/routes.ts';
import type { WsDeps, WsLimits } from './ws/ws-connections.ts';

export class EchoSession extends EventEmitter implements Conversation {
  readonly transport: Transport;
  readonly connectRequest: ConnectRequest;
  readonly token: string | undefined;
  readonly texts: string[] = [];
  readonly refusals: ProblemCode[] = [];
  touches = 0;
  /** What of messages that are not whole it was told last. */
  arrived = 0;
  drains = 0;
  /** The most that was still buffered when it was told of an empty buffer. */
  bufferedAtDrain = 0;
  ends = 0;
  messageBytes = 131_072;
  /** What is still to be answered. */
  unanswered: Promise<void> | null = null;

  constructor(transport: Transport, connectRequest: ConnectRequest, token?: string) {
    super();
    this.token = token;
    this.transport = transport;
    this.connectRequest = connectRequest;
  }

  send(text: string): void {
    this.transport.write(this.transport.codec.frame(Buffer.from(text)));
  }

  receive(text: string): void {
    this.texts.push(text);
    this.send(text);
    this.emit('receive');
  }

  refuse(code: ProblemCode): void {
    this.refusals.push(code);
    const { number, text } = problems[code];
    this.send(encodeError(number, text));
    if (number !== null) this.transport.close(number, text);
  }

  arriving(bytes: number): void {
    this.arrived = bytes;
    this.emit('arriving');
  }

  touch(): void {
    this.touches++;
    this.emit('touch');
  }

  answered(): Promise<void> | null {
    return this.unanswered;
  }

  drained(): void {
    this.drains++;
    this.bufferedAtDrain = Math.max(this.bufferedAtDrain, this.transport.bufferedBytes);
    this.emit('drained');
  }

  ended(): void {
    this.ends++;
    this.emit('ended');
  }

  /** Resolves at the next such event; rejects when it does not come in time. */
  async next(event: 'receive' | 'touch' | 'drained' | 'ended', limitMs = 3_000): Promise<void> {
    await once(this, event, { signal: AbortSignal.timeout(limitMs) });
  }
}

export class EchoServer {
  readonly app: FastifyInstance;
  readonly sessions: EchoSession[] = [];
  readonly notes: string[] = [];
  readonly problems: string[] = [];
  /** Everything the server logged, at any level. */
  readonly logLines: string[] = [];

  constructor(
    limits: Partial<WsLimits> = {},
    options: FastifyHttpOptions<Server> = {},
    ws: Pick<WsDeps, 'writer' | 'compresses'> = {},
  ) {
    this.app = Fastify({
      logger: { level: 'trace', stream: { write: (line: string) => this.logLines.push(line) } },
      // As the program has it: what comes while it closes is told so by its session.
      return503OnClosing: false,
      ...options,
    });
    const observer = {
      notes: true,
      note: (what: string) => this.notes.push(what),
      problem: (what: string) => this.problems.push(what),
      defect: (kind: string) => this.problems.push(`defect: ${kind}`),
    };
    const sessions = {
      open: (transport: Transport, connectRequest: ConnectRequest, token?: string) => {
        const session = new EchoSession(transport, connectRequest, token);
        this.sessions.push(session);
        return session;
      },
    };
    this.app.setNotFoundHandler((_request, reply) => {
      reply.code(404).send({ error: 'Not found', code: 'route_unknown' });
    });
    this.app.register(wsRoutes({ sessions, observer, limits, ...ws }));
    this.app.register(sseRoutes({ sessions, observer, limits }));
  }

  async start(): Promise<void> {
    await this.app.listen({ host: '127.0.0.1', port: 0 });
  }

  get port(): number {
    return (this.app.server.address() as AddressInfo).port;
  }

  /** The session opened last. */
  get session(): EchoSession {
    const session = this.sessions.at(-1);
    if (session === undefined) throw new Error('No session was opened');
    return session;
  }
}
