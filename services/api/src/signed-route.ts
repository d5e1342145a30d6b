/** What every operation of the HTTP API has in common: the body's bytes, the signature, the answer. */
import { type AppTraffic, authenticateRequest, refuseOverShare, type Traffic } from '@starling/core';
import type { App, AppStore, Broker, Clock, Observer, PresenceStore, RateLimiter, Revoker } from '@starling/ports';
import { type Checked, problems, type Refusal } from '@starling/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { sendJson, sendProblem } from './reply.ts';

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

/** Bytes. A full trigger, 100 names and data of 10 KiB, is far below it even when every character is escaped. */
export const bodyLimitBytes = 2 * 1024 * 1024;

const noBody = Buffer.alloc(0);

/**
 * Takes every body as it is, of any content type or none: the digest is over its bytes. SDKs name JSON for an empty
 * body, and hand-written clients name what they like, so the header is dropped before Fastify judges it.
 */
export function takeRawBodies(server: FastifyInstance): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: bodyLimitBytes }, (_request, body, done) => {
    done(null, body);
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

/** Runs the operation for requests that are signed by the app they name. */
export function signed(deps: ApiDeps, operation: Operation, successStatus = 200) {
  const { appStore, traffic, clock, observer, pathPrefix = '' } = deps;
  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const path = request.params as Call['path'];
    const body = Buffer.isBuffer(request.body) ? request.body : noBody;
    const signedRequest = { method: request.method, url: request.originalUrl, body, appId: path['appId'], pathPrefix };
    const authenticated = await authenticateRequest(appStore, signedRequest, clock.now());
    if (!authenticated.ok) {
      // Not counted to the app it names: anyone can name one.
      return sendRefusal(reply, authenticated.refusal, traffic.unknownApp);
    }
    const { app, query } = authenticated.value;
    const counts = traffic.of(app.id);
    counts.requestsIn++;
    counts.keyUses.set(query.get('auth_key') ?? '', clock.now());
    counts.receivedBytes += body.byteLength;
    const answer = await operation(deps, { app, path, query, body });
    if (!answer.ok) {
      const { code, message } = answer.refusal;
      if (observer.notes)
        observer.note('request refused', { app: app.id, route: request.routeOptions.url, code, message });
      return sendRefusal(reply, answer.refusal, counts);
    }
    return sendJson(reply.code(successStatus), answer.value);
  };
}

/** What was thrown while a request was read or answered. */
export function answerFailures(server: FastifyInstance, { traffic, observer }: ApiDeps): void {
  server.setErrorHandler((err, request, reply) => {
    const { code } = sendProblem(reply, err).body;
    traffic.unknownApp.refused(code);
    if (code === 'internal') {
      // The route, not the URL: that holds a signature.
      observer.problem('request failed', { err, method: request.method, route: request.routeOptions.url });
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
