import type { DefectKind, Observer } from './observer.ts';

/**
 * The fence around a callback that a socket, a stream, a timer, a broker or a library calls: what it throws, or rejects
 * with, is told to the observer and goes no further, because past this point it would end the whole process.
 *
 * `onDefect` then destroys the one thing that the callback belonged to, whose state is unknown now; what that throws is
 * told, too. Costs a closure when it is made and a `try` when it is called: for callbacks of one object among thousands,
 * write `try { … } catch (err) { observer.defect(…) }` in one shared function instead.
 */
export function fence<Args extends readonly unknown[]>(
  observer: Pick<Observer, 'defect'>,
  kind: DefectKind,
  run: (...args: Args) => unknown,
  onDefect?: (...args: Args) => void,
): (...args: Args) => void {
  const failed = (err: unknown, args: Args): void => {
    observer.defect(kind, err);
    try {
      onDefect?.(...args);
    } catch (second) {
      observer.defect(kind, second);
    }
  };
  return (...args) => {
    try {
      const outcome = run(...args);
      if (outcome instanceof Promise) outcome.catch((err: unknown) => failed(err, args));
    } catch (err) {
      failed(err, args);
    }
  };
}
