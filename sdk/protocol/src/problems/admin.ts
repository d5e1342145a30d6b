/** What only requests to the admin API can be told. */
import { nonFatal, type Problem } from './problem.ts';

export const adminProblems = {
  // Signing in to the admin API.
  sign_in_wrong: nonFatal(401, 'The e-mail address or the password is wrong'),
  second_factor_missing: nonFatal(401, 'A code of your second factor is needed, too'),
  second_factor_wrong: nonFatal(401, 'This code is wrong, or was used already'),
  provider_refused: nonFatal(401, 'The identity provider did not say who you are'),
  password_weak: nonFatal(400, 'This password is too easy to guess'),
  password_wrong: nonFatal(403, 'The password is wrong'),
  sign_in_outdated: nonFatal(403, 'This needs a sign-in of the last ten minutes'),
  session_needed: nonFatal(403, 'An access token may not do this'),
  invitation_of_other: nonFatal(403, 'The invitation is for somebody else'),
  email_taken: nonFatal(409, 'There is a user with this e-mail address'),
  last_owner: nonFatal(409, 'An organisation keeps at least one owner'),
  last_operator: nonFatal(409, 'An installation keeps at least one operator'),
  link_spent: nonFatal(410, 'This link was used, was replaced, or is too old'),

  // The admin API only.
  fields_invalid: nonFatal(400, 'Some of what was given is not as it must be'),
  origin_refused: nonFatal(403, 'Changes are not taken from pages of another origin'),
  operator_needed: nonFatal(403, 'Only operators of this installation may do this'),
  role_too_low: nonFatal(403, 'Your role in this organisation does not allow this'),
  resource_unknown: nonFatal(404, 'There is no such thing, or none that you may see'),
  version_outdated: nonFatal(409, 'Somebody else has changed it meanwhile'),
  idempotency_key_reused: nonFatal(409, 'This Idempotency-Key was used for another request'),
} as const satisfies Record<string, Problem>;
