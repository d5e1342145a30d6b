/** One way for every operation: authenticate, check the role, parse, run in a transaction, answer. */
import { createHash } from 'node:crypto';
import { addressGroup } from '@starling/core';
import type { Database, Keyring } from '@starling/database';
import type { Clock, ControlBus, Observer, RateLimiter } from '@starling/ports';
import { takeJsonBodies } from '@starling/runtime';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { type Operation, paramNames, pathParams } from '../contract/operation.ts';
import { type Principal, type Role, reaches, roles } from '../contract/principal.ts';
import { fail, sendFault, sendJson } from './answer.ts';
import { type AuditEntry, recordAudit } from './audit.ts';
import { type KeptAnswer, keepAnswer, keyOwner, takeKey, withoutSecret } from './idempotency.ts';
import type { AuditRecord, Call, Failed, Implementation } from './implement.ts';
import { isForeign } from './origin.ts';

export interface FrameDeps {
  /** The principal that sent the request; undefined without valid credentials. */
  readonly authenticate: (request: FastifyRequest) => Promise<Principal | undefined>;
  /** The principal with its present roles; undefined when its session or token has ended. */
  readonly renew: (principal: Principal) => Promise<Principal | undefined>;
  readonly controlBus: ControlBus;
  readonly database: Database;
  readonly keyring: Keyring;
  readonly rateLimiter: RateLimiter;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Requests each second. */
  readonly rates?: { readonly perAddress: number; readonly perPrincipal: number };
}

/** Bytes; the largest thing to be sent is a list of origins. */
export const bodyLimitBytes = 256 * 1024;
/** Without credentials there is only an address, a password, a code to send. */
const strangerBodyLimitBytes = 16 * 1024;
/** Of all that are under way. */
const bodiesUnderWayBytes = 16 * 1024 * 1024;
const defaultRates = { perAddress: 50, perPrincipal: 20 };

/** What is known of a request before its body is read: a stranger can make us read none. */
interface Admission {
  readonly principal: Principal | undefined;
  readonly params: Readonly<Record<string, string>>;
  readonly organisationId: string | undefined;
}

export function mount(server: FastifyInstance, deps: FrameDeps, implementations: readonly Implementation[]): void {
  takeJsonBodies(server, { each: bodyLimitBytes, all: bodiesUnderWayBytes });
  server.setErrorHandler((err, request, reply) => {
    const code = sendFault(reply, err);
    if (code === 'internal') {
      deps.observer.defect('request', err, { method: request.method, route: request.routeOptions.url });
    }
  });
  server.setNotFoundHandler((_request, reply) => {
    sendFault(reply, fail('route_unknown').refusal);
  });
  for (const implementation of implementations) mountOne(server, deps, implementation);
}

function mountOne(server: FastifyInstance, deps: FrameDeps, implementation: Implementation): void {
  const { operation } = implementation;
  const { onRequest, admissionOf } = admitting(deps, operation);
  server.route({
    method: operation.method,
    url: operation.path,
    exposeHeadRoute: false,
    bodyLimit: operation.needs === 'anyone' ? strangerBodyLimitBytes : bodyLimitBytes,
    onRequest,
    handler: async (request, reply) => {
      const parts = readParts(operation, request);
      if (!parts.ok) return refuse(reply, parts.refusal);
      const call: Call = { ...admissionOf(request), ...parts.value, request, reply } as Call;
      const answer = await run(deps, implementation, call);
      if (!answer.ok) return refuse(reply, answer.refusal);
      return send(reply, answer.value);
    },
  });
}

