/** What every operation of the HTTP API has in common: the body's bytes, the signature, the answer. */
import {
  type AppTraffic,
  type AuthenticatedRequest,
  authenticateRequest,
  checkBody,
  refuseOverShare,
  type Traffic,
} from '@starling/core';
import type { App, AppStore, Broker, Clock, Observer, PresenceStore, RateLimiter, Revoker } from '@starling/ports';
import { type Checked, problems, type Refusal, refuse } from '@starling/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import type { Bodies, BodyLimits, ReadBody } from './bodies.ts';
import { sendJson, sendProblem } from './reply.ts';
import type { Turns } from './turns.ts';

export interface ApiDeps {
  readonly appStore: AppStore;
  readonly revoker: Revoker;
  readonly broker: Broker;
  readonly presenceStore: PresenceStore;
  readonly rateLimiter: RateLimiter;
  readonly traffic: Traffic;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Where the API is mounted, such as `/realtime`: some SDKs sign the path with it, some without. */
  readonly pathPrefix?: string;
  /** Default: `defaultBodyLimits`. */
  readonly bodyLimits?: BodyLimits;
}

/** What all requests have together. */
export interface Shared {
  readonly bodies: Bodies;
  readonly turns: Turns;
}

/** A request whose signature holds. */
export interface Call {
  readonly app: App;
  /** The path's parameters, decoded and not yet checked. */
  readonly path: Readonly<Record<string, string | undefined>>;
  readonly query: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

/** Its value is the answer, as JSON text. */
export type Operation = (deps: ApiDeps, call: Call) => Promise<Checked<string>>;

const noBody = Buffer.alloc(0);

/** What `authenticate` leaves for those who come after it. */
interface ApiRequest extends FastifyRequest {
  authenticated: AuthenticatedRequest | null;
}

/**
 * Takes every body as it is, of any content type or none: the digest is over its bytes. SDKs name JSON for an empty
 * body, and hand-written clients name what they like, so the header is dropped before Fastify judges it. Of a request that
 * is not authenticated, such as one for an unknown path, nothing is read.
 */
export function takeRawBodies(server: FastifyInstance, bodies: Bodies): void {
  server.removeAllContentTypeParsers();
  server.decorateRequest('authenticated', null);
  server.addContentTypeParser('*', (request, payload, done) => {
    const { authenticated } = request as ApiRequest;
    if (authenticated === null) done(null);
    else bodies.read(authenticated.app.id, payload, done);
  });
  server.addHook('onRequest', (request, _reply, done) => {
    request.raw.headers['content-type'] = undefined;
    done();
  });
}

/** Before the body is read and anything is verified: it must cost less than what it refuses. */
export function refuseAppsOverShare(server: FastifyInstance, { traffic }: ApiDeps): void {
  server.addHook('onRequest', (request, reply, done) => {
    const { appId } = request.params as Call['path'];
    const counts = appId === undefined ? undefined : traffic.byApp().get(appId);
    const refusal = counts === undefined ? null : refuseOverShare(counts, 'rate_limited');
    if (counts === undefined || refusal === null) done();
    else sendRefusal(reply, refusal, counts);
  });
}

/**
 * Runs the operation for requests that are signed by the app they name. Whether they are is decided before the body is
 * read, and whether the body is the signed one when it has been.
 */
export function signed(
  deps: ApiDeps,
  { bodies, turns }: Shared,
  operation: Operation,
  successStatus = 200,
): Pick<RouteOptions, 'onRequest' | 'handler'> {
  const { appStore, traffic, clock, observer, pathPrefix = '' } = deps;
  return {
    onRequest: async (request, reply) => {
      const { method, originalUrl: url, headers } = request;
      const length = Number(headers['content-length'] ?? 0);
      if (length > bodies.limits.each) return sendRefusal(reply, tooLarge, traffic.unknownApp);
      const { appId } = request.params as Call['path'];
      // The body of a GET means nothing and is not read, as RFC 9110, 9.3.1 advises.
      const hasBody = method !== 'GET' && length > 0;
      const answer = await authenticateRequest(appStore, { method, url, hasBody, appId, pathPrefix }, clock.now());
      // Not counted to the app it names: anyone can name one.
      if (!answer.ok) return sendRefusal(reply, answer.refusal, traffic.unknownApp);
      (request as ApiRequest).authenticated = answer.value;
      return undefined;
    },
    handler: async (request, reply) => {
      const { authenticated } = request as ApiRequest;
      if (authenticated === null) throw new Error('A request came to its handler without being authenticated');
      const read = request.body as ReadBody | undefined;
      const { id } = authenticated.app;
      try {
        if (read?.refusal !== undefined) return sendRefusal(reply, read.refusal, traffic.of(id));
        const body = read?.bytes ?? noBody;
        await turns.run(id, () => answer(authenticated, body, request, reply));
        return reply;
      } finally {
        read?.release();
      }
    },
  };

  /** Returns nothing: a reply is a promise of its own, which waits for the reader. */
  async function answer(
    authenticated: AuthenticatedRequest,
    body: Buffer,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<void> {
    const { app, query } = authenticated;
    const counts = traffic.of(app.id);
    const beganMs = clock.elapsed();
    const checked = checkBody(authenticated, body);
    if (!checked.ok) {
      sendRefusal(reply, checked.refusal, traffic.unknownApp);
      return;
    }
    counts.requestsIn++;
    counts.keyUses.set(query.get('auth_key') ?? '', clock.now());
    counts.receivedBytes += body.byteLength;
    const answering = operation(deps, { app, path: request.params as Call['path'], query, body });
    // Digest, parsing and checks are done when the operation begins to wait.
    counts.spent(clock.elapsed() - beganMs);
    const answered = await answering;
    if (answered.ok) {
      sendJson(reply.code(successStatus), answered.value);
      return;
    }
    const { code, message } = answered.refusal;
    if (observer.notes) {
      observer.note('request refused', { app: app.id, route: request.routeOptions.url, code, message });
    }
    sendRefusal(reply, answered.refusal, counts);
  }
}

const tooLarge = refuse('request_too_large').refusal;

/** What was thrown while a request was read or answered. */
export function answerFailures(server: FastifyInstance, { traffic, observer }: ApiDeps): void {
  server.setErrorHandler((err, request, reply) => {
    const { code } = sendProblem(reply, err).body;
    traffic.unknownApp.refused(code);
    if (code === 'internal') {
      // The route, not the URL: that holds a signature.
      observer.defect('request', err, { method: request.method, route: request.routeOptions.url });
    }
  });
  server.setNotFoundHandler((request, reply) => {
    const message = `${problems.route_unknown.text}: ${request.method} is not answered at this path`;
    sendProblem(reply, { code: 'route_unknown', message });
  });
}

function sendRefusal(reply: FastifyReply, refusal: Refusal, traffic: AppTraffic): FastifyReply {
  traffic.refused(refusal.code);
  sendProblem(reply, refusal);
  return reply;
}
