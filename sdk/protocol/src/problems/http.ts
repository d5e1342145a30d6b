/** What a request can be told, beside what a client can. */
import { nonFatal, type Problem } from './problem.ts';

export const httpProblems = {
  request_malformed: nonFatal(400, 'Malformed request'),
  json_too_deep: nonFatal(
    400,
    'The JSON of the body is nested too deeply: at most 32 arrays and objects inside each other',
  ),
  host_ambiguous: nonFatal(400, 'The request has more than one Host header'),
  request_unauthenticated: nonFatal(401, 'Authentication failed'),
  app_id_unknown: nonFatal(404, 'No app has this id'),
  route_unknown: nonFatal(404, 'Not found'),
  state_conflict: nonFatal(409, 'This cannot be done in the present state'),
  request_timeout: nonFatal(408, 'The request did not arrive in time'),
  request_too_large: nonFatal(413, 'The request body is too large'),
  encoding_unsupported: nonFatal(415, 'Compressed bodies are not taken: send it without Content-Encoding'),
  headers_too_large: nonFatal(431, 'The headers of the request are too large'),
  stream_unknown: nonFatal(404, 'No such stream is open on this node'),
  upgrade_required: nonFatal(426, 'This address takes WebSocket connections'),
  rate_limited: nonFatal(429, 'Too many requests'),
  internal: nonFatal(500, 'Internal error'),
  unavailable: nonFatal(503, 'Temporarily unavailable'),
} as const satisfies Record<string, Problem>;
