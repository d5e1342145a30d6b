/** `POST revocations`: tokens of a user, or one token, are refused from now on. */
import { type Checked, parseTokenId, parseUserId, refuse } from '@starling/protocol';
import { parseBody } from './body.ts';
import type { ApiDeps, Call } from './signed-route.ts';

export async function revokeTokens(deps: ApiDeps, { app, body }: Call): Promise<Checked<string>> {
  const fields = parseBody(body);
  if (!fields.ok) return fields;
  const { user_id: userId, token_id: tokenId } = fields.value;
  if ((userId === undefined) === (tokenId === undefined)) {
    return refuse('request_malformed', 'Expected either "user_id" or "token_id"');
  }
  const id = userId === undefined ? parseTokenId(tokenId) : parseUserId(userId);
  if (!id.ok) return id;
  await deps.revoker.revoke(app.id, {
    by: userId === undefined ? 'token' : 'user',
    id: id.value,
    at: deps.clock.now(),
  });
  return { ok: true, value: '{}' };
}
