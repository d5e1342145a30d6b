/** Signing in by e-mail address and password, and by a code of the second factor where the user has one. */
import { type Checked, refuse } from '@starling/protocol';
import type { PeopleDeps, Visitor } from './deps.ts';
import { parseEmail } from './email.ts';
import { checkCode } from './second-factor.ts';
import { admitAddress, admitStrangers, forgetTries, placeOf, takeTry } from './throttle.ts';
import { findUser, type UserRow } from './user.ts';

export interface Credentials {
  readonly email: string;
  readonly password: string;
  /** Of the authenticator app, or a recovery code. */
  readonly code?: string | undefined;
}

/**
 * Who it is. To be run outside of a transaction: the tries it counts are to stay, and a hash takes its time. Throws
 * StarlingError `rate_limited` for who guesses. Whether there is such a user is told neither by the answer nor by the
 * time it takes.
 */
export async function checkCredentials(
  deps: PeopleDeps,
  { email: given, password, code }: Credentials,
  visitor: Visitor,
): Promise<Checked<UserRow>> {
  await admitAddress(deps, 'sign-in', visitor.address);
  const parsed = parseEmail(given);
  const email = parsed.ok ? parsed.value : given;
  const user = parsed.ok ? await findUser(deps.database, { email }) : undefined;
  const isKnown = user !== undefined && visitor.browser?.userId === user.id;
  const place = triedFrom(email, visitor, isKnown);
  const tries = await takeTry(deps, ...place);
  // The first try from anywhere is always heard, so that a crowd of strangers does not keep the user out.
  if (tries > 1 && !isKnown) await admitStrangers(deps, email);

  const isRight = await deps.passwords.matches(password, user?.passwordHash);
  if (user === undefined || !isRight) return refuse('sign_in_wrong');
  if (user.totpSecretSealed !== null) {
    if (code === undefined || code === '') return refuse('second_factor_missing');
    const checked = await checkCode(deps, user, code, isKnown ? visitor.browser?.id : undefined);
    if (!checked.ok) return checked;
  }
  await forgetTries(deps, ...place);
  return { ok: true, value: user };
}

/**
 * The password of somebody who is signed in, once more before something that a stolen session must not be enough for.
 * To be run outside of a transaction.
 */
export async function checkPasswordAgain(
  deps: PeopleDeps,
  { userId, sessionId }: { readonly userId: string; readonly sessionId: string },
  password: string | undefined,
): Promise<Checked<UserRow>> {
  const user = await findUser(deps.database, { id: userId });
  if (user === undefined) return refuse('request_unauthenticated');
  // Whoever signs in elsewhere has none to be asked for.
  if (user.passwordHash === null) return { ok: true, value: user };
  await takeTry(deps, 'password', sessionId);
  if (password === undefined || !(await deps.passwords.matches(password, user.passwordHash))) {
    return refuse('password_wrong');
  }
  await forgetTries(deps, 'password', sessionId);
  return { ok: true, value: user };
}

function triedFrom(email: string, { address, browser }: Visitor, isKnown: boolean): string[] {
  return isKnown && browser !== undefined
    ? ['sign-in', email, 'browser', browser.id]
    : ['sign-in', email, 'address', placeOf(address)];
}
