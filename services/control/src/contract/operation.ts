/** What an operation of the admin API is: everything that its caller and its server must agree on. */
import type { ProblemCode } from '@starling/protocol';
import { z } from 'zod';
import type { Role } from './principal.ts';

/**
 * A role in the organisation that the path names, itself or by one of its apps. `operator`: a person that runs the
 * installation, with a session. `anyone`: no credentials are needed.
 */
export type Needs = Role | 'operator' | 'signed-in' | 'anyone';

export type Method = 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';

interface Head {
  readonly id: string;
  readonly method: Method;
  /** Below `basePath`, with `:name` for parameters; every name stands in `pathParams`. */
  readonly path: string;
  readonly summary: string;
  /** More than the summary has room for. */
  readonly description?: string;
  readonly needs: Needs;
  /** It makes something new, at most once for an `Idempotency-Key`. */
  readonly creates?: true;
  /** The field of the reply that holds a secret, made by `shownOnce`: a repeated request is answered without it. */
  readonly shownOnce?: string;
  /** It may end what somebody may, or what they are signed in with: streams that are open look again. */
  readonly endsAccess?: true;
  /**
   * Codes whose status nothing else here tells: not one of `fields_invalid`, of what `needs` asks for, of a thing of the path that
   * is not there, of a version that is outdated, of an Idempotency-Key. Each has a test in `test/statuses.int.test.ts`.
   */
  readonly refuses?: readonly ProblemCode[];
  /** The thing that the path names has a version, and `If-Match` may say which one is meant. */
  readonly isVersioned?: true;
}

export type Operation<
  H extends Head = Head,
  Query extends z.ZodObject = z.ZodObject,
  Body extends z.ZodObject = z.ZodObject,
  Reply extends z.ZodType = z.ZodType,
> = H & {
  readonly query: Query;
  readonly body: Body;
  /** Null: the answer is empty. */
  readonly reply: Reply;
};

const nothing = z.strictObject({});
type Nothing = typeof nothing;

export function operation<
  const H extends Head,
  Query extends z.ZodObject = Nothing,
  Body extends z.ZodObject = Nothing,
  Reply extends z.ZodType = z.ZodNull,
>(
  head: H,
  parts: { readonly query?: Query; readonly body?: Body; readonly reply?: Reply } = {},
): Operation<H, Query, Body, Reply> {
  // A part that is left out has the type that stands for it in the list above.
  return {
    ...head,
    query: parts.query ?? (nothing as unknown as Query),
    body: parts.body ?? (nothing as unknown as Body),
    reply: parts.reply ?? (z.null() as unknown as Reply),
  };
}

/** The fields of a reply with a secret that is kept nowhere: a repeat with the same `Idempotency-Key` finds null there. */
export function shownOnce<const Name extends string>(name: Name, description: string) {
  return {
    [name]: z.string().nullable().describe(description),
    wasShown: z
      .boolean()
      .default(false)
      .describe(
        `True in the answer to a repeated request: \`${name}\` was shown once, in the first, and is null here.`,
      ),
  } as { [N in Name]: z.ZodNullable<z.ZodString> } & { wasShown: z.ZodDefault<z.ZodBoolean> };
}

/** The names of a path's parameters. */
export type ParamName<Path extends string> = Path extends `${string}:${infer Name}/${infer Rest}`
  ? Name | ParamName<`/${Rest}`>
  : Path extends `${string}:${infer Name}`
    ? Name
    : never;

/** What each parameter of a path looks like; what does not names nothing. */
export const pathParams = {
  organisationId: z.string().regex(/^org_[0-9A-Za-z]{1,40}$/),
  appId: z.string().regex(/^[1-9]\d{0,14}$/),
  channel: z.string().regex(/^#?[A-Za-z0-9_\-=@,.;]{1,200}$/),
  key: z.string().regex(/^[\w.~-]{1,128}$/),
  endpointId: z.string().regex(/^wh_[0-9A-Za-z]{1,40}$/),
  userId: z.string().regex(/^usr_[0-9A-Za-z]{1,40}$/),
  invitationId: z.string().regex(/^inv_[0-9A-Za-z]{1,40}$/),
  sessionId: z.string().regex(/^[\w-]{1,64}$/),
  tokenId: z.string().regex(/^tok_[0-9A-Za-z]{1,40}$/),
} as const satisfies Record<string, z.ZodType>;

export function paramNames(path: string): string[] {
  return [...path.matchAll(/:(\w+)/g)].map((match) => match[1] ?? '');
}

// ── Lists ────────────────────────────────────────────────────────────────────────────────────────────────────────

const page = {
  limit: z.coerce.number().int().min(1).max(100).default(50).describe('How many at most.'),
  cursor: z.string().max(512).optional().describe('`nextCursor` of the page before.'),
};

/** The query of a list, with filters of its own. */
export function pageQuery<T extends z.ZodRawShape>(filters: T): z.ZodObject<typeof page & T, z.core.$strict> {
  return z.strictObject({ ...page, ...filters });
}

/** One page of a list. */
export function pageOf<T extends z.ZodType>(item: T) {
  return z.object({
    items: z.array(item),
    nextCursor: z.string().nullable().describe('Of the page that follows; null on the last.'),
  });
}

// ── Errors ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** The one shape of every answer that is not a success. */
export const errorReply = z
  .object({
    error: z.object({
      code: z.string().describe('The name of what went wrong; stable, for programs.'),
      message: z.string().describe('What went wrong, for people.'),
      hint: z.string().describe('What to do about it.'),
      fields: z
        .record(z.string(), z.string())
        .optional()
        .describe('What is wrong with which field; one inside another is named with a dot.'),
      version: z.number().int().optional().describe('With `version_outdated`: the version there is now.'),
    }),
  })
  .meta({ id: 'Error' });

export type ErrorReply = z.output<typeof errorReply>;
