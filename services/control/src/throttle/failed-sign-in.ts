/** Failed sign-ins, in the audit logs of the account's organisations: few entries, however many tries there are. */
import { failureHash, type ThrottleDeps } from './throttle.ts';

/** A count begins again after so long. */
const countedHours = 24;

interface FailedSignIn {
  readonly reason: 'password' | 'code';
  readonly email: string;
  /** Undefined: there is no such account, and nothing is written. */
  readonly userId: string | undefined;
}

/**
 * Writes an entry for the first failure of a day and for each number that is a power of two: a hundred guesses are seven
 * entries. One statement whether there is such a user or not, so that its time does not tell.
 */
export async function recordFailedSignIn(
  deps: Pick<ThrottleDeps, 'database' | 'clock'>,
  { reason, email, userId }: FailedSignIn,
  { address }: { readonly address: string },
): Promise<void> {
  const { sql } = deps.database;
  const at = new Date(deps.clock.now());
  await sql`
    with counted as (
      insert into sign_in_tries as tries (place_hash, count, last_at)
      values (${failureHash(reason, userId ?? email)}, 1, ${at})
      on conflict (place_hash) do update set
        count = case when tries.last_at <= ${at} - make_interval(hours => ${countedHours}) then 1
          else tries.count + 1 end,
        last_at = case when tries.last_at <= ${at} - make_interval(hours => ${countedHours}) then ${at}
          else tries.last_at end
      returning count
    )
    insert into audit_entries (organisation_id, at, actor, action, target, details)
    select m.organisation_id, ${at}, ${sql.json({ kind: 'stranger', address })}, 'signInFailed', 'user:' || u.id,
      jsonb_build_object('reason', ${reason}::text, 'failures', counted.count)
    from counted join users u on u.id = ${userId ?? ''} left join memberships m on m.user_id = u.id
    where counted.count & (counted.count - 1) = 0`;
}
