/** Members of organisations and invitations into them, as operations of the admin API. */
import { refuse } from '@starling/protocol';
import type { z } from 'zod';
import {
  type invitation as invitationSchema,
  type member as memberSchema,
  memberOperations as operations,
} from '../../contract/members.ts';
import { type Principal, type Role, reaches } from '../../contract/principal.ts';
import type { PeopleDeps } from '../../deps.ts';
import { type Implementation, implement, implementPrepared } from '../../frame/implement.ts';
import { parseCursor, toPage } from '../../frame/page.ts';
import {
  acceptAsNewUser,
  acceptAsUser,
  findInvitation,
  type InvitationItem,
  invite,
  listInvitations,
  revokeInvitation,
} from '../../members/invitation.ts';
import { changeRole, findMember, listMembers, type MemberItem, removeMember } from '../../members/membership.ts';
import { checkPassword } from '../../sign-in/password.ts';
import { admitAddress } from '../../throttle/throttle.ts';
import { signInAs } from '../me/person.ts';

export function memberImplementations(deps: PeopleDeps): readonly Implementation[] {
  return [
    implement(operations.listMembers, async ({ organisationId, query }) => {
      const place = parseCursor('members', ['time', 'string'], query.cursor);
      if (!place.ok) return place;
      const [createdAt, userId] = place.value ?? [];
      const after = createdAt === undefined ? undefined : ([new Date(Number(createdAt)), String(userId)] as const);
      const rows = await listMembers(deps, organisationId, { limit: query.limit + 1, after });
      const placeOf = (row: MemberItem) => [row.createdAt.getTime(), row.userId];
      return { ok: true, value: toPage('members', query.limit, rows, placeOf, toMember) };
    }),

    implement(operations.changeMember, async ({ organisationId, params: { userId }, body: { role }, principal }) => {
      const by = roleOf(principal, organisationId);
      const changed = await changeRole(deps, { organisationId, userId, role, by });
      if (!changed.ok) return changed;
      const member = await findMember(deps, organisationId, userId);
      if (member === undefined) return refuse('resource_unknown');
      const details = { from: changed.value.from, to: role };
      return { ok: true, value: toMember(member), deed: { target: `user:${userId}`, details } };
    }),

    implement(operations.removeMember, async ({ organisationId, params: { userId }, principal }) => {
      const role = roleOf(principal, organisationId);
      const isOneself = principal.kind === 'user' && userId === principal.userId;
      if (!isOneself && !reaches(role, 'admin')) {
        return refuse('role_too_low', `Only admins and owners remove others, and your role is ${role}`);
      }
      const removed = await removeMember(deps, { organisationId, userId, by: isOneself ? 'oneself' : role });
      if (!removed.ok) return removed;
      return { ok: true, value: null, deed: { target: `user:${userId}`, details: { from: removed.value.from } } };
    }),

    implement(operations.listInvitations, async ({ organisationId }) => {
      const items = await listInvitations(deps, organisationId);
      return { ok: true, value: { items: items.map(toInvitation) } };
    }),

    implement(operations.createInvitation, async ({ organisationId, body: { email, role }, principal }) => {
      const by = { userId: principal.userId, role: roleOf(principal, organisationId) };
      const made = await invite(deps, { organisationId, email, role, by });
      if (!made.ok) return made;
      const deed = { target: `invitation:${made.value.id}`, details: { email: made.value.email, role } };
      return { ok: true, value: { invitation: toInvitation(made.value), token: made.value.token }, deed };
    }),

    implement(operations.revokeInvitation, async ({ organisationId, params: { invitationId } }) => {
      const email = await revokeInvitation(deps, organisationId, invitationId);
      if (email === undefined) return refuse('resource_unknown');
      return { ok: true, value: null, deed: { target: `invitation:${invitationId}`, details: { email } } };
    }),

    implementPrepared(
      operations.readInvitation,
      async ({ body, request }) => {
        await admitAddress(deps, 'invitation', request.ip);
        return findInvitation(deps, body.token);
      },
      async (_call, { email, role, organisationName, hasUser }) => ({
        ok: true,
        value: { email, role, organisationName, hasUser },
        deed: { target: null },
      }),
    ),

    implementPrepared(
      operations.acceptInvitation,
      async ({ body, request, principal }) => {
        await admitAddress(deps, 'invitation', request.ip);
        const found = await findInvitation(deps, body.token);
        if (!found.ok || principal?.kind === 'user') return found.ok ? { ok: true, value: undefined } : found;
        if (principal !== undefined) return refuse('session_needed');
        if (found.value.hasUser) return refuse('email_taken');
        const { name, password } = body;
        if (name === undefined || password === undefined) {
          return refuse('fields_invalid', 'A new user needs a name and a password');
        }
        const checked = checkPassword(password, found.value.email);
        if (!checked.ok) return checked;
        const lane = { kind: 'known', name: `organisation:${found.value.organisationId}` } as const;
        return { ok: true, value: { name, passwordHash: await deps.passwords.hash(checked.value, lane) } } as const;
      },
      async ({ body, request, reply, principal }, newcomer) => {
        const accepted =
          newcomer === undefined
            ? await acceptAsUser(deps, body.token, principal?.userId ?? '')
            : await acceptAsNewUser(deps, body.token, newcomer);
        if (!accepted.ok) return accepted;
        const { organisationId, role, userId } = { userId: principal?.userId, ...accepted.value };
        if (newcomer !== undefined && userId !== undefined) await signInAs(deps, request, reply, userId);
        return {
          ok: true,
          value: { organisationId, role },
          deed: { target: `user:${userId}`, organisationId, details: { role } },
        };
      },
    ),
  ];
}

/** The frame has let nobody in who has none. */
function roleOf(principal: Principal, organisationId: string): Role {
  const role = principal.roleIn(organisationId);
  if (role === undefined) throw new Error('Somebody without a role was let in');
  return role;
}

function toMember({ createdAt, ...rest }: MemberItem): z.input<typeof memberSchema> {
  return { ...rest, createdAt: createdAt.toISOString() };
}

function toInvitation(item: InvitationItem): z.input<typeof invitationSchema> {
  const { id, email, role, createdAt, expiresAt } = item;
  return { id, email, role, createdAt: createdAt.toISOString(), expiresAt: expiresAt.toISOString() };
}
