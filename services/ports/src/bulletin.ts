/** What every node should know at once, whatever it serves. */
export type Notice =
  /** Somebody changed or removed the app: what a node has kept of it below this version is out of date. */
  | { readonly kind: 'app-changed'; readonly appId: string; readonly version: number }
  /** Somebody watches what happens in the app: every node tells of it for a while. */
  | { readonly kind: 'app-watched'; readonly appId: string }
  /** A node goes by this version of the app from now on. */
  | { readonly kind: 'app-applied'; readonly appId: string; readonly version: number; readonly nodeId: string }
  /** What this user may, or signs in with, is less than it was; null: of anybody. Answers that go on are to look again. */
  | { readonly kind: 'access-changed'; readonly userId: string | null };

/**
 * A board that all nodes read. A notice is worth reading only while it is fresh: it says that something kept elsewhere
 * has changed, and is lost on nodes whose link is down. Those are told of the gap, and read the thing itself again.
 */
export interface Bulletin {
  /** This node reads it too. Rejects with a StarlingError `unavailable` when the world fails. */
  post(notice: Notice): Promise<void>;
  /** `read` must not throw. Returns the function that ends the reading. */
  listen(read: (notice: Notice) => void): () => void;
  /** Told when notices may have been missed. Returns the function that ends the listening. */
  onGap(listener: () => void): () => void;
}
