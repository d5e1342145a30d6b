/** Signed-in browsers: a row for each, whose id and generation their cookie carries. */
import { randomBytes } from 'node:crypto';
import type { Database } from '@starling/database';
import type { Clock } from '@starling/ports';
import type { Tickets } from './ticket.ts';

export interface SessionDeps {
  readonly database: Database;
  readonly clock: Clock;
  readonly tickets: Tickets;
}

/** Where a request comes from. */
export interface Visitor {
  readonly address: string;
  readonly userAgent: string;
  /** A browser that has signed in before: which one, and as whom. */
  readonly browser: { readonly id: string; readonly userId: string } | undefined;
}

type Deps = Pick<SessionDeps, 'database' | 'clock'>;

const minuteMs = 60_000;
/** A session ends when it was not used for so long, and at last whether it is used or not. */
const sessionIdleMs = 3 * 24 * 60 * minuteMs;
const sessionLongestMs = 30 * 24 * 60 * minuteMs;
/** How old a cookie gets before it is replaced. */
const rotateAfterMs = 10 * minuteMs;
/** Requests that were under way while the cookie was replaced still carry the former one. */
const graceMs = minuteMs;
/** For so long a sign-in is proof enough, where there is no password to ask for. */
const freshMs = 10 * minuteMs;
/** `seen_at` is no more exact than this, so that reading does not mean writing. */
const seenEveryMs = minuteMs;

/** What the cookie says. */
export interface SessionTicket {
  readonly id: string;
  readonly generation: number;
  readonly endsAtMs: number;
}

interface ResumedSession {
  readonly id: string;
  readonly userId: string;
  /** The cookie to be given in place of the one that was shown. */
  readonly replacement: SessionTicket | undefined;
}

export async function openSession(deps: Deps, userId: string, visitor: Visitor): Promise<SessionTicket> {
  const [id, at] = [randomBytes(16).toString('base64url'), new Date(deps.clock.now())];
  await deps.database.sql`
    insert into sessions (id, user_id, created_at, seen_at, rotated_at, address, user_agent)
    values (${id}, ${userId}, ${at}, ${at}, ${at}, ${visitor.address}, ${visitor.userAgent.slice(0, 300)})`;
  return { id, generation: 1, endsAtMs: at.getTime() + sessionLongestMs };
}

/**
 * The session of a cookie that we signed; undefined when it has ended. A cookie that was replaced long ago was
 * copied: the session ends for both holders.
 */
export async function resumeSession(deps: Deps, id: string, generation: number): Promise<ResumedSession | undefined> {
  const { sql } = deps.database;
  const [row] = await sql<SessionRow[]>`
    select user_id as "userId", created_at as "createdAt", seen_at as "seenAt", generation,
      rotated_at as "rotatedAt", confirmed_at as "confirmedAt"
    from sessions where id = ${id}`;
  if (row === undefined) return undefined;
  const at = new Date(deps.clock.now());
  const age = (moment: Date) => at.getTime() - moment.getTime();
  const isFormer = generation === row.generation - 1 && (row.confirmedAt === null || age(row.confirmedAt) <= graceMs);
  if (isOver(row, at) || (generation !== row.generation && !isFormer)) {
    await sql`delete from sessions where id = ${id}`;
    return undefined;
  }

  const endsAtMs = row.createdAt.getTime() + sessionLongestMs;
  const resumed = (current?: number): ResumedSession => ({
    id,
    userId: row.userId,
    replacement: current === undefined ? undefined : { id, generation: current, endsAtMs },
  });
  if (isFormer) {
    // The answer with the new cookie may have been lost; a browser that has it will not show this one.
    return resumed(row.confirmedAt === null ? row.generation : undefined);
  }
  if (row.confirmedAt === null || age(row.seenAt) >= seenEveryMs) {
    await sql`
      update sessions set seen_at = greatest(seen_at, ${at}), confirmed_at = coalesce(confirmed_at, ${at})
      where id = ${id} and generation = ${generation}`;
  }
  if (age(row.rotatedAt) < rotateAfterMs) return resumed();
  const [rotated] = await sql<{ generation: number }[]>`
    update sessions set generation = generation + 1, rotated_at = ${at}, confirmed_at = null
    where id = ${id} and generation = ${generation} returning generation`;
  // Another request of the same moment may have done it.
  return resumed(rotated?.generation);
}

/** Whether it began just now. */
export async function isFresh(deps: Deps, id: string): Promise<boolean> {
  const rows = await deps.database.sql`
    select 1 from sessions where id = ${id} and created_at > ${new Date(deps.clock.now() - freshMs)}`;
  return rows.length > 0;
}

interface SessionRow {
  readonly userId: string;
  readonly createdAt: Date;
  readonly seenAt: Date;
  readonly generation: number;
  readonly rotatedAt: Date;
  readonly confirmedAt: Date | null;
}

function isOver({ createdAt, seenAt }: Pick<SessionRow, 'createdAt' | 'seenAt'>, at: Date): boolean {
  return at.getTime() - seenAt.getTime() >= sessionIdleMs || at.getTime() - createdAt.getTime() >= sessionLongestMs;
}

/** Asks only, and is no use of it. */
export async function isSessionOpen(deps: Deps, userId: string, id: string): Promise<boolean> {
  const [row] = await deps.database.sql<Pick<SessionRow, 'createdAt' | 'seenAt'>[]>`
    select created_at as "createdAt", seen_at as "seenAt" from sessions where id = ${id} and user_id = ${userId}`;
  return row !== undefined && !isOver(row, new Date(deps.clock.now()));
}

interface SessionItem {
  readonly id: string;
  readonly createdAt: Date;
  readonly seenAt: Date;
  readonly address: string;
  readonly userAgent: string;
}

/** The newest first. */
export async function readSessions(deps: Deps, userId: string): Promise<readonly SessionItem[]> {
  const rows = await deps.database.sql<SessionItem[]>`
    select id, created_at as "createdAt", seen_at as "seenAt", address, user_agent as "userAgent"
    from sessions where user_id = ${userId} order by created_at desc, id limit 200`;
  const at = new Date(deps.clock.now());
  return rows.filter((row) => !isOver(row, at));
}

/** Whether there was one of this user. */
export async function closeSession({ database }: Deps, userId: string, id: string): Promise<boolean> {
  const { count } = await database.sql`delete from sessions where id = ${id} and user_id = ${userId}`;
  return count > 0;
}

/** How many it ended. */
export async function closeSessions({ database }: Deps, userId: string, exceptId?: string): Promise<number> {
  const { count } = await database.sql`
    delete from sessions where user_id = ${userId} and id is distinct from ${exceptId ?? null}`;
  return count;
}

/** Removes the sessions that have ended. */
export async function pruneSessions(deps: Deps): Promise<void> {
  const at = deps.clock.now();
  await deps.database.sql`
    delete from sessions
    where seen_at <= ${new Date(at - sessionIdleMs)} or created_at <= ${new Date(at - sessionLongestMs)}`;
}
