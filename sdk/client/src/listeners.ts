/** Who is told of which event: the part that every object with a `bind` shares. */
import { after } from './surroundings.ts';

/**
 * Data of events whose type nobody has stated. Like pusher-js it may be used as anything, so that a program moves over
 * by its imports alone; `Starling<Events>` gives it types.
 */
// biome-ignore lint/suspicious/noExplicitAny: the one place where what is untyped in pusher-js is so here, too.
export type Untyped = any;

/** Beside the data of a channel's event. */
export interface Metadata {
  /** Who sent a client event; on presence channels only. */
  readonly user_id?: string;
}

export type Listener<Data> = (data: Data, metadata: Metadata) => void;
export type GlobalListener = (event: string, data: Untyped) => void;

interface Bound<Callback> {
  readonly callback: Callback;
  readonly context: unknown;
}

type Name<Events> = keyof Events & string;

// Fields are private by type and not by `#`: these objects are put into reactive stores, whose proxies break on `#`.
export class Listeners<Events extends object> {
  private readonly named = new Map<string, ReadonlyArray<Bound<Listener<Untyped>>>>();
  private all: ReadonlyArray<Bound<GlobalListener>> = [];

  /** `context` becomes `this` of the callback. */
  bind<E extends Name<Events>>(event: E, callback: Listener<Events[E]>, context?: unknown): this {
    this.named.set(event, [...(this.named.get(event) ?? []), { callback, context }]);
    return this;
  }

  /** For every event, before those bound to its name. */
  bind_global(callback: GlobalListener, context?: unknown): this {
    this.all = [...this.all, { callback, context }];
    return this;
  }

  /** What is left out matches everything: without arguments, all but the global listeners go. */
  unbind<E extends Name<Events>>(event?: E | null, callback?: Listener<Events[E]> | null, context?: unknown): this {
    for (const [name, bound] of this.named) {
      if ((event ?? name) !== name) continue;
      const kept = bound.filter(
        (each) => (callback ?? each.callback) !== each.callback || (context ?? each.context) !== each.context,
      );
      if (kept.length === 0) this.named.delete(name);
      else this.named.set(name, kept);
    }
    return this;
  }

  unbind_global(callback?: GlobalListener | null, context?: unknown): this {
    this.all = this.all.filter(
      (each) => (callback ?? each.callback) !== each.callback || (context ?? each.context) !== each.context,
    );
    return this;
  }

  unbind_all(): this {
    return this.unbind().unbind_global();
  }

  /** One listener that throws keeps no other from being told; its error surfaces as an uncaught one. */
  emit<E extends Name<Events>>(event: E, data?: Events[E], metadata?: Metadata): this {
    for (const { callback, context } of this.all) protect(() => callback.call(context, event, data));
    for (const { callback, context } of this.named.get(event) ?? []) {
      protect(() => callback.call(context, data, metadata ?? {}));
    }
    return this;
  }
}

function protect(call: () => void): void {
  try {
    call();
  } catch (err) {
    after(0, () => {
      throw err;
    });
  }
}