/** A hook that admits the requests that the operation allows, and what it has found out of each. */
export function admitting(deps: FrameDeps, operation: Operation) {
  const admissions = new WeakMap<FastifyRequest, Admission>();
  return {
    onRequest: async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> => {
      const limited = await overRate(
        deps,
        `address:${addressGroup(request.ip)}`,
        deps.rates?.perAddress ?? defaultRates.perAddress,
      );
      if (limited !== undefined) return refuse(reply, limited.refusal, limited.retryAfterMs);
      const admitted = await admit(deps, operation, request);
      if (!admitted.ok) return refuse(reply, admitted.refusal);
      const { principal } = admitted.value;
      if (principal !== undefined) {
        const rate = deps.rates?.perPrincipal ?? defaultRates.perPrincipal;
        const over = await overRate(deps, `user:${principal.userId}`, rate);
        if (over !== undefined) return refuse(reply, over.refusal, over.retryAfterMs);
      }
      admissions.set(request, admitted.value);
      return undefined;
    },
    admissionOf(request: FastifyRequest): Admission {
      const admission = admissions.get(request);
      if (admission === undefined) throw new Error('A request came to its handler without being admitted');
      return admission;
    },
  };
}

export function refuse(reply: FastifyReply, refusal: Failed['refusal'], retryAfterMs?: number): FastifyReply {
  sendFault(reply, refusal, retryAfterMs);
  return reply;
}

function send(reply: FastifyReply, { status, body }: Pick<KeptAnswer, 'status' | 'body'>): FastifyReply {
  reply.code(status);
  if (body === null) return reply.send();
  if (typeof body === 'object' && 'version' in body) reply.header('etag', `"${body.version}"`);
  sendJson(reply, body);
  return reply;
}

// ── Admission ────────────────────────────────────────────────────────────────────────────────────────────────────

async function admit(
  deps: FrameDeps,
  operation: Operation,
  request: FastifyRequest,
): Promise<{ readonly ok: true; readonly value: Admission } | Failed> {
  if (operation.method !== 'GET' && isForeign(request)) return fail('origin_refused');
  const principal = await deps.authenticate(request);
  const { needs } = operation;
  if (needs !== 'anyone' && principal === undefined) return fail('request_unauthenticated');

  // What cannot be an id names nothing, as any other unknown id.
  const params = request.params as Readonly<Record<string, string>>;
  for (const name of paramNames(operation.path)) {
    if (!pathParams[name as keyof typeof pathParams].safeParse(params[name]).success) return fail('resource_unknown');
  }
  return admitRole(deps, operation, principal, params);
}

/** Whether the role is there that the operation needs. Asked of answers that go on, again and again. */
export async function admitRole(
  deps: FrameDeps,
  { needs }: Operation,
  principal: Principal | undefined,
  params: Readonly<Record<string, string>>,
): Promise<{ readonly ok: true; readonly value: Admission } | Failed> {
  if (needs === 'operator' && !(await isOperator(deps, principal))) return fail('operator_needed');
  if (!isRole(needs)) return { ok: true, value: { principal, params, organisationId: undefined } };

  const organisationId =
    params['organisationId'] ??
    (params['appId'] === undefined ? undefined : await organisationOf(deps.database, params['appId']));
  const role = organisationId === undefined ? undefined : principal?.roleIn(organisationId);
  // The same answer for what is another's and for what is not there: ids of others cannot be guessed at.
  if (role === undefined) return fail('resource_unknown');
  if (!reaches(role, needs)) {
    return fail('role_too_low', {
      message: `This needs the role ${needs} in the organisation or a higher one, yours is ${role}`,
    });
  }
  return { ok: true, value: { principal, params, organisationId } };
}

/** With a session only: a token that was stolen from a script must not lead above all organisations. */
async function isOperator({ database }: FrameDeps, principal: Principal | undefined): Promise<boolean> {
  if (principal?.kind !== 'user') return false;
  const rows = await database.sql`select 1 from operators where user_id = ${principal.userId}`;
  return rows.length > 0;
}

async function organisationOf({ sql }: Database, appId: string): Promise<string | undefined> {
  const [row] = await sql<{ id: string }[]>`select organisation_id as id from apps where id = ${appId}`;
  return row?.id;
}

function isRole(needs: Operation['needs']): needs is Role {
  return (roles as readonly string[]).includes(needs);
}

