/** Invitations into an organisation. No mail is sent: the inviting member passes the link on. */
import { type Checked, refuse } from '@starling/protocol';
import { createBearerSecret, digestOf } from '../bearer-secret.ts';
import { type Role, reaches } from '../contract/principal.ts';
import { createId } from '../id.ts';
import { parseEmail } from './email.ts';
import { createUser, findUser, join, type MemberDeps } from './user.ts';

const lastsMs = 7 * 24 * 3_600_000;

export interface InvitationItem {
  readonly id: string;
  readonly email: string;
  readonly role: Role;
  readonly createdAt: Date;
  readonly expiresAt: Date;
}

/** Gives the token, for the only time. An older invitation to the same address ends. */
export async function invite(
  deps: MemberDeps,
  {
    organisationId,
    email: given,
    role,
    by,
  }: {
    organisationId: string;
    email: string;
    role: Role;
    by: { readonly userId: string; readonly role: Role };
  },
): Promise<Checked<InvitationItem & { readonly token: string }>> {
  const email = parseEmail(given);
  if (!email.ok) return email;
  if (!reaches(by.role, role)) {
    return refuse('role_too_low', `Nobody gives a role above their own, and yours is ${by.role}`);
  }
  const [member] = await deps.database.sql`
    select 1 from memberships m join users u on u.id = m.user_id
    where m.organisation_id = ${organisationId} and u.email = ${email.value}`;
  if (member !== undefined) return refuse('state_conflict', 'They are a member already: change their role');
  const { text, digest } = createBearerSecret('sti_');
  const at = new Date(deps.clock.now());
  const item = {
    id: createId('inv'),
    email: email.value,
    role,
    createdAt: at,
    expiresAt: new Date(at.getTime() + lastsMs),
  };
  await deps.database.sql`
    insert into invitations (id, organisation_id, email, role, token_hash, invited_by, created_at, expires_at)
    values (${item.id}, ${organisationId}, ${item.email}, ${role}, ${digest}, ${by.userId}, ${at}, ${item.expiresAt})
    on conflict (organisation_id, email) do update set id = excluded.id, role = excluded.role,
      token_hash = excluded.token_hash, invited_by = excluded.invited_by, created_at = excluded.created_at,
      expires_at = excluded.expires_at`;
  return { ok: true, value: { ...item, token: text } };
}

/** Those that can be accepted, the newest first. */
export async function readInvitations(deps: MemberDeps, organisationId: string): Promise<readonly InvitationItem[]> {
  return deps.database.sql<InvitationItem[]>`
    select id, email, role, created_at as "createdAt", expires_at as "expiresAt" from invitations
    where organisation_id = ${organisationId} and expires_at > ${new Date(deps.clock.now())} order by created_at desc, id limit 500`;
}

/** Gives the address it was for; undefined when there is none. */
export async function deleteInvitation(
  { database }: MemberDeps,
  organisationId: string,
  id: string,
): Promise<string | undefined> {
  const [row] = await database.sql<{ email: string }[]>`
    delete from invitations where organisation_id = ${organisationId} and id = ${id} returning email`;
  return row?.email;
}

interface OpenInvitation {
  readonly id: string;
  readonly organisationId: string;
  readonly organisationName: string;
  readonly email: string;
  readonly role: Role;
  /** Somebody has proven this address: only they accept, signed in. */
  readonly hasUser: boolean;
}

export async function findInvitation(deps: MemberDeps, token: string): Promise<Checked<OpenInvitation>> {
  const [row] = await deps.database.sql<OpenInvitation[]>`
    select i.id, i.organisation_id as "organisationId", o.name as "organisationName", i.email, i.role,
      exists (select 1 from users u where u.email = i.email and u.has_proven_email) as "hasUser"
    from invitations i join organisations o on o.id = i.organisation_id
    where i.token_hash = ${digestOf(token)} and i.expires_at > ${new Date(deps.clock.now())}`;
  return row === undefined ? refuse('link_spent') : { ok: true, value: row };
}

/** Whether anybody has invited this address. */
export async function isInvited(deps: MemberDeps, email: string): Promise<boolean> {
  const rows = await deps.database.sql`
    select 1 from invitations where email = ${email} and expires_at > ${new Date(deps.clock.now())} limit 1`;
  return rows.length > 0;
}

/**
 * As a user with the address that was invited. It is the token that lets them in, which the organisation has given to
 * somebody: that an account has the address means nothing, since others may have it, too. In a transaction of the
 * caller's, which a refusal undoes.
 */
export async function acceptAsUser(deps: MemberDeps, token: string, userId: string): Promise<Checked<OpenInvitation>> {
  const found = await findInvitation(deps, token);
  if (!found.ok) return found;
  const user = await findUser(deps.database, userId);
  if (user?.email !== found.value.email) {
    return refuse('invitation_of_other', `The invitation is for ${found.value.email}: sign in with that address`);
  }
  const spent = await spend(deps, found.value);
  if (!spent.ok) return spent;
  await join(deps, { organisationId: found.value.organisationId, userId, role: found.value.role });
  return found;
}

/**
 * As a new user, unless somebody has proven the address. That proves it for nobody: the organisation gave the token to
 * whom it liked, perhaps to itself. So it keeps nobody else from the address, neither an organisation that invites it nor
 * whom it belongs to. In a transaction of the caller's, which a refusal undoes.
 */
export async function acceptAsNewUser(
  deps: MemberDeps,
  token: string,
  { name, passwordHash }: { readonly name: string; readonly passwordHash: string },
): Promise<Checked<OpenInvitation & { readonly userId: string }>> {
  const found = await findInvitation(deps, token);
  if (!found.ok) return found;
  const { email, organisationId, role, hasUser } = found.value;
  if (hasUser) return refuse('email_taken');
  const spent = await spend(deps, found.value);
  if (!spent.ok) return spent;
  const userId = await createUser(deps, { email, name, passwordHash, hasProvenEmail: false });
  if (!userId.ok) return userId;
  await join(deps, { organisationId, userId: userId.value, role });
  return { ok: true, value: { ...found.value, userId: userId.value } };
}

async function spend({ database }: MemberDeps, { id }: OpenInvitation): Promise<Checked<true>> {
  const { count } = await database.sql`delete from invitations where id = ${id}`;
  // Of two at once, the later finds it gone.
  return count === 0 ? refuse('link_spent') : { ok: true, value: true };
}
