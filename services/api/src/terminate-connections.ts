/** `POST users/USER/terminate_connections`. */
import { terminateConnections as terminate } from '@starling/core';
import { type Checked, parseUserId } from '@starling/protocol';
import type { ApiDeps, Call } from './signed-route.ts';

export async function terminateConnections(deps: ApiDeps, { app, path }: Call): Promise<Checked<string>> {
  const userId = parseUserId(path['userId']);
  if (!userId.ok) return userId;
  await terminate(deps, app, userId.value);
  return { ok: true, value: '{}' };
}
