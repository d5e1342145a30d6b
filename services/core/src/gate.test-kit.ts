/** Stores whose answers wait at a gate, so that a test decides what happens meanwhile. */
import type { Deliver } from '@starling/ports';
import { StarlingError } from '@starling/protocol';
import { createWorld, type WorldOptions } from './world.test-kit.ts';

export type Order = 'change first' | 'change last';

/** Holds calls of the methods named: their change is made at once or at the gate, their answer is given at the gate. */
export class Gate {
  #waiting: Array<() => void> = [];
  isOpen = true;
  /** How many of the next calls fail with `unavailable`, their change made all the same. */
  failures = 0;
  /** How many of the next calls fail with `unavailable`, nothing done. */
  refusals = 0;

  get size(): number {
    return this.#waiting.length;
  }

  /** Lets one through: the one that has waited longest, or whichever. */
  pass(which = 0): void {
    this.#waiting.splice(which, 1)[0]?.();
  }

  open(): void {
    this.isOpen = true;
    for (const pass of this.#waiting.splice(0)) pass();
  }

  around<T extends object>(store: T, methods: readonly string[], order: Order): T {
    return new Proxy(store, {
      get: (target, name) => {
        const value = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        const method = value.bind(target);
        if (!methods.includes(String(name))) return method;
        return async (...args: unknown[]) => {
          // A leave is carried out whatever becomes of its answer: the stores see to that. To verify never fails so.
          if (this.refusals > 0 && name !== 'leave' && name !== 'verify') {
            this.refusals--;
            throw new StarlingError('unavailable', 'the world is down');
          }
          const early = order === 'change first' ? method(...args) : undefined;
          if (!this.isOpen) await new Promise<void>((resolve) => this.#waiting.push(resolve));
          const answer = await (early ?? method(...args));
          if (this.failures > 0 && name !== 'verify') {
            this.failures--;
            throw new StarlingError('unavailable', 'the answer was lost');
          }
          return answer;
        };
      },
    });
  }
}

export function gatedWorld(order: Order, app: NonNullable<WorldOptions['app']> = {}) {
  const gate = new Gate();
  const world = createWorld({
    app,
    wrapBroker: (broker) => gate.around(broker, ['subscribe', 'unsubscribe', 'retained', 'publish'], order),
    wrapPresence: (store) => gate.around(store, ['join', 'leave', 'members', 'occupancies'], order),
    wrapVerifier: (verifier) => gate.around(verifier, ['verify'], order),
    wrapRateLimiter: (limiter) => gate.around(limiter, ['take'], order),
  });
  return { ...world, gate };
}

/** Deliveries on their way: published, kept and answered for, and not yet here. */
class Late {
  isHolding = false;
  #held: Array<() => void> = [];

  deliver(run: () => void): void {
    if (this.isHolding) this.#held.push(run);
    else run();
  }

  /** In their order. */
  letThrough(): void {
    this.isHolding = false;
    for (const run of this.#held.splice(0)) run();
  }
}

/** A node to which messages may come later than the answers of the stores: so it is with every broker that is a server. */
export function lateWorld(app: NonNullable<WorldOptions['app']> = {}) {
  const late = new Late();
  const world = createWorld({
    app,
    wrapBroker: (broker) =>
      new Proxy(broker, {
        get: (target, name) => {
          if (name === 'listen') {
            return (deliver: Deliver) => target.listen((topic, message) => late.deliver(() => deliver(topic, message)));
          }
          const value = Reflect.get(target, name);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      }),
  });
  return { ...world, late };
}
