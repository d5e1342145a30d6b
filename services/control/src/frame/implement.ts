/** What an operation's code is given and gives back: a function for each row of the contract's table. */
import type { Refusal } from '@starling/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import type { Operation, ParamName } from '../contract/operation.ts';
import type { Principal, Role } from '../contract/principal.ts';

/** A refusal, with what a form or a program can do something about it. */
export interface Fault extends Refusal {
  /** In place of the code's own. */
  readonly hint?: string;
  /** What is wrong with which field. */
  readonly fields?: Readonly<Record<string, string>>;
  /** The version there is now. */
  readonly version?: number;
}

/** What an operation adds to the audit log: the frame knows the actor, the time and the operation. */
export interface AuditRecord {
  /** What was changed, such as `app:1234`. Null: it turned out that nothing had to be. */
  readonly target: string | null;
  /** What a reader wants to know of it. Never a secret. */
  readonly details?: Readonly<Record<string, unknown>>;
  /** Where it is not the one of the path. */
  readonly organisationId?: string;
}

export type Failed = { readonly ok: false; readonly refusal: Fault };

/** A change says what it did: so none can be missing in the audit log. */
export type Outcome<O extends Operation> =
  | ({ readonly ok: true; readonly value: z.input<O['reply']> } & (O['method'] extends 'GET'
      ? unknown
      : { readonly auditRecord: AuditRecord }))
  | Failed;

/** A request that is admitted and whose parts are as the contract says. Of a change, all of it runs in one transaction. */
export interface Call<O extends Operation = Operation> {
  readonly principal: O['needs'] extends 'anyone' ? Principal | undefined : Principal;
  readonly params: Readonly<Record<ParamName<O['path']>, string>>;
  readonly query: z.output<O['query']>;
  readonly body: z.output<O['body']>;
  /** The one whose role counts: of the path, or of the app in it. */
  readonly organisationId: O['needs'] extends Role ? string : undefined;
  /** The only version that is to be changed; undefined: whichever there is. */
  readonly ifVersion: number | undefined;
  /** For what is not in the contract: addresses, cookies. */
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

export interface Implementation {
  readonly operation: Operation;
  /** Undefined where there is nothing to do before the transaction. */
  readonly prepare: ((call: Call) => Promise<Prepared<unknown>>) | undefined;
  readonly handle: (call: Call, prepared: unknown) => Promise<Outcome<Operation>>;
}

export type Prepared<P> = { readonly ok: true; readonly value: P } | Failed;

export function implement<O extends Operation>(
  operation: O,
  handle: (call: Call<O>) => Promise<Outcome<O>>,
): Implementation {
  // The frame makes the call from this very operation.
  return { operation, prepare: undefined, handle: handle as unknown as Implementation['handle'] };
}

/**
 * `prepare` runs before the transaction begins: what takes long, such as a password's hash, and what is to stay even
 * when the rest is refused, such as the count of wrong passwords.
 */
export function implementPrepared<O extends Operation, P>(
  operation: O,
  prepare: (call: Call<O>) => Promise<Prepared<P>>,
  handle: (call: Call<O>, prepared: P) => Promise<Outcome<O>>,
): Implementation {
  return {
    operation,
    prepare: prepare as unknown as Implementation['prepare'],
    handle: handle as unknown as Implementation['handle'],
  };
}
