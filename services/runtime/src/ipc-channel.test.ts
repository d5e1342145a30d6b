import { EventEmitter } from 'node:events';
import { StarlingError } from '@starling/protocol';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { IpcChannel } from './ipc-channel.ts';

/** Two processes, as far as an IPC channel sees them: what one sends arrives at the other a moment later, in order. */
class Far extends EventEmitter {
  connected = true;
  other: Far | undefined;

  send(message: object, callback: (err: Error | null) => void): boolean {
    const copy = structuredClone(message);
    queueMicrotask(() => {
      if (this.connected) this.other?.emit('message', copy);
      callback(this.connected ? null : new Error('channel closed'));
    });
    return true;
  }

  cut(): void {
    for (const end of [this, this.other]) {
      if (end === undefined) continue;
      end.connected = false;
      end.emit('disconnect');
    }
  }
}

function makePair() {
  const [one, other] = [new Far(), new Far()];
  one.other = other;
  other.other = one;
  const defects: unknown[] = [];
  const observer = { defect: (_kind: string, err: unknown) => void defects.push(err) };
  return {
    asking: new IpcChannel(one, observer),
    answering: new IpcChannel(other, observer),
    cut: () => one.cut(),
    far: [one, other] as const,
    one,
    defects,
  };
}

function later<T>() {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

afterEach(() => void vi.useRealTimers());

describe('IpcChannel', () => {
  test('brings each answer to its question, whichever comes first', async () => {
    const { asking, answering } = makePair();
    const first = later<string>();
    answering.answer('slow', () => first.promise);
    answering.answer('quick', (about) => ({ about }));
    const slow = asking.ask('slow');
    expect(await asking.ask('quick', [Number.NaN, undefined, 'x'])).toEqual({ about: [Number.NaN, undefined, 'x'] });
    first.resolve('at last');
    expect(await slow).toBe('at last');
  });

  test('both ends may ask, under the same name too', async () => {
    const { asking, answering } = makePair();
    asking.answer('name', () => 'one');
    answering.answer('name', () => 'other');
    expect(await Promise.all([asking.ask('name'), answering.ask('name')])).toEqual(['other', 'one']);
  });

  test('brings news in the order in which it was told, and before an answer given later', async () => {
    const { asking, answering } = makePair();
    const heard: unknown[] = [];
    asking.on('change', (about) => heard.push(about));
    answering.answer('question', () => {
      answering.tell('change', 1);
      answering.tell('change', 2);
      return 'answer';
    });
    heard.push(await asking.ask('question'));
    expect(heard).toEqual([1, 2, 'answer']);
  });

  test('says why there is no answer: by code what is known, else as our own failure', async () => {
    const { asking, answering } = makePair();
    answering.answer('away', () => Promise.reject(new StarlingError('unavailable', 'the store is away')));
    answering.answer('broken', () => {
      throw new TypeError('oops');
    });
    await expect(asking.ask('away')).rejects.toMatchObject({ code: 'unavailable', message: 'the store is away' });
    await expect(asking.ask('broken')).rejects.toMatchObject({ code: 'internal', message: 'oops' });
    await expect(asking.ask('unheard of')).rejects.toMatchObject({ code: 'internal' });
  });

  test('gives every question up when the other end goes, and each one after that at once', async () => {
    const { asking, answering, cut } = makePair();
    answering.answer('never', () => new Promise(() => {}));
    const asked = [asking.ask('never'), asking.ask('never')];
    cut();
    for (const each of asked) await expect(each).rejects.toMatchObject({ code: 'unavailable' });
    await expect(asking.ask('never')).rejects.toMatchObject({ code: 'unavailable' });
    asking.tell('news');
  });

  test('gives a question up after its time, and is not upset by the answer that comes later', async () => {
    vi.useFakeTimers();
    const { asking, answering } = makePair();
    const answer = later<string>();
    answering.answer('slow', () => answer.promise);
    const asked = asking.ask('slow', undefined, 300);
    vi.advanceTimersByTime(300);
    await expect(asked).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('slow') });
    answer.resolve('too late');
    answering.answer('quick', () => 'still here');
    expect(await asking.ask('quick')).toBe('still here');
  });

  test('[OP13] passes over what is no message of its own, and what the other end asks in a form that is none', async () => {
    const { asking, answering, far } = makePair();
    answering.answer('add', (about) => Number(about) + 1);
    const strange = [
      null,
      7,
      'text',
      [],
      {},
      { starling: 'ask' },
      { starling: 'ask', id: 'x', what: 'add' },
      { starling: 'answer', id: 99 },
      { starling: 'failure', id: 1 },
      { starling: 'failure', id: 1, code: 7, message: 7 },
      { starling: 'news' },
      { starling: 'news', what: 'unheard of' },
      { starling: 'of a later version', id: 1 },
      { starling: { toString: 1 } },
    ];
    const asked = asking.ask('add', 1);
    for (const message of strange) for (const end of far) end.emit('message', message);
    await expect(asked).resolves.toBe(2);
  });

  test('[OP13] takes a code that it does not know for an internal error', async () => {
    const { asking, far } = makePair();
    const asked = asking.ask('anything');
    far[0].emit('message', { starling: 'failure', id: 1, code: 'constructor', message: 'told' });
    await expect(asked).rejects.toMatchObject({ code: 'internal', message: 'told' });
  });

  test('[OP12] tells what a listener throws, and goes on', async () => {
    const { asking, answering, defects } = makePair();
    answering.on('bad', () => {
      throw new Error('heard');
    });
    answering.answer('add', (about) => Number(about) + 1);
    asking.tell('bad');
    await expect(asking.ask('add', 1)).resolves.toBe(2);
    expect(defects).toMatchObject([{ message: 'heard' }]);
  });

  test('[OP12] a message that cannot be sent fails for who asked, and throws nowhere', async () => {
    const { asking } = makePair();
    await expect(asking.ask('anything', () => undefined)).rejects.toMatchObject({ code: 'unavailable' });
    asking.tell('anything', () => undefined);
  });
});
