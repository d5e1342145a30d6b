/** A channel that knows who is on it. */
import type { Answer } from './authorize.ts';
import { type Channel, type ChannelSystemEvents, type Permission, PrivateChannel } from './channel.ts';
import type { Untyped } from './listeners.ts';
import { parseJson } from './surroundings.ts';

export interface Member {
  readonly id: string;
  readonly info: Untyped;
}

export interface PresenceSystemEvents extends Omit<ChannelSystemEvents, 'pusher:subscription_succeeded'> {
  /** Also told anew where the server may have missed who came and went. */
  'pusher:subscription_succeeded': Members;
  'pusher:member_added': Member;
  'pusher:member_removed': Member;
}

export class Members {
  /** Their info by user id. */
  members: Record<string, Untyped> = Object.create(null);
  /** Distinct users. */
  count = 0;
  myID: string | null = null;
  me: Member | null = null;

  get(id: string): Member | null {
    return id in this.members ? { id, info: this.members[id] } : null;
  }

  each(callback: (member: Member) => void): void {
    for (const [id, info] of Object.entries(this.members)) callback({ id, info });
  }

  set(members: Readonly<Record<string, unknown>>): void {
    // Without a prototype, so that a user may be called anything.
    this.members = Object.assign(Object.create(null), members);
    this.count = Object.keys(this.members).length;
    this.me = this.myID === null ? null : this.get(this.myID);
  }

  add(id: string, info: unknown): Member {
    this.set({ ...this.members, [id]: info });
    return { id, info };
  }

  remove(id: string): Member | null {
    const member = this.get(id);
    const { [id]: _, ...rest } = this.members;
    this.set(rest);
    return member;
  }
}

export class PresenceChannel<Events extends object = Record<string, Untyped>> extends PrivateChannel<
  Events,
  PresenceSystemEvents
> {
  readonly members = new Members();

  protected override permission(socketId: string): Promise<Answer<Permission>> {
    return this.ownPermission(Promise.resolve(super.permission(socketId)));
  }

  private async ownPermission(asked: Promise<Permission | Answer<Permission>>): Promise<Answer<Permission>> {
    const answered = await asked;
    const answer: Answer<Permission> =
      'ok' in answered ? (answered as Answer<Permission>) : { ok: true, value: answered };
    if (!answer.ok) return answer;
    const { channel_data } = answer.value;
    const data =
      channel_data === undefined ? undefined : (parseJson(channel_data) as { user_id?: unknown } | undefined);
    // Without channel_data one is there as the user one has signed in as.
    const id = data === undefined ? await this.host.user() : data.user_id;
    if (typeof id !== 'string' && typeof id !== 'number') {
      const error = `No user for ${this.name}: the answer has no channel_data with a user_id, and nobody has signed in`;
      return { ok: false, error: { type: 'AuthError', error } };
    }
    this.members.myID = String(id);
    return answer;
  }

  protected override joined(data: unknown): Members {
    this.members.set((data as { presence: { hash: Record<string, unknown> } }).presence.hash);
    return this.members;
  }

  protected override handleInternal(event: string, data: unknown): void {
    const { user_id, user_info } = data as { user_id: string; user_info?: unknown };
    if (event === 'pusher_internal:member_added') {
      this.tell('pusher:member_added', this.members.add(user_id, user_info));
    } else if (event === 'pusher_internal:member_removed') {
      const member = this.members.remove(user_id);
      if (member !== null) this.tell('pusher:member_removed', member);
    }
  }

  protected override tellEvent(event: string, data: unknown, userId: string | undefined): void {
    this.tell(event, data, userId);
  }

  protected override reset(): void {
    super.reset();
    this.members.set({});
    this.members.myID = null;
  }
}

/** For code that holds channels of any kind. */
export function isPresence(channel: Channel): channel is Channel & PresenceChannel {
  return channel instanceof PresenceChannel;
}
