/** An answer that goes on: server-sent events, to whom the operation admits. */
import type { ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { Operation } from '../contract/operation.ts';
import { fail } from './answer.ts';
import { recordAudit } from './audit.ts';
import type { Call } from './implement.ts';
import { admitting, type FrameDeps, readParts, refuse, toEntry } from './mount.ts';

/** Where one stream goes. */
export interface Stream {
  send(value: unknown): void;
}

/** Begins to send; returns the function that ends it, which may be called at any time. */
export type Begin = (call: Call, stream: Stream) => Promise<() => void>;

/** So long a stream lasts: whoever goes on watching is asked anew who they are, and whether they still may. */
const lastsMs = 3_600_000;
const heartbeatMs = 15_000;
/** Bytes that wait for a reader. What is more is left out, and the reader told how much. */
const waitingMax = 1_048_576;
const streamsMax = 200;

export function mountStream(server: FastifyInstance, deps: FrameDeps, operation: Operation, begin: Begin): void {
  const { onRequest, admissionOf } = admitting(deps, operation);
  const open = new Set<ServerResponse>();
  server.route({
    method: 'GET',
    url: operation.path,
    exposeHeadRoute: false,
    onRequest,
    handler: async (request, reply) => {
      const parts = readParts(operation, request);
      if (!parts.ok) return refuse(reply, parts.refusal);
      if (open.size >= streamsMax) return refuse(reply, fail('rate_limited').refusal, 10_000);
      const call = { ...admissionOf(request), ...parts.value, request, reply } as Call;
      const target = `app:${(call.params as Readonly<Record<string, string>>)['appId']}`;
      await recordAudit(deps, toEntry(operation, call, { target, details: parts.value.query }));

      const { raw } = reply;
      const ended = new Promise<void>((resolve) => {
        raw.once('close', resolve);
        raw.once('error', () => resolve());
      });
      let dropped = 0;
      const send = (text: string): void => {
        if (raw.writableLength > waitingMax) dropped++;
        else raw.write(text);
      };
      const stream: Stream = {
        send: (value) => {
          if (dropped > 0 && raw.writableLength < waitingMax / 2) {
            raw.write(`event: dropped\ndata: ${dropped}\n\n`);
            dropped = 0;
          }
          send(`data: ${JSON.stringify(value)}\n\n`);
        },
      };
      // Before it is hijacked: what fails here is answered as any other failure.
      const end = await begin(call, stream);
      open.add(raw);
      reply.hijack();
      const headers = reply.getHeaders() as Record<string, string>;
      raw.writeHead(200, { ...headers, 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' });
      raw.write(':\n\n');
      const stops = [beat(deps, () => send(':\n\n')), deps.clock.after(lastsMs, () => raw.end()), end];
      await ended;
      for (const stop of stops) stop();
      open.delete(raw);
      return reply;
    },
  });
  // They would keep a server that stops waiting for an hour.
  server.addHook('preClose', async () => {
    for (const raw of open) raw.end();
  });
}

/** Says now and then that it is still there: proxies end what is silent. */
function beat({ clock }: FrameDeps, say: () => void): () => void {
  const round = (): void => {
    say();
    state.cancel = clock.after(heartbeatMs, round);
  };
  const state = { cancel: clock.after(heartbeatMs, round) };
  return () => state.cancel();
}
