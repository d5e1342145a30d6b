import { memberOperations as operations } from '../../contract/members.ts';
import { type Implementation, implementPrepared } from '../../frame/implement.ts';
import { findInvitation } from '../../members/index.ts';
import { admitAddress, type ThrottleDeps } from '../../throttle/index.ts';

export function readInvitation(deps: ThrottleDeps): Implementation {
  return implementPrepared(
    operations.readInvitation,
    async ({ body, request }) => {
      await admitAddress(deps, 'invitation', request.ip);
      return findInvitation(deps, body.token);
    },
    async (_call, { email, role, organisationName, hasUser }) => ({
      ok: true,
      value: { email, role, organisationName, hasUser },
      auditRecord: { target: null },
    }),
  );
}
