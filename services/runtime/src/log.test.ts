import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createLog, lineMax, PinoObserver, textMax } from './log.ts';

const secret = '7ad3773142a6692b25b8';
const signature = createHmac('sha256', secret).update('1234.5678:private-a').digest('hex');
const jwt = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2lnbmF0dXJlLWJ5dGVz';

function capture(options: { isReadable?: boolean; level?: 'debug' | 'info' } = {}) {
  const lines: string[] = [];
  const log = createLog({
    level: options.level ?? 'info',
    isReadable: options.isReadable ?? false,
    destination: { write: (line) => void lines.push(line) },
  });
  return { log, lines, text: () => lines.join('') };
}

const app = {
  id: '1',
  keys: [{ key: '278d425bdf160c739803', secret, isEnabled: true }],
  byKey: new Map([['278d425bdf160c739803', { secret }]]),
};
const err = Object.assign(new Error(`GET /apps/1/channels?auth_key=k&auth_signature=${signature} failed`), {
  secret,
  cause: new Error(`redis://default:${secret}@cache:6379 refused`),
});

describe('[OP3] no log line holds', () => {
  const cases: Array<[string, (log: ReturnType<typeof capture>['log']) => void]> = [
    ['the secrets of an app', (log) => log.info({ app }, 'app changed')],
    ['a secret in a deep object', (log) => log.info({ a: { b: [{ c: { app_secret: secret } }] } }, 'deep')],
    ['a secret in an error, its message or its cause', (log) => log.error({ err }, 'failed')],
    ['an error given alone', (log) => log.error(err)],
    ['a signed URL', (log) => log.info({ url: `/apps/1/events?auth_signature=${signature}&x=1` }, 'request')],
    ['a token in a URL', (log) => log.info(`connected to /app/key?protocol=7&token=${jwt}`)],
    ['a secret in a URL', (log) => log.info(`posted to https://hooks.example/x?client_secret=${secret}&y=2`)],
    ['the auth of a frame', (log) => log.info({ data: { auth: `278d425bdf160c739803:${signature}` } }, 'subscribe')],
    [
      'an auth that is no signature',
      (log) => log.info({ data: { auth: `278d425bdf160c739803:${secret}` } }, 'subscribe'),
    ],
    [
      'a frame as text',
      (log) => log.info({ frame: JSON.stringify({ event: 'x', data: JSON.stringify({ auth: `k:${secret}` }) }) }),
    ],
    ['headers', (log) => log.info({ headers: { authorization: `Bearer ${secret}`, 'set-cookie': [`s=${secret}`] } })],
    ['what a child log is bound to', (log) => log.child({ password: secret }).info('bound')],
    ['format arguments', (log) => log.info('signed with %s', signature)],
    ['a bare signature or JWT', (log) => log.info({ note: `${signature} ${jwt}` }, signature)],
  ];
  for (const isReadable of [false, true]) {
    test.each(cases)(`%s (${isReadable ? 'readable' : 'JSON'})`, (_name, write) => {
      const { log, text } = capture({ isReadable });
      write(log);
      expect(text()).not.toBe('');
      for (const hidden of [secret, signature, jwt]) expect(text()).not.toContain(hidden);
    });
  }
});

describe('the log', () => {
  test('keeps what is not secret, as JSON that parses', () => {
    const { log, lines } = capture();
    log.warn({ app, url: `/x?auth_key=abc&auth_signature=${signature}&n=1` }, 'kept');
    log.error({ err }, 'failed');
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      level: 'warn',
      msg: 'kept',
      url: '/x?auth_key=abc&auth_signature=[redacted]&n=1',
      app: { id: '1', keys: [{ key: '278d425bdf160c739803', secret: '[redacted]' }] },
    });
    expect(JSON.parse(lines[1] ?? '').err).toMatchObject({
      type: 'Error',
      message: expect.stringMatching(/auth_signature=\[redacted\] failed: redis:\/\/default:\[redacted\]@cache/),
    });
  });

  test('survives a circle, a bigint and a very deep object', () => {
    const { log, lines } = capture();
    const circle: Record<string, unknown> = { n: 1n };
    circle['self'] = circle;
    let deep: object = {};
    for (let depth = 0; depth < 10_000; depth++) deep = { deep };
    log.info({ circle, deep }, 'odd');
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ msg: 'odd', circle: { n: 1 } });
  });

  test('writes one readable line on a terminal, with no control characters of a peer', () => {
    const { log, lines } = capture({ isReadable: true });
    log.info({ channel: 'a', count: 2 }, 'subscribed \u001b[2J');
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d info {2}subscribed ·\[2J channel=a count=2\n$/);
  });

  test('prints the stack of an error on a terminal, and of its cause', () => {
    const { log, text } = capture({ isReadable: true });
    log.error({ err }, 'failed');
    expect(text()).toContain('log.test.ts');
    expect(text()).toContain('redis://default:[redacted]@cache:6379 refused');
  });
});

