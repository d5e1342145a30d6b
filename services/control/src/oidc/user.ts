/** Finds or makes the user for an identity that a provider has confirmed. */
import { defaultOrganisation } from '@starling/database';
import { type Checked, refuse } from '@starling/protocol';
import { type Role, roles } from '../contract/principal.ts';
import {
  createUser,
  domainOf,
  findOwnerOf,
  hasUsers,
  isInvited,
  join,
  lockOperators,
  type MemberDeps,
  moveOperator,
  parseEmail,
} from '../members/index.ts';
import type { Identity } from './provider.ts';

export interface OidcRules {
  /** Whose addresses may come in; empty: any that the provider vouches for. */
  readonly allowedDomains: readonly string[];
  /** The role of newcomers in the default organisation; undefined: only users and invited addresses come in. */
  readonly defaultRole: Role | undefined;
}

/**
 * The user of this issuer and subject; else, if the provider has verified their address, the user that has proven it before;
 * else the accounts that have it unproven, as one; else a new user, where the rules or an invitation allow that. Gives the
 * user's id.
 */
export async function userOf(
  deps: MemberDeps,
  { allowedDomains, defaultRole }: OidcRules,
  { issuer, subject, verifiedEmail, name }: Identity,
): Promise<Checked<string>> {
  const email = verifiedEmail === undefined ? undefined : parseEmail(verifiedEmail);
  const address = email?.ok === true ? email.value : undefined;
  if (allowedDomains.length > 0 && (address === undefined || !allowedDomains.includes(domainOf(address)))) {
    return refuse('provider_refused', 'Your address is of no domain that may come in here');
  }
  return deps.database.tx(async (sql) => {
    // Two tabs of one newcomer make one user.
    await sql`select pg_advisory_xact_lock(hashtext(${`starling identity ${issuer} ${subject}`}))`;
    const [linked] = await sql<{ userId: string }[]>`
      select user_id as "userId" from identities where issuer = ${issuer} and subject = ${subject}`;
    if (linked !== undefined) return { ok: true, value: linked.userId };
    if (address === undefined) {
      return refuse('provider_refused', 'The identity provider does not vouch for your e-mail address');
    }
    // Two with the same address at once: the later finds that it is proven.
    await sql`select pg_advisory_xact_lock(hashtext(${`starling address ${address}`}))`;
    const knownId = (await findOwnerOf(deps.database, address))?.id ?? (await takeOver(deps, address));
    const userId = knownId === undefined ? await newcomer() : { ok: true as const, value: knownId };
    if (!userId.ok) return userId;
    await sql`
      insert into identities (issuer, subject, user_id, created_at)
      values (${issuer}, ${subject}, ${userId.value}, ${new Date(deps.clock.now())})`;
    return userId;

    async function newcomer(): Promise<Checked<string>> {
      if (address === undefined || !(await hasUsers(deps.database))) {
        return refuse('provider_refused', 'Set Starling up first, by the link that its start has printed');
      }
      if (defaultRole === undefined && !(await isInvited(deps, address))) {
        return refuse('provider_refused', 'Nobody has invited you: ask an owner for an invitation');
      }
      const made = await createUser(deps, {
        email: address,
        name: name ?? address,
        passwordHash: null,
        hasProvenEmail: true,
      });
      if (made.ok && defaultRole !== undefined) {
        const organisationId = await defaultOrganisation(sql);
        await join(deps, { organisationId, userId: made.value, role: defaultRole });
      }
      return made;
    }
  });
}

/**
 * The holder of an invitation can make an account with an address of another person. The person whom the provider confirms
 * gets what organisations gave to that address: the oldest account, with the roles of the others, and with the
 * right to run the installation if one of them had it. The ways in that others had end. Gives its id; undefined where there
 * is none.
 */
async function takeOver(deps: MemberDeps, email: string): Promise<string | undefined> {
  const { sql } = deps.database;
  await lockOperators(sql);
  const [own, ...others] = await sql<{ id: string }[]>`
    select id from users where email = ${email} and not has_proven_email order by created_at, id for update`;
  if (own === undefined) return undefined;
  for (const { id } of others) {
    await sql`
      insert into memberships as own (organisation_id, user_id, role, created_at)
      select organisation_id, ${own.id}, role, created_at from memberships where user_id = ${id}
      on conflict (organisation_id, user_id) do update set role = excluded.role
      where array_position(${[...roles]}::text[], excluded.role) < array_position(${[...roles]}::text[], own.role)`;
    await moveOperator(deps, { from: id, to: own.id });
    await sql`delete from users where id = ${id}`;
  }
  await sql`
    update users set has_proven_email = true, password_hash = null, totp_secret_sealed = null,
      totp_offered_sealed = null
    where id = ${own.id}`;
  await sql`delete from recovery_codes where user_id = ${own.id}`;
  await sql`delete from sessions where user_id = ${own.id}`;
  await sql`delete from access_tokens where user_id = ${own.id}`;
  return own.id;
}
