import { isAppId, isFields, isTextUpTo, isWhole, readJson } from './reading.ts';

/** What every node should know at once, whatever it serves. */
export type ControlMessage =
  /** Somebody changed or removed the app: what a node has kept of it below this version is out of date. */
  | { readonly kind: 'app-changed'; readonly appId: string; readonly version: number }
  /** Somebody watches what happens in the app: every node tells of it for a while. */
  | { readonly kind: 'app-watched'; readonly appId: string }
  /** A node goes by this version of the app from now on. */
  | { readonly kind: 'app-applied'; readonly appId: string; readonly version: number; readonly nodeId: string }
  /** What this user may, or signs in with, is less than it was; null: of anybody. Answers that go on are to look again. */
  | { readonly kind: 'access-changed'; readonly userId: string | null };

/** Bytes of the longest control message that is read. The longest of today has 200. */
const maxControlMessageBytes = 4_096;

/**
 * A control message as it came from the broker. `unknown`: well-formed, of a kind that this version does not know; a newer
 * node sends it, and this one has nothing to do with it. `malformed`: no node of ours wrote it.
 */
export function parseControlMessage(payload: Uint8Array): ControlMessage | 'unknown' | 'malformed' {
  const read = readJson(payload, maxControlMessageBytes);
  if (read === null || !isFields(read.value)) return 'malformed';
  // Only what is named here goes on: a field too many is a newer node's.
  const { kind, appId, version, nodeId } = read.value;
  if (typeof kind !== 'string') return 'malformed';
  switch (kind) {
    case 'app-changed':
      return isAppId(appId) && isWhole(version) ? { kind, appId, version } : 'malformed';
    case 'app-watched':
      return isAppId(appId) ? { kind, appId } : 'malformed';
    case 'app-applied':
      return isAppId(appId) && isWhole(version) && isTextUpTo(nodeId, 128)
        ? { kind, appId, version, nodeId }
        : 'malformed';
    case 'access-changed': {
      const { userId } = read.value;
      return userId === null || isTextUpTo(userId, 64) ? { kind, userId } : 'malformed';
    }
    default:
      return 'unknown';
  }
}

/**
 * A board that all nodes read. A control message is worth reading only while it is fresh: it says that something kept elsewhere
 * has changed, and is lost on nodes whose link is down. Those are told of the gap, and read the thing itself again.
 */
export interface ControlBus {
  /** This node reads it too. Rejects with a StarlingError `unavailable` when the world fails. */
  post(controlMessage: ControlMessage): Promise<void>;
  /** What `read` throws costs that one reader that one control message. Returns the function that ends the reading. */
  listen(read: (controlMessage: ControlMessage) => void): () => void;
  /** Told when control messages may have been missed. Returns the function that ends the listening. */
  onGap(listener: () => void): () => void;
}