async function overRate(
  { rateLimiter }: FrameDeps,
  name: string,
  perSecond: number,
): Promise<(Failed & { readonly retryAfterMs: number }) | undefined> {
  const answer = await rateLimiter.take(`control:${name}`, 1, perSecond);
  return answer.isAllowed ? undefined : { ...fail('rate_limited'), retryAfterMs: answer.retryAfterMs };
}

// ── Is it well formed ────────────────────────────────────────────────────────────────────────────────────────────

type Parts = Pick<Call, 'query' | 'body' | 'ifVersion'>;

export function readParts(
  operation: Operation,
  request: FastifyRequest,
): { readonly ok: true; readonly value: Parts } | Failed {
  const odd = [...oddTexts(request.query, []), ...oddTexts(request.body, [])];
  if (odd.length > 0) {
    const message = 'must be well-formed text without a zero character';
    return fail('fields_invalid', { fields: Object.fromEntries(odd.map((path) => [path, message])) });
  }
  const query = operation.query.safeParse(request.query);
  const body = operation.body.safeParse(request.body ?? {});
  const fields: Record<string, string> = Object.create(null);
  for (const issue of [...(query.error?.issues ?? []), ...(body.error?.issues ?? [])]) {
    for (const [name, message] of explained(issue)) fields[name] ??= message;
  }
  const ifMatch = operation.isVersioned ? parseIfMatch(request.headers['if-match']) : undefined;
  if (Number.isNaN(ifMatch)) fields['If-Match'] = 'must be a version, such as "3"';
  if (!query.success || !body.success || Number.isNaN(ifMatch)) return fail('fields_invalid', { fields });
  const version = 'version' in body.data && typeof body.data['version'] === 'number' ? body.data['version'] : undefined;
  return { ok: true, value: { query: query.data, body: body.data, ifVersion: ifMatch ?? version } };
}

/** Of texts that Postgres does not take, as text or in JSON: where they stand. A dozen say enough. */
function oddTexts(value: unknown, path: readonly string[], found: string[] = []): string[] {
  if (found.length >= 12) return found;
  const at = path.join('.') || 'body';
  if (typeof value === 'string' && isOdd(value)) found.push(at);
  if (typeof value !== 'object' || value === null) return found;
  for (const [name, each] of Object.entries(value)) {
    if (isOdd(name)) found.push(at);
    else oddTexts(each, [...path, name], found);
  }
  return found;
}

function isOdd(text: string): boolean {
  return /[\0\p{Surrogate}]/u.test(text);
}

function explained(issue: z.core.$ZodIssue): [string, string][] {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => [[...path, key].join('.'), 'is not known here']);
  }
  return [[path.join('.') || 'body', issue.message]];
}

/** Undefined where there is none, NaN where it is no version. */
function parseIfMatch(text: string | undefined): number | undefined {
  if (text === undefined || text === '*') return undefined;
  const [, digits] = /^(?:W\/)?"(\d{1,15})"$/.exec(text) ?? [];
  return digits === undefined ? Number.NaN : Number(digits);
}

// ── Do it ────────────────────────────────────────────────────────────────────────────────────────────────────────

type Answered = { readonly ok: true; readonly value: Pick<KeptAnswer, 'status' | 'body'> } | Failed;

