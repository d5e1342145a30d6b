import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { MemberDeps } from '../../members/index.ts';
import { meOf } from './person.ts';

export function readMe(deps: MemberDeps): Implementation {
  return implement(operations.readMe, async ({ principal }) => {
    const { memberships, ...rest } = await meOf(deps, principal.userId);
    // Of a token only what it reaches, and as what: elsewhere, and above that, its user is no business of its.
    const reached = memberships.flatMap((each) => {
      const role = principal.roleIn(each.organisationId);
      return role === undefined ? [] : [{ ...each, role }];
    });
    return { ok: true, value: { ...rest, memberships: reached } };
  });
}
