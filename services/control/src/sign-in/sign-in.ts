/** Signing in by e-mail address and password, and by a code of the second factor where the user has one. */
import { addressGroup } from '@starling/core';
import { type Checked, refuse } from '@starling/protocol';
import { findUser, findUsersAt, parseEmail, type UserRow } from '../members/index.ts';
import { checkCode, type SecondFactorDeps } from '../second-factor/index.ts';
import { isFresh, type Visitor } from '../sessions/index.ts';
import {
  accountAllowance,
  admitAddress,
  forgetTries,
  giveTryBack,
  placeAllowance,
  recordFailedSignIn,
  takeAllowance,
  takeTry,
} from '../throttle/index.ts';
import type { Passwords } from './password.ts';
import type { Lane } from './turns.ts';

export interface SignInDeps extends SecondFactorDeps {
  readonly passwords: Passwords;
}

interface Credentials {
  readonly email: string;
  readonly password: string;
  /** Of the authenticator app, or a recovery code. */
  readonly code?: string | undefined;
  /** Tries only its members: for an address that more accounts have than are tried. */
  readonly organisationId?: string | undefined;
}

/**
 * Finds the user of these credentials. To be run outside of a transaction: the tries it counts are to stay, and a hash takes its time. Throws
 * StarlingError `rate_limited` after many wrong tries. Whether there is such a user is told neither by the answer nor by the
 * time it takes.
 */
export async function checkCredentials(
  deps: SignInDeps,
  { email: given, password, code, organisationId }: Credentials,
  visitor: Visitor,
): Promise<Checked<UserRow>> {
  await admitAddress(deps, 'sign-in', visitor.address);
  const parsed = parseEmail(given);
  const email = parsed.ok ? parsed.value : given;
  const { browser } = visitor;
  const accounts = parsed.ok
    ? await findUsersAt(deps.database, email, { organisationId, firstId: browser?.userId })
    : [];
  const known = accounts.find(({ id }) => id === browser?.userId);
  const user =
    (known && browser && (await matchKnown(deps, known, browser.id, password))) ??
    (known !== undefined && accounts.length === 1
      ? undefined
      : await matchStranger(deps, { email, password, accounts: accounts.filter((each) => each !== known) }, visitor));
  if (user === undefined) {
    const tried = accounts.length === 0 ? [undefined] : accounts;
    for (const each of tried) await recordFailedSignIn(deps, { reason: 'password', email, userId: each?.id }, visitor);
    return refuse('sign_in_wrong');
  }
  if (user.totpSecretSealed === null) return { ok: true, value: user };
  if (code === undefined || code === '') return refuse('second_factor_missing');
  const checked = await checkCode(deps, user, code, user === known ? browser?.id : undefined);
  if (checked.ok) return { ok: true, value: user };
  await recordFailedSignIn(deps, { reason: 'code', email, userId: user.id }, visitor);
  return checked;
}

/** In a browser that has signed in to this account before, which no stranger's tries slow down. */
async function matchKnown(
  deps: SignInDeps,
  user: UserRow,
  browserId: string,
  password: string,
): Promise<UserRow | undefined> {
  const place = ['sign-in', user.id, 'browser', browserId];
  await takeTry(deps, ...place);
  if (!(await deps.passwords.matches(password, user.passwordHash, laneOf(user)))) return undefined;
  await forgetTries(deps, ...place);
  return user;
}

/**
 * From anywhere else: bounded by place, by place and address, and by address over all places. The place comes first, so that
 * a try that is refused there takes nothing from the address.
 */
async function matchStranger(
  deps: SignInDeps,
  { email, password, accounts }: { email: string; password: string; accounts: readonly UserRow[] },
  { address }: Visitor,
): Promise<UserRow | undefined> {
  const place = addressGroup(address);
  const [ofPlace, ofBoth, ofAccount] = [
    ['sign-in from', place],
    ['sign-in', email, 'address', place],
    ['sign-in to', email],
  ] as const;
  await takeAllowance(deps, placeAllowance, ...ofPlace);
  await takeTry(deps, ...ofBoth);
  await takeAllowance(deps, accountAllowance, ...ofAccount);

  const lane: Lane = { kind: 'stranger', name: place };
  const withPassword = accounts.filter(({ passwordHash }) => passwordHash !== null);
  for (const user of withPassword.length === 0 ? [undefined] : withPassword) {
    if (!(await deps.passwords.matches(password, user?.passwordHash, lane))) continue;
    for (const each of [ofPlace, ofBoth, ofAccount]) await giveTryBack(deps, ...each);
    return user;
  }
  return undefined;
}

/**
 * The password of somebody who is signed in, once more before something that a stolen session must not be enough for. Who
 * has no password proves it by having signed in just now. To be run outside of a transaction.
 */
export async function checkPasswordAgain(
  deps: SignInDeps,
  { userId, sessionId }: { readonly userId: string; readonly sessionId: string },
  password: string | undefined,
): Promise<Checked<UserRow>> {
  const user = await findUser(deps.database, userId);
  if (user === undefined) return refuse('request_unauthenticated');
  if (user.passwordHash === null) {
    return (await isFresh(deps, sessionId)) ? { ok: true, value: user } : refuse('sign_in_outdated');
  }
  await takeTry(deps, 'password', sessionId);
  if (password === undefined || !(await deps.passwords.matches(password, user.passwordHash, laneOf(user)))) {
    return refuse('password_wrong');
  }
  await forgetTries(deps, 'password', sessionId);
  return { ok: true, value: user };
}

/** The lane of a user that has signed in here before. */
export function laneOf({ id }: Pick<UserRow, 'id'>): Lane {
  return { kind: 'known', name: `user:${id}` };
}
