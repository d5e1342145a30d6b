/** The few pages that this server draws itself: no scripts, nothing from elsewhere, light and dark, narrow and wide. */
import { createHash } from 'node:crypto';
import type { FastifyReply } from 'fastify';

/** Text that is HTML already. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** What stands in the holes is escaped, unless it is HTML itself; what is undefined or false is left out. */
export function html(
  parts: TemplateStringsArray,
  ...holes: readonly (string | Html | undefined | false | readonly Html[])[]
): Html {
  const filled = holes.map((hole) => {
    if (hole === undefined || hole === false) return '';
    if (typeof hole === 'string') return escaped(hole);
    return hole instanceof Html ? hole.text : hole.map(({ text }) => text).join('');
  });
  return new Html(parts.map((part, at) => part + (filled[at] ?? '')).join(''));
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (each) => `&#${each.charCodeAt(0)};`);
}

const style = `
:root { color-scheme: light dark; --ground: #f4f5f8; --card: #fff; --ink: #171923; --soft: #5a6072; --line: #dcdfe8;
  --edge: #868da1; --accent: #4338ca; --on-accent: #fff; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ground: #0e1017; --card: #171a24; --ink: #eef0f6; --soft: #a3aabd;
  --line: #2b3040; --edge: #6b7390; --accent: #a5b4fc; --on-accent: #14162a; --bad: #fda29b; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; min-height: 100dvh; display: grid; place-items: center; padding: 24px 16px;
  background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { width: 100%; max-width: 440px; background: var(--card); border: 1px solid var(--line); border-radius: 16px;
  padding: 40px; box-shadow: 0 1px 2px #0000000d, 0 12px 32px -12px #00000026; }
@media (max-width: 480px) { body { padding: 0; place-items: stretch; }
  main { border: 0; border-radius: 0; padding: 32px 24px; box-shadow: none; max-width: none; } }
.mark { display: flex; align-items: center; gap: 10px; margin: 0 0 28px; font-weight: 650; letter-spacing: -.01em; }
.mark svg { width: 30px; height: 30px; color: var(--accent); }
h1 { margin: 0 0 8px; font-size: 26px; line-height: 1.2; letter-spacing: -.02em; }
p { margin: 0 0 24px; color: var(--soft); }
.field { margin: 0 0 20px; }
label { display: block; margin: 0 0 6px; font-weight: 550; font-size: 15px; }
input { width: 100%; padding: 10px 12px; font: inherit; color: inherit; background: transparent;
  border: 1px solid var(--edge); border-radius: 8px; }
input:focus-visible, .button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
input[aria-invalid] { border-color: var(--bad); }
.hint, .fault { margin: 6px 0 0; font-size: 14px; }
.fault { color: var(--bad); }
.button { display: block; width: 100%; padding: 12px 16px; border: 0; border-radius: 8px; background: var(--accent);
  color: var(--on-accent); font: inherit; font-weight: 600; text-align: center; text-decoration: none; cursor: pointer; }
.button:hover { filter: brightness(1.1); }
code { font: 14px/1.5 ui-monospace, "SF Mono", Menlo, monospace; overflow-wrap: anywhere; }
`;

const policy = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'`,
  'img-src data:',
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

const mark = new Html(`<svg viewBox="0 0 32 32" fill="currentColor" aria-hidden="true">
<path d="M2 23.5c6.2.4 10-1.7 12.7-5.8C12.3 12 7.7 8.6 3 8c7.5-2.6 14.2-.6 17.8 5.3 1.2-1.6 2.9-2.5 4.7-2.3 1.6.2 2.7 1.1 3.2 2.4L31 15l-2.6.8C27.6 22.5 21.5 28 13.8 28 9 28 4.6 26.5 2 23.5Z"/></svg>`);

export function sendPage(reply: FastifyReply, status: number, title: string, body: Html): FastifyReply {
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title} · Starling</title>
<link rel="icon" href="data:,">
<style>${new Html(style)}</style>
</head>
<body>
<main>
<div class="mark">${mark}Starling</div>
${body}
</main>
</body>
</html>
`;
  return reply
    .code(status)
    .headers({
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-store',
      'content-security-policy': policy,
      // The address may hold a one-time token. Not no-referrer: browsers then send a form's Origin as null.
      'referrer-policy': 'same-origin',
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'cross-origin-opener-policy': 'same-origin',
      ...(reply.request.protocol === 'https' ? { 'strict-transport-security': 'max-age=31536000' } : {}),
    })
    .send(page.text);
}

/** A page that says one thing, and where to go from there. */
export function sendMessage(
  reply: FastifyReply,
  status: number,
  { title, text, link }: { title: string; text: string; link?: { readonly href: string; readonly text: string } },
): FastifyReply {
  return sendPage(
    reply,
    status,
    title,
    html`<h1>${title}</h1>
<p>${text}</p>
${link !== undefined && html`<a class="button" href="${link.href}">${link.text}</a>`}`,
  );
}
