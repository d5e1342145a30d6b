/** The page of everything that can go wrong, made from the tables that server and client speak by. */
import { fileURLToPath } from 'node:url';
import { fixesOfClient } from '../../sdk/client/src/errors.ts';
import { stepAfter } from '../../sdk/client/src/retry.ts';
import { fixes, type Problem, problems } from '../../sdk/protocol/src/index.ts';

export const errorsPagePath = fileURLToPath(new URL('../../docs/errors.md', import.meta.url));

/** As the client decides it, of a connection without TLS that has lasted. */
function reactionTo(code: number): string {
  const ended = { code, attempt: 0, isTls: false, hasLasted: true };
  const step = stepAfter(ended, { retryMinMs: 1_000, retryMaxMs: 1_000 }, 1);
  if (step.next === 'give-up') return 'gives up, until `connect()`';
  if (step.withTls === true) return 'reconnects with TLS; gives up if that was with TLS';
  return step.delayMs === 0 ? 'reconnects at once' : 'reconnects after a pause';
}

function rowOf(code: string, { number, closes, status, text }: Problem): string[] {
  const known = number === null ? undefined : fixes[number];
  // A client is told the number only, and many rows may share one.
  const shown = known === undefined || known.code === code ? '' : ` (to a client: \`${known.code}\`)`;
  const reaction = closes && number !== null ? [reactionTo(number)] : [];
  return [`\`${code}\`${shown}`, String(number ?? ''), String(status), ...reaction, text, known?.fix ?? ''];
}

function table(heads: readonly string[], rows: ReadonlyArray<readonly string[]>): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(heads), line(heads.map(() => '---')), ...rows.map(line)].join('\n').replaceAll(/ {2,}/g, ' ');
}

export function errorsPage(): string {
  const all = Object.entries<Problem>(problems);
  const closing = all
    .filter(([, { closes }]) => closes)
    .sort(([, a], [, b]) => (a.number ?? 0) - (b.number ?? 0))
    .map(([code, problem]) => rowOf(code, problem));
  const others = all.filter(([, { closes }]) => !closes).map(([code, problem]) => rowOf(code, problem));
  const own = Object.entries(fixesOfClient).map(([code, fix]) => [`\`${code}\``, fix]);
  return `# Errors

Made by \`npm run docs:errors\` from the tables that server and client speak by; change those, not this page.

\`@starling/client\` gives an error's \`code\`, \`number\`, \`reason\` and \`fix\`; an HTTP answer has the status and
\`{"error": reason, "code": code}\`. The text is what is said where there is nothing more exact to say.

## The connection is closed

The number is that of the close, and of the \`pusher:error\` before it. What a client does follows from the number's
range: 4000 to 4099 gives up, 4100 to 4199 comes back after a pause, 4200 to 4299 at once; any other comes back after a
pause. The status is the answer's where the same is refused over HTTP.

${table(['Code', 'Number', 'Status', 'The client', 'Text', 'What to do'], closing)}

## The connection stays open

Told by \`pusher:error\` (without a number, the client's code is \`refused\`), by \`pusher:subscription_error\` with the
status, by the answer to a publish or by an HTTP answer.

${table(['Code', 'Number', 'Status', 'Text', 'What to do'], others)}

## Found by the client itself

${table(['Code', 'What to do'], own)}
`;
}
