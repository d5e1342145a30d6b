import { memberOperations as operations } from '../../contract/members.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { parseCursor, toPage } from '../../frame/page.ts';
import { type MemberDeps, type MemberItem, readMembers } from '../../members/index.ts';
import { toMember } from './member.ts';

export function listMembers(deps: MemberDeps): Implementation {
  return implement(operations.listMembers, async ({ organisationId, query }) => {
    const position = parseCursor('members', ['time', 'string'], query.cursor);
    if (!position.ok) return position;
    const [createdAt, userId] = position.value ?? [];
    const after = createdAt === undefined ? undefined : ([new Date(Number(createdAt)), String(userId)] as const);
    const rows = await readMembers(deps, organisationId, { limit: query.limit + 1, after });
    const positionOf = (row: MemberItem) => [row.createdAt.getTime(), row.userId];
    return { ok: true, value: toPage('members', query.limit, rows, positionOf, toMember) };
  });
}
