import { describe, expect, it } from 'vitest';
import {
  instructionOf,
  limits,
  type Problem,
  problems,
  refuse,
  refuseByLimit,
  resetSeconds,
  StarlingError,
  utf8Length,
} from './index.ts';

const rows = Object.entries(problems as Record<string, Problem>);
const closing = rows.filter(([, problem]) => problem.closes);

describe('the table of problems', () => {
  it.each(closing)('[CL9] the reason of %s fits a close frame', (_code, problem) => {
    expect(utf8Length(problem.text)).toBeLessThanOrEqual(limits.closeReasonBytes);
    expect(utf8Length(problem.text)).toBe(Buffer.byteLength(problem.text));
  });

  it('[CL10] says what to do by the range of the code, edge by edge', () => {
    const instructions = [3_999, 4_000, 4_099, 4_100, 4_199, 4_200, 4_299, 4_300, 4_999, 5_000].map(instructionOf);
    const [giveUp, backOff, reconnect] = ['give-up', 'back-off', 'reconnect-now'];
    expect(instructions).toEqual([null, giveUp, giveUp, backOff, backOff, reconnect, reconnect, giveUp, giveUp, null]);
    for (const code of [1_000, 1_001, 1_003, 1_006, 1_009, 0]) expect(instructionOf(code)).toBeNull();
  });

  it.each([
    ['app_unknown', 'give-up'],
    ['app_disabled', 'give-up'],
    ['connection_limit', 'give-up'],
    ['address_limit', 'give-up'],
    ['protocol_unsupported', 'give-up'],
    ['origin_not_allowed', 'give-up'],
    ['authorization_timeout', 'give-up'],
    ['terminated', 'give-up'],
    ['over_capacity', 'back-off'],
    ['frame_rate', 'back-off'],
    ['going_away', 'reconnect-now'],
    ['pong_timeout', 'reconnect-now'],
    ['slow_reader', 'reconnect-now'],
    ['internal_close', 'reconnect-now'],
  ] as const)('[CL10] %s tells the client to %s', (code, instruction) => {
    expect(problems[code].closes).toBe(true);
    expect(instructionOf(problems[code].number)).toBe(instruction);
  });

  it('has a text and a status of its kind in every row, and a number wherever it closes', () => {
    for (const [code, { text, status, closes, number }] of rows) {
      expect(text, code).not.toBe('');
      expect(status, code).toBeGreaterThanOrEqual(400);
      expect(status, code).toBeLessThan(600);
      if (closes) expect(number, code).not.toBeNull();
    }
  });

  it('closes with no number that only an open connection gets, and the other way round', () => {
    const numbersOf = (closes: boolean): Array<number | null> =>
      rows.filter(([, problem]) => problem.closes === closes).map(([, problem]) => problem.number);
    for (const number of numbersOf(false)) if (number !== null) expect(numbersOf(true)).not.toContain(number);
  });

  it('gives a refusal the public text when it has nothing more exact to say', () => {
    expect(refuse('auth_signature').refusal).toEqual({ code: 'auth_signature', message: 'Invalid signature' });
    expect(refuse('auth_signature', 'more').refusal.message).toBe('more');
  });

  it('[LI1] says of a limit what it is, what is left and when to come back, in the text and beside it', () => {
    const told = (remaining: number, reset: number | null) =>
      refuseByLimit('rate_limited', 'No', 'messages', { limit: 5, remaining, reset }).refusal;
    expect(told(2, 3)).toEqual({
      code: 'rate_limited',
      message: 'No: the limit is 5 messages, 2 left, try again in 3 s',
      limit: { limit: 5, remaining: 2, reset: 3 },
    });
    expect(told(5, null).message).toBe('No: the limit is 5 messages, waiting does not help');
    expect([0, 1, 1_000, 1_001].map(resetSeconds)).toEqual([1, 1, 1, 2]);
  });

  it('keeps what we know of a surprise apart from what the peer is told', () => {
    const cause = new Error('ECONNREFUSED');
    const err = new StarlingError('unavailable', 'the store is gone', { cause, retryAfterSeconds: 2 });
    expect(err).toMatchObject({
      name: 'StarlingError',
      code: 'unavailable',
      message: 'the store is gone',
      cause,
      retryAfterSeconds: 2,
    });
    expect(problems[err.code].text).not.toContain('store');
    expect('cause' in new StarlingError('internal', 'x')).toBe(false);
  });
});
