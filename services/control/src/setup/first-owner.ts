/** The first user: by a link that a start prints, or as the environment says. Owns the default organisation. */
import { defaultOrganisation, type Sql } from '@starling/database';
import { type Checked, refuse } from '@starling/protocol';
import { createBearerSecret, digestOf } from '../bearer-secret.ts';
import { createUser, hasUsers, join, type MemberDeps, parseEmail } from '../members/index.ts';
import { checkPassword, type Passwords } from '../sign-in/index.ts';

interface OwnerDeps extends MemberDeps {
  readonly passwords: Passwords;
}

const lastsMs = 24 * 3_600_000;

export interface SetupTokenOptions {
  /** A link that still leads somewhere stays the only one: for starts whose output is kept. Else it ends. */
  readonly keepsFormer?: boolean;
}

/**
 * The token of a new link. Undefined once there is a user, and where a former link is kept, which was shown when it was
 * made: what is kept nowhere cannot be shown again.
 */
export async function createSetupToken(
  deps: MemberDeps,
  { keepsFormer = false }: SetupTokenOptions = {},
): Promise<string | undefined> {
  return deps.database.tx(async (sql) => {
    await oneAtATime(sql);
    if (await hasUsers(deps.database)) {
      await sql`delete from setup_link`;
      return undefined;
    }
    if (keepsFormer && (await hasSetupLink(deps))) return undefined;
    const { text, digest } = createBearerSecret();
    const expiresAt = new Date(deps.clock.now() + lastsMs);
    await sql`
      insert into setup_link (token_hash, expires_at) values (${digest}, ${expiresAt})
      on conflict (is_one) do update set token_hash = excluded.token_hash, expires_at = excluded.expires_at`;
    return text;
  });
}

/** Whether a link that was made leads somewhere. */
async function hasSetupLink(deps: MemberDeps): Promise<boolean> {
  const rows = await deps.database.sql`select 1 from setup_link where expires_at > ${new Date(deps.clock.now())}`;
  return rows.length > 0;
}

/** Whether the link leads anywhere. */
export async function isSetupToken(deps: MemberDeps, token: string): Promise<boolean> {
  if (await hasUsers(deps.database)) return false;
  const rows = await deps.database.sql`
    select 1 from setup_link where token_hash = ${digestOf(token)} and expires_at > ${new Date(deps.clock.now())}`;
  return rows.length > 0;
}

export interface FirstOwner {
  readonly name: string;
  readonly email: string;
  readonly password: string;
}

/** What is wrong with which field; empty when nothing is. */
export function faultsOf({ name, email: given, password }: FirstOwner): Partial<Record<keyof FirstOwner, string>> {
  const email = parseEmail(given);
  const checked = checkPassword(password, email.ok ? email.value : given);
  const isNamed = name.trim().length >= 1 && name.trim().length <= 100 && !/\p{Cc}/u.test(name);
  return {
    ...(isNamed ? {} : { name: 'A name has 1 to 100 characters' }),
    ...(email.ok ? {} : { email: email.refusal.message }),
    ...(checked.ok ? {} : { password: checked.refusal.message }),
  };
}

/** By the link, which then has ended. Gives the user's id. */
export async function createFirstOwner(deps: OwnerDeps, token: string, given: FirstOwner): Promise<Checked<string>> {
  if (!(await isSetupToken(deps, token))) return refuse('link_spent');
  const user = await prepared(deps, given);
  if (!user.ok) return user;
  return deps.database.tx(async (sql) => {
    await oneAtATime(sql);
    // Checked again under the lock.
    if (!(await isSetupToken(deps, token))) return refuse('link_spent');
    await sql`delete from setup_link`;
    return { ok: true, value: await makeOwner(deps, user.value) };
  });
}

/** As the environment says; nothing once there is a user. Gives whether it made one. */
export async function ensureFirstOwner(deps: OwnerDeps, given: FirstOwner): Promise<Checked<boolean>> {
  if (await hasUsers(deps.database)) return { ok: true, value: false };
  const user = await prepared(deps, given);
  if (!user.ok) return user;
  return deps.database.tx(async (sql) => {
    await oneAtATime(sql);
    if (await hasUsers(deps.database)) return { ok: true, value: false };
    await makeOwner(deps, user.value);
    return { ok: true, value: true };
  });
}

interface PreparedOwner {
  readonly name: string;
  readonly email: string;
  readonly passwordHash: string;
}

/** Before the transaction: a hash takes its time. */
async function prepared({ passwords }: OwnerDeps, given: FirstOwner): Promise<Checked<PreparedOwner>> {
  const [fault] = Object.values(faultsOf(given));
  if (fault !== undefined) return refuse('fields_invalid', fault);
  const email = parseEmail(given.email);
  if (!email.ok) return email;
  const passwordHash = await passwords.hash(given.password, { kind: 'known', name: 'first owner' });
  return { ok: true, value: { name: given.name.trim(), email: email.value, passwordHash } };
}

async function makeOwner(deps: OwnerDeps, owner: PreparedOwner): Promise<string> {
  // The operator says whose address it is.
  const user = await createUser(deps, { ...owner, hasProvenEmail: true });
  if (!user.ok) throw new Error('There was no user, and yet one with this address');
  const organisationId = await defaultOrganisation(deps.database.sql);
  await join(deps, { organisationId, userId: user.value, role: 'owner' });
  await deps.database
    .sql`insert into operators (user_id, created_at) values (${user.value}, ${new Date(deps.clock.now())})`;
  return user.value;
}

/** For programs that start together, and for two requests with the same link. Ends with the transaction. */
async function oneAtATime(sql: Sql): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtext('starling first owner'))`;
}
