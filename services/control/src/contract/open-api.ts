/** The table of operations as an OpenAPI document. */
import { type ProblemCode, problems } from '@starling/protocol';
import { z } from 'zod';
import { operations, streams } from './index.ts';
import { errorReply, type Operation, paramNames, pathParams } from './operation.ts';

type Json = Readonly<Record<string, unknown>>;

/** `server` is where the operations are, seen from the document. */
export function openApi(version: string, server: string): Json {
  // Schemas with an id stand once, and are referred to.
  const schemas: Record<string, unknown> = {};
  const paths: Record<string, Record<string, Json>> = {};
  const toJson = (schema: z.ZodType, io: 'input' | 'output'): Json => jsonSchema(schema, io, schemas);
  const error = toJson(errorReply, 'output');
  for (const operation of Object.values<Operation>({ ...operations, ...streams })) {
    const path = operation.path.replaceAll(/:(\w+)/g, '{$1}');
    paths[path] ??= {};
    paths[path][operation.method.toLowerCase()] = described(operation, toJson, error);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Starling admin API',
      version,
      description:
        'Organisations, their people, their apps and the keys of those. Lists come a page at a time. A change may name the version it is ' +
        'made to, in `If-Match` or in `version`, and is refused when there is another by now. What makes something new takes ' +
        'an `Idempotency-Key`: sent again within 24 hours it gets the same answer, without a secret that was shown once, and ' +
        'nothing is made twice.',
    },
    servers: [{ url: server }],
    paths,
    components: {
      schemas,
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'A personal access token, `sta_…`.' },
        session: {
          type: 'apiKey',
          in: 'cookie',
          name: 'starling_session',
          description: 'Of who signed in with a browser.',
        },
      },
    },
  };
}

type ToJson = (schema: z.ZodType, io: 'input' | 'output') => Json;

function described(operation: Operation, toJson: ToJson, error: Json): Json {
  const { id, summary, needs, query, body, reply, creates, isVersioned } = operation;
  const isStream = Object.hasOwn(streams, id);
  const isEmpty = reply instanceof z.ZodNull && !isStream;
  const status = creates ? 201 : isEmpty ? 204 : 200;
  const failed = (description: string) => ({ description, content: { 'application/json': { schema: error } } });
  const hasRole = needs !== 'anyone' && needs !== 'signed-in' && needs !== 'operator';
  const role = hasRole
    ? `Needs the role ${needs}, or a higher one.`
    : needs === 'operator'
      ? 'For operators of the installation, signed in with a browser: no access token counts.'
      : '';
  const namesThing = hasRole || operation.path.includes(':');
  return {
    operationId: id,
    summary,
    description: [operation.description, role].filter(Boolean).join(' ') || `${summary}.`,
    tags: [operation.path.split('/').findLast((part) => part !== '' && !part.startsWith(':')) ?? 'other'],
    security: needs === 'anyone' ? [] : needs === 'operator' ? [{ session: [] }] : [{ token: [] }, { session: [] }],
    parameters: [
      ...paramNames(operation.path).map((name) => ({
        in: 'path',
        name,
        required: true,
        schema: toJson(pathParams[name as keyof typeof pathParams], 'input'),
      })),
      ...Object.entries<z.ZodType>(query.shape).map(([name, schema]) => queryParameter(name, schema, toJson)),
      ...(creates
        ? [header('Idempotency-Key', 'Sent again with it, the same request is answered and not done again.')]
        : []),
      ...(isVersioned ? [header('If-Match', 'The version that is meant to be changed, such as `"3"`.')] : []),
    ],
    ...(Object.keys(body.shape).length === 0
      ? {}
      : { requestBody: { required: true, content: { 'application/json': { schema: toJson(body, 'input') } } } }),
    responses: {
      [status]: {
        description: creates ? 'It was made.' : isEmpty ? 'Done; there is nothing to say.' : 'What was asked for.',
        ...(isEmpty
          ? {}
          : { content: isStream ? eventStream : { 'application/json': { schema: toJson(reply, 'output') } } }),
      },
      400: failed('Something given is not as it must be.'),
      ...(needs === 'anyone' ? {} : { 401: failed('Nobody is signed in.') }),
      ...(hasRole || needs === 'operator' ? { 403: failed('Your role does not allow it.') } : {}),
      ...(hasRole || needs === 'operator' || operation.method === 'GET'
        ? {}
        : { 403: failed('It is not for a page of another origin, for an access token, or for your role.') }),
      ...(namesThing ? { 404: failed('There is no such thing, or none that you may see.') } : {}),
      ...refusals(operation, failed),
      429: failed('Too many requests.'),
      503: failed('The database is away.'),
    },
  };
}

/** By status, what the codes say that only this operation answers with. */
function refusals(
  { needs, refuses = [], creates, isVersioned }: Operation,
  failed: (description: string) => Json,
): Record<number, Json> {
  const codes: ProblemCode[] = [
    ...refuses,
    ...(isVersioned ? (['version_outdated'] as const) : []),
    ...(creates && needs !== 'anyone' ? (['idempotency_key_reused'] as const) : []),
  ];
  const statuses = [...new Set(codes.map((code) => problems[code].status))];
  return Object.fromEntries(
    statuses.map((status) => {
      const texts = codes
        .filter((code) => problems[code].status === status)
        .map((code) => `${code}: ${problems[code].text}.`);
      return [status, failed(texts.join(' '))];
    }),
  );
}

const eventStream = { 'text/event-stream': { schema: { type: 'string' } } } as const;

function queryParameter(name: string, schema: z.ZodType, toJson: ToJson): Json {
  const { description, ...rest } = toJson(schema, 'input');
  return { in: 'query', name, required: !schema.safeParse(undefined).success, schema: rest, description };
}

function header(name: string, description: string): Json {
  return { in: 'header', name, required: false, description, schema: { type: 'string' } };
}

/** What has an id goes to the shared schemas; the rest stands where it is used. */
function jsonSchema(schema: z.ZodType, io: 'input' | 'output', schemas: Record<string, unknown>): Json {
  const {
    $schema: _,
    $defs = {},
    ...root
  } = z.toJSONSchema(schema, {
    io,
    unrepresentable: 'any',
    // Numbers of a query are texts on the wire, and numbers to readers of the document.
  }) as Record<string, unknown>;
  for (const [id, each] of Object.entries($defs as Record<string, unknown>)) schemas[id] = pointed(each);
  const { id } = schema.meta() ?? {};
  if (typeof id !== 'string') return pointed(root) as Json;
  schemas[id] = pointed(root);
  return { $ref: `#/components/schemas/${id}` };
}

function pointed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(pointed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      // Ids are names here, and no keyword of OpenAPI.
      .filter(([key, item]) => !(key === 'id' && typeof item === 'string'))
      .map(([key, item]) => [
        key,
        key === '$ref' && typeof item === 'string' ? item.replace('#/$defs/', '#/components/schemas/') : pointed(item),
      ]),
  );
}
