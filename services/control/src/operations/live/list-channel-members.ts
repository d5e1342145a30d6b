import { channelTopic } from '@starling/ports';
import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';

export function listChannelMembers({ presenceStore }: Pick<OperationDeps, 'presenceStore'>): Implementation {
  return implement(operations.listChannelMembers, async ({ params: { appId, channel } }) => {
    const { members } = await presenceStore.members(channelTopic(appId, channel));
    // A channel is there while somebody is in it.
    if (members.length === 0) return fail('resource_unknown');
    return {
      ok: true,
      value: { items: members.map(({ userId, userInfo }) => ({ userId, userInfo: JSON.parse(userInfo) })) },
    };
  });
}
