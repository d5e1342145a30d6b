/** JSON bodies, for routes that want them parsed. */
import { isNestedDeeper, limits, StarlingError } from '@starling/protocol';
import type { FastifyInstance } from 'fastify';

/**
 * From now on these routes take JSON and nothing else. Refused before it is parsed: what is too large or nested too deeply;
 * then what is no JSON, or has a member that would change the prototype of an object. A missing body is undefined, whatever
 * content type it claims.
 */
export function takeJsonBodies(server: FastifyInstance, bodyLimitBytes: number): void {
  server.removeAllContentTypeParsers();
  const parse = server.getDefaultJsonParser('error', 'error');
  server.addContentTypeParser<string>(
    'application/json',
    { parseAs: 'string', bodyLimit: bodyLimitBytes },
    (request, body, done) => {
      if (body === '') done(null, undefined);
      else if (isNestedDeeper(body, limits.jsonDepth))
        done(new StarlingError('json_too_deep', 'The JSON of a body is nested too deeply'));
      else void parse(request, body, done);
    },
  );
}
