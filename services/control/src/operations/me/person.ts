import { type Checked, refuse } from '@starling/protocol';
import type { z } from 'zod';
import type { me } from '../../contract/people.ts';
import type { Principal } from '../../contract/principal.ts';
import { findUser, membershipsOf } from '../../members/index.ts';
import { checkPasswordAgain, type SignInDeps } from '../../sign-in/index.ts';
import type { OperationDeps } from '../deps.ts';

/** The user in person: a program with a token decides nothing about its user, and does not see the sessions. */
export function asUser(principal: Principal): Checked<{ readonly userId: string; readonly sessionId: string }> {
  const { kind, userId, sessionId } = principal;
  if (kind !== 'user' || sessionId === undefined) return refuse('session_needed');
  return { ok: true, value: { userId, sessionId } };
}

export async function again(deps: SignInDeps, principal: Principal, password: string | undefined) {
  const session = asUser(principal);
  if (!session.ok) return session;
  const user = await checkPasswordAgain(deps, session.value, password);
  return user.ok ? ({ ok: true, value: { user: user.value } } as const) : user;
}

export async function meOf({ database }: Pick<OperationDeps, 'database'>, userId: string): Promise<z.input<typeof me>> {
  const user = await findUser(database, userId);
  if (user === undefined) throw new Error('Somebody is signed in as a user who is not there');
  return {
    id: user.id,
    email: user.email,
    hasProvenEmail: user.hasProvenEmail,
    name: user.name,
    hasPassword: user.passwordHash !== null,
    hasSecondFactor: user.totpSecretSealed !== null,
    memberships: [...(await membershipsOf(database, userId))],
  };
}
