import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { changeName, type MemberDeps } from '../../members/index.ts';
import { asUser, meOf } from './person.ts';

export function changeMe(deps: MemberDeps): Implementation {
  return implement(operations.changeMe, async ({ principal, body }) => {
    const user = asUser(principal);
    if (!user.ok) return user;
    await changeName(deps.database, user.value.userId, body.name);
    return {
      ok: true,
      value: await meOf(deps, user.value.userId),
      auditRecord: { target: `user:${user.value.userId}` },
    };
  });
}