async function run(deps: FrameDeps, { operation, prepare, handle }: Implementation, call: Call): Promise<Answered> {
  const prepared = await prepare?.(call);
  if (prepared?.ok === false) return prepared;
  const perform = async (): Promise<{ readonly answer: Answered; readonly auditRecord: AuditRecord | undefined }> => {
    const outcome = await handle(call, prepared?.value);
    if (!outcome.ok) return { answer: outcome, auditRecord: undefined };
    // Through the contract: what it does not name is left out, whatever the row held.
    const body: unknown = operation.reply.parse(outcome.value);
    const status = operation.creates ? 201 : body === null ? 204 : 200;
    const auditRecord = 'auditRecord' in outcome ? (outcome.auditRecord as AuditRecord) : undefined;
    return { answer: { ok: true, value: { status, body } }, auditRecord };
  };
  if (operation.method === 'GET') return (await perform()).answer;

  const key = operation.creates ? idempotencyKey(call.request) : undefined;
  if (key?.ok === false) return key;
  // A stranger has nothing that an answer could be bound to.
  const given = key &&
    call.principal && {
      principal: keyOwner(call.principal, call.organisationId),
      key: key.value,
      requestHash: hashOf(call),
    };
  return inTransaction(deps.database, async () => {
    const kept = given && (await takeKey(deps, given));
    if (kept !== undefined) {
      return kept.requestHash === given?.requestHash ? { ok: true, value: kept } : fail('idempotency_key_reused');
    }
    const { answer, auditRecord } = await perform();
    if (!answer.ok) return answer;
    if (auditRecord?.target != null) {
      await recordAudit(deps, toEntry(operation, call, { ...auditRecord, target: auditRecord.target }));
      if (operation.endsAccess) tellAccessChanged(deps, call);
    }
    // Only what was done is kept: a request that was refused may be sent again.
    if (given !== undefined) {
      const { status, body } = answer.value;
      await keepAnswer(deps, given, { status, body: withoutSecret(operation, body) });
    }
    return answer;
  });
}

/** Names the member of the path, or the principal where the change is to itself; else the access of all may have changed. */
function tellAccessChanged({ database, controlBus }: FrameDeps, { params, organisationId, principal }: Call): void {
  const { userId: memberId } = params as Readonly<Record<string, string | undefined>>;
  const userId = memberId ?? (organisationId === undefined ? principal?.userId : undefined) ?? null;
  database.afterCommit(() => {
    // One that is lost costs seconds: streams look by themselves, too.
    controlBus.post({ kind: 'access-changed', userId }).catch(() => {});
  });
}

export function toEntry(
  operation: Operation,
  call: Call,
  auditRecord: AuditRecord & { readonly target: string },
): AuditEntry {
  return {
    organisationId: auditRecord.organisationId ?? call.organisationId,
    actor: actorOf(call),
    action: operation.id,
    target: auditRecord.target,
    details: auditRecord.details ?? {},
  };
}

function idempotencyKey(request: FastifyRequest): { readonly ok: true; readonly value: string } | Failed | undefined {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key === 'string' && /^[\x21-\x7e]{1,200}$/.test(key)) return { ok: true, value: key };
  return fail('fields_invalid', { fields: { 'Idempotency-Key': 'must be 1 to 200 visible ASCII characters' } });
}

/** Of what is asked, as it was understood: spaces and the order of fields make no difference. */
function hashOf({ request, body }: Call): string {
  return createHash('sha256')
    .update(`${request.method} ${request.url}\n${JSON.stringify(body)}`)
    .digest('hex');
}

class Refused extends Error {
  readonly failed: Failed;

  constructor(failed: Failed) {
    super('The transaction is undone');
    this.failed = failed;
  }
}

/** A refusal undoes what was done before it was found. */
async function inTransaction(database: Database, change: () => Promise<Answered>): Promise<Answered> {
  try {
    return await database.tx(async () => {
      const answer = await change();
      if (!answer.ok) throw new Refused(answer);
      return answer;
    });
  } catch (err) {
    if (err instanceof Refused) return err.failed;
    throw err;
  }
}

function actorOf({ principal, request }: Call): AuditEntry['actor'] {
  if (principal === undefined) return { kind: 'stranger', address: request.ip };
  return { kind: principal.kind, userId: principal.userId, address: request.ip };
}

// ── What every answer carries ────────────────────────────────────────────────────────────────────────────────────

export function secureHeaders(server: FastifyInstance): void {
  server.addHook('onRequest', async (request, reply) => {
    reply.headers({
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      // An answer is never a page; those that are say what they need.
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      ...(request.protocol === 'https' ? { 'strict-transport-security': 'max-age=31536000' } : {}),
    });
  });
}
