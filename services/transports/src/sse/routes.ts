/** `/sse/KEY`: an event stream, and the requests by which its client speaks. */
import { randomBytes } from 'node:crypto';
import type { Observer } from '@starling/ports';
import { problems, type Refusal, refuse } from '@starling/protocol';
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import type { Conversations } from '../conversation.ts';
import { InboundScheduler } from '../inbound-scheduler.ts';
import { corsHeaders, defaultSseLimits, type SseLimits, SseStream } from './sse-stream.ts';

export interface SseDeps {
  readonly sessions: Conversations;
  readonly observer: Observer;
  readonly limits?: Partial<SseLimits>;
}

/** When the server stops, for clients to read the last event. */
const goodbyeLimitMs = 1_500;

type Query = Readonly<Record<string, string | readonly string[] | undefined>>;

/** Mounts the transport. When the server closes, streams still open are told to reconnect and are awaited. */
export function sseRoutes(deps: SseDeps): FastifyPluginAsync {
  return async (fastify) => {
    const limits: SseLimits = { ...defaultSseLimits, ...deps.limits };
    const inbound = new InboundScheduler(deps.observer);
    const streams = new Map<string, SseStream>();
    let onLast: (() => void) | null = null;

    const onEnd = ({ id }: SseStream): void => {
      streams.delete(id);
      if (streams.size === 0) onLast?.();
    };

    fastify.addHook('preClose', async () => {
      if (streams.size === 0) return;
      const gone = new Promise<void>((resolve) => {
        onLast = resolve;
      });
      for (const stream of [...streams.values()]) stream.goAway();
      const patience = setTimeout(() => {
        for (const stream of [...streams.values()]) stream.cut();
      }, goodbyeLimitMs);
      await gone;
      clearTimeout(patience);
    });

    fastify.route<{ Params: { key: string }; Querystring: Query }>({
      method: 'GET',
      url: '/sse/:key',
      exposeHeadRoute: false,
      handler: (request, reply) => {
        const { query } = request;
        const stream = new SseStream({
          // The one proof of whose stream a message is for.
          id: randomBytes(18).toString('base64url'),
          response: reply.raw,
          connectRequest: {
            key: request.params.key,
            protocol: undefined,
            client: first(query['client']),
            version: first(query['version']),
            origin: request.headers.origin,
            address: request.ip ?? '',
            isTls: request.protocol === 'https',
          },
          token: first(query['token']),
          channels: channelsOf(query),
          conversations: deps.sessions,
          inbound,
          limits,
          observer: deps.observer,
          onEnd,
        });
        reply.hijack();
        streams.set(stream.id, stream);
        stream.open();
      },
    });

    /** The stream that a request speaks for; undefined when it has been answered. */
    const streamOf = (request: FastifyRequest, reply: FastifyReply): SseStream | undefined => {
      const { stream: id } = request.params as { stream: string };
      const stream = streams.get(id);
      if (stream === undefined) answer(reply, refuse('stream_unknown').refusal);
      return stream;
    };

    await fastify.register(async (commands) => {
      // Any type, or none: with text/plain a browser asks for no leave beforehand.
      commands.removeAllContentTypeParsers();
      commands.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: limits.maxMessageBytes }, (_, body, done) =>
        done(null, body),
      );

      commands.route<{ Params: { key: string; stream: string } }>({
        method: 'POST',
        url: '/sse/:key/:stream',
        // Before the body is read: it costs memory, and has to be somebody's.
        onRequest: (request, reply, done) => {
          const stream = streamOf(request, reply);
          if (stream === undefined) return;
          reply.headers(corsHeaders(stream.origin));
          const stated = request.headers['content-length'];
          const bytes = stated === undefined ? limits.maxMessageBytes : Number(stated);
          if (stated !== undefined && bytes > stream.messageBytes) {
            answer(reply, refuse('request_too_large', `A message has at most ${stream.messageBytes} bytes`).refusal);
            return;
          }
          stream.arriving(bytes);
          reply.raw.once('close', () => stream.arriving(-bytes));
          done();
        },
        handler: (request, reply) => {
          const stream = streamOf(request, reply);
          if (stream === undefined) return reply;
          const body = request.body as Buffer | undefined;
          if (body !== undefined && body.byteLength > stream.messageBytes) {
            return answer(
              reply,
              refuse('request_too_large', `A message has at most ${stream.messageBytes} bytes`).refusal,
            );
          }
          if (!stream.receive(body?.toString() ?? '')) return answer(reply, refuse('stream_unknown').refusal);
          // What comes of it is told by the stream.
          return reply.code(202).send({});
        },
      });

      commands.route<{ Params: { key: string; stream: string } }>({
        method: 'OPTIONS',
        url: '/sse/:key/:stream',
        handler: (request, reply) => {
          const stream = streamOf(request, reply);
          if (stream === undefined) return reply;
          return reply
            .code(204)
            .headers({
              ...corsHeaders(stream.origin),
              'access-control-allow-methods': 'POST',
              'access-control-allow-headers': 'content-type',
              'access-control-max-age': '600',
            })
            .send();
        },
      });
    });
  };
}

function answer(reply: FastifyReply, { code, message }: Refusal): FastifyReply {
  return reply.code(problems[code].status).send({ error: message, code });
}

function first(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}

/** `channels`, separated by commas; a name that holds a comma stands alone as `channel`. Each may be given again. */
function channelsOf(query: Query): readonly string[] {
  const all = (value: string | readonly string[] | undefined) => (value === undefined ? [] : [value].flat());
  const listed = all(query['channels']).flatMap((list) => list.split(','));
  return [...new Set([...listed, ...all(query['channel'])])].filter((name) => name !== '');
}