describe('PinoObserver', () => {
  test('logs problems as errors and notes only where someone would see them', () => {
    const quiet = capture();
    const observer = new PinoObserver(quiet.log);
    observer.problem('lost', { err: new Error('gone'), app: '1' });
    observer.note('opened', {});
    expect(observer.notes).toBe(false);
    expect(quiet.lines.map((line) => JSON.parse(line))).toMatchObject([{ level: 'error', msg: 'lost', app: '1' }]);

    const loud = capture({ level: 'debug' });
    const noisy = new PinoObserver(loud.log);
    noisy.note('opened', { socketId: '1.1' });
    expect(noisy.notes).toBe(true);
    expect(JSON.parse(loud.lines[0] ?? '')).toMatchObject({ level: 'debug', msg: 'opened', socketId: '1.1' });
  });
});

describe('[OP12] a defect', () => {
  test('is logged with its kind and its error, and counted', () => {
    const { log, lines } = capture();
    const observer = new PinoObserver(log);
    observer.defect('timer', new Error('one'), { app: '7' });
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      level: 'error',
      kind: 'timer',
      app: '7',
      err: { message: 'one' },
    });
    expect(observer.defects.get('timer')).toBe(1);
  });

  test('of a kind that comes in thousands is counted each time, and written once', () => {
    const { log, lines } = capture();
    const observer = new PinoObserver(log);
    for (let count = 0; count < 1_000; count++) observer.defect('connection', new Error('again'));
    observer.defect('request', new Error('another kind'));
    expect(lines).toHaveLength(2);
    expect(observer.defects.get('connection')).toBe(1_000);
  });
});

describe('[OP19] a line of the log', () => {
  test.each([
    'secret',
    'secret-',
    'token=',
    'secret\\',
    'secret"',
    'secret" ',
    '-auth',
    'a-',
    'a',
    '0',
    ' ',
    '://',
    '://a:',
    '://a:b',
    'eyJ-',
    'eyJ.',
    'eyJ.a.',
    'a.',
    'Bearer ',
    'basic\t',
    '"secret":"',
    '=',
    '@',
    ':',
    '\\"',
  ])('of 128 KiB of %j costs time in proportion to its length, and is cut', (unit) => {
    const { log, lines } = capture();
    // As long as a text may be to be looked through whole, and longer.
    const [text, longer] = [65_536, 131_072].map((long) => unit.repeat(long).slice(0, long));
    // CPU time, so that a busy machine does not count: in proportion it is some milliseconds, squared many seconds.
    const before = process.cpuUsage();
    log.info({ text, [String(longer)]: 1 }, longer);
    const { user } = process.cpuUsage(before);
    expect(user / 1_000).toBeLessThan(1_500);
    expect(lines[0]?.length).toBeLessThan(2 * lineMax);
    expect(() => JSON.parse(lines[0] ?? '')).not.toThrow();
  });

  test('is bounded in each text, in all of them together and in its members, and says what is missing', () => {
    const { log, lines } = capture();
    log.info({ one: 'x'.repeat(10_000), many: Array.from({ length: 1_000 }, () => 'y'.repeat(1_000)) }, 'long');
    const line = JSON.parse(lines[0] ?? '');
    expect(line.one).toBe(`${'x'.repeat(textMax)}… [${10_000 - textMax} more]`);
    expect(line.many).toHaveLength(101);
    expect(line.many.at(-1)).toBe('[900 more]');
    expect(lines[0]?.length).toBeLessThan(2 * lineMax);
    expect(line.msg).toBe('long');
  });

  test.each([
    ['64 characters of hex', (room: number) => `${'x '.repeat(room / 2 - 16)}${signature}`, signature.slice(0, 20)],
    [
      'the password of a URL',
      (room: number) => `${'x '.repeat(room / 2 - 16)}redis://u:${secret}@host/`,
      secret.slice(0, 8),
    ],
  ])('[OP3] does not show the beginning of %s that the cut goes through', (_name, make, hidden) => {
    const { log, text } = capture();
    // Marks are shorter than what they stand for: behind enough of them the end of what is read comes into view.
    log.info({ text: `token=${'t'.repeat(60_000)} ${make(65_536 - 60_007)}` });
    expect(text()).not.toContain(hidden);
  });

  test('[OP3] hides a secret whatever stands before it in the same text', () => {
    const { log, text } = capture();
    log.info({ a: `x=1;token=${secret}`, b: `url=http://h/?a=b&my-auth=${secret}`, c: `v1.2-${jwt}`, d: `a.b.${jwt}` });
    log.info({ [`${'n'.repeat(5_000)}_secret`]: secret }, 'a long name');
    for (const hidden of [secret, jwt.slice(0, 30)]) expect(text()).not.toContain(hidden);
  });

  test('that cannot be written down is left out, and its caller goes on', () => {
    const { log, lines } = capture();
    const trap = {
      get now(): never {
        throw new Error('trapped');
      },
    };
    log.info(trap, 'trap');
    log.error(Object.defineProperty(new Error('odd'), 'bad', { enumerable: true, get: () => trap.now }));
    log.info('after');
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ msg: 'after' });
  });
});
