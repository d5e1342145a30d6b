/** JSON bodies, for routes that want them parsed, and how much of them is in memory at once. */
import { isNestedDeeper, limits, StarlingError } from '@starling/protocol';
import type { FastifyInstance } from 'fastify';

export interface JsonBodyLimits {
  /** Bytes of one body; a route's own `bodyLimit` counts instead. */
  readonly each: number;
  /**
   * Bytes that have arrived of all bodies under way. Beyond, no other is begun; beyond twice as many, those under way are
   * cut, so that many that were begun before cannot fill the memory together.
   */
  readonly all: number;
}

/**
 * From now on these routes take JSON and nothing else. Refused before it is parsed: what is too large or nested too deeply;
 * then what is no JSON, or has a member that would change the prototype of an object. A missing body is undefined, whatever
 * content type it claims.
 */
export function takeJsonBodies(server: FastifyInstance, { each, all }: JsonBodyLimits): void {
  const underWay = { bytes: 0 };
  server.removeAllContentTypeParsers();
  const parse = server.getDefaultJsonParser('error', 'error');
  server.addContentTypeParser<string>(
    'application/json',
    { parseAs: 'string', bodyLimit: each },
    (request, body, done) => {
      if (body === '') done(null, undefined);
      else if (isNestedDeeper(body, limits.jsonDepth))
        done(new StarlingError('json_too_deep', 'The JSON of a body is nested too deeply'));
      else void parse(request, body, done);
    },
  );
  server.addHook('preParsing', (request, reply, payload, done) => {
    const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
    if (encoding === undefined && !(Number(length) > 0)) {
      done();
      return;
    }
    if (underWay.bytes >= all) {
      done(new StarlingError('unavailable', 'Too much is under way in bodies of requests: try again in a moment'));
      return;
    }
    let arrived = 0;
    payload.on('data', (chunk: Buffer) => {
      arrived += chunk.length;
      underWay.bytes += chunk.length;
      if (underWay.bytes > 2 * all) request.raw.destroy();
    });
    // Whatever becomes of it: answered, refused, or its peer gone.
    reply.raw.once('close', () => {
      underWay.bytes -= arrived;
      arrived = 0;
    });
    done();
  });
}
