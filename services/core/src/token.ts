/** A session's capability token: what it is worth at this moment, and how another takes its place. */
import type { App, VerifiedToken } from '@starling/ports';
import { type Checked, type Refusal, refuse, StarlingError } from '@starling/protocol';
import type { SessionContext } from './session-context.ts';
import { becomeUser, leaveUser, startUser, takeUser } from './signin.ts';

/** By id: until when the tokens of a user, or a token, are refused. Made once for each state of an app. */
interface Refused {
  readonly users: ReadonlyMap<string, number>;
  readonly tokens: ReadonlyMap<string, number>;
}
const refusedBy = new WeakMap<App['revocations'], Refused>();

function refusedOf({ revocations }: App): Refused {
  let refused = refusedBy.get(revocations);
  if (refused === undefined) {
    const by = (kind: 'user' | 'token') =>
      new Map(revocations.filter((each) => each.by === kind).map(({ id, at }) => [id, at]));
    refused = { users: by('user'), tokens: by('token') };
    refusedBy.set(revocations, refused);
  }
  return refused;
}

/**
 * Whether a token that was genuine still counts with the app as it is now; null when it does. Cheap enough to be asked
 * of every session at every change.
 */
export function tokenFault(app: App, token: VerifiedToken): Refusal | null {
  const { signer, user, tokenId, issuedAtMs } = token;
  const fault = (code: 'token_invalid' | 'token_revoked', message?: string): Refusal => refuse(code, message).refusal;
  if (!app.tokens.isEnabled) return fault('token_invalid', 'This app takes no tokens');
  if ('jwksUrl' in signer) {
    if (app.tokens.jwksUrl !== signer.jwksUrl)
      return fault('token_revoked', 'The identity provider is no longer trusted');
  } else if (!app.keys.some(({ key, isEnabled }) => isEnabled && key === signer.key)) {
    return fault('token_revoked', 'The key that signed the token is disabled');
  }
  if (app.revocations.length === 0) return null;
  const { users, tokens } = refusedOf(app);
  if (tokenId !== null && tokens.has(tokenId)) return fault('token_revoked', 'The token has been revoked');
  // Times in tokens are whole seconds: one of the same second counts as older.
  const revokedAt = user === null ? undefined : users.get(user.userId);
  if (revokedAt !== undefined && issuedAtMs <= revokedAt) {
    return fault('token_revoked', "The user's tokens have been revoked");
  }
  return null;
}

/** Genuine, and good with the app as it is when the answer comes. */
export async function verifyToken(
  session: Pick<SessionContext, 'app' | 'deps'>,
  text: string,
): Promise<Checked<VerifiedToken>> {
  const { clock, tokenVerifier } = session.deps;
  const checked = await tokenVerifier.verify(session.app, text, clock.now());
  if (!checked.ok) return checked;
  const fault = tokenFault(session.app, checked.value);
  return fault === null ? checked : { ok: false, refusal: fault };
}

/** `starling:auth`. Whatever is refused, the token in force stays. Runs alone with sign-ins for its session. */
export async function renewToken(session: SessionContext, text: string | undefined): Promise<void> {
  if (session.isClosed) return;
  const checked =
    text === undefined
      ? refuse('token_invalid', 'starling:auth needs data with a string "token"')
      : await verifyToken(session, text);
  if (session.isClosed) return;
  const refusal = checked.ok ? otherUser(session, checked.value) : checked.refusal;
  if (!checked.ok || refusal !== null) {
    session.refuseToken(refusal ?? refuse('token_invalid').refusal);
    return;
  }
  const token = checked.value;
  if (token.user === null || session.user !== null) {
    session.useToken(token);
    return;
  }
  const full = takeUser(session, token.user, []);
  if (full !== null) {
    session.refuseToken(full);
    return;
  }
  try {
    const reading = await becomeUser(session, token.user, []);
    if (reading === null) return;
    // What the app refuses now closes a connection, as it will a moment later.
    const fault = tokenFault(session.app, token);
    if (fault !== null) {
      session.refuse(fault.code, fault.message);
      return;
    }
    session.useToken(token);
    startUser(session, reading);
  } catch (err) {
    session.refuseToken(refuse('unavailable', 'The token could not be taken over: try again').refusal);
    await leaveUser(session);
    if (!(err instanceof StarlingError)) throw err;
    session.deps.observer.problem('failed: taking over a token', { err, app: session.app.id });
  }
}

/** A connection has one user all its life, and a token that has none keeps none. */
function otherUser(session: SessionContext, token: VerifiedToken): Refusal | null {
  const userId = token.user?.userId ?? null;
  const former = session.token === null ? userId : (session.token.user?.userId ?? null);
  if (userId === former && (userId === null || session.user === null || session.user.userId === userId)) return null;
  return refuse('token_invalid', 'The "sub" of the token is another than the connection\'s user').refusal;
}
