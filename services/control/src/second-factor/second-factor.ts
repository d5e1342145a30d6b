/** The second factor: an authenticator app, and codes on paper for the day it is lost. */
import { type Keyring, totpSecretPurpose } from '@starling/database';
import { type Checked, refuse } from '@starling/protocol';
import type { UserRow } from '../members/index.ts';
import { forgetTries, type ThrottleDeps, takeTry } from '../throttle/index.ts';
import { createRecoveryCodes, recoveryDigest } from './recovery-code.ts';
import { createTotpSecret, findStep, toBase32, totpUrl } from './totp.ts';

export interface SecondFactorDeps extends ThrottleDeps {
  readonly keyring: Keyring;
}

/**
 * Whether it is a code of the user's, that then counts no more. To be run outside of a transaction. Only who knows the
 * password comes here, so tries are counted for all unknown places together.
 */
export async function checkCode(
  deps: SecondFactorDeps,
  user: UserRow,
  code: string,
  knownBrowserId?: string,
): Promise<Checked<true>> {
  const place = ['code', user.id, knownBrowserId ?? 'anywhere'];
  await takeTry(deps, ...place);
  if (!(await useTotp(deps, user, code)) && !(await useRecoveryCode(deps, user.id, code))) {
    return refuse('second_factor_wrong');
  }
  await forgetTries(deps, ...place);
  return { ok: true, value: true };
}

async function useTotp({ database, keyring, clock }: SecondFactorDeps, user: UserRow, code: string): Promise<boolean> {
  if (user.totpSecretSealed === null) return false;
  const secret = Buffer.from(keyring.open(user.totpSecretSealed, totpSecretPurpose(user.id)), 'base64url');
  const step = findStep(secret, code, clock.now());
  if (step === undefined) return false;
  // In one statement: of two requests with the same code at once, one is too late.
  const { count } = await database.sql`
    update users set totp_used_step = ${step} where id = ${user.id} and totp_used_step < ${step}`;
  return count > 0;
}

async function useRecoveryCode({ database }: SecondFactorDeps, userId: string, code: string): Promise<boolean> {
  const digest = recoveryDigest(userId, code);
  if (digest === undefined) return false;
  const { count } = await database.sql`delete from recovery_codes where user_id = ${userId} and code_hash = ${digest}`;
  return count > 0;
}

/** Makes a secret, which counts from the moment a code of it is shown. */
export async function offerTotp(
  { database, keyring }: SecondFactorDeps,
  user: UserRow,
): Promise<Checked<{ readonly secret: string; readonly url: string }>> {
  if (user.totpSecretSealed !== null) return refuse('state_conflict', 'There is a second factor: remove it first');
  const secret = createTotpSecret();
  const sealed = keyring.seal(secret.toString('base64url'), totpSecretPurpose(user.id));
  await database.sql`update users set totp_offered_sealed = ${sealed} where id = ${user.id}`;
  return { ok: true, value: { secret: toBase32(secret), url: totpUrl(secret, user.email) } };
}

/** Gives the recovery codes, for the only time. */
export async function confirmTotp(
  { database, keyring, clock }: SecondFactorDeps,
  user: UserRow,
  code: string,
): Promise<Checked<readonly string[]>> {
  if (user.totpOfferedSealed === null) return refuse('state_conflict', 'No second factor is being set up');
  const secret = Buffer.from(keyring.open(user.totpOfferedSealed, totpSecretPurpose(user.id)), 'base64url');
  const step = findStep(secret, code, clock.now());
  if (step === undefined) {
    return refuse('second_factor_wrong', 'This is not the code of the moment: is the clock of the phone right?');
  }
  return database.tx(async (sql) => {
    const { count } = await sql`
      update users
      set totp_secret_sealed = totp_offered_sealed, totp_offered_sealed = null, totp_used_step = ${step}
      where id = ${user.id} and totp_offered_sealed = ${user.totpOfferedSealed}`;
    if (count === 0) return refuse('state_conflict', 'It was set up meanwhile');
    return { ok: true, value: await replaceRecoveryCodes({ database }, user.id) };
  });
}

/** In the place of all there were. Gives them for the only time. */
export async function replaceRecoveryCodes(
  { database }: Pick<SecondFactorDeps, 'database'>,
  userId: string,
): Promise<readonly string[]> {
  const codes = createRecoveryCodes();
  const digests = codes.map((code) => recoveryDigest(userId, code) ?? '');
  await database.tx(async (sql) => {
    await sql`delete from recovery_codes where user_id = ${userId}`;
    await sql`insert into recovery_codes (user_id, code_hash) select ${userId}, unnest(${digests}::text[])`;
  });
  return codes;
}

export async function removeTotp({ database }: Pick<SecondFactorDeps, 'database'>, userId: string): Promise<void> {
  await database.tx(async (sql) => {
    await sql`
      update users set totp_secret_sealed = null, totp_offered_sealed = null where id = ${userId}`;
    await sql`delete from recovery_codes where user_id = ${userId}`;
  });
}
