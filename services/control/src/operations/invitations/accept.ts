import { refuse } from '@starling/protocol';
import { memberOperations as operations } from '../../contract/members.ts';
import { type Implementation, implementPrepared } from '../../frame/implement.ts';
import { acceptAsNewUser, acceptAsUser, findInvitation } from '../../members/index.ts';
import { type SessionDeps, signInAs } from '../../sessions/index.ts';
import { checkPassword, type SignInDeps } from '../../sign-in/index.ts';
import { admitAddress } from '../../throttle/index.ts';

export function acceptInvitation(deps: SignInDeps & SessionDeps): Implementation {
  return implementPrepared(
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
        auditRecord: { target: `user:${userId}`, organisationId, details: { role } },
      };
    },
  );
}
