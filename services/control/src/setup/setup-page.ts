/** The page of the first run: makes the first owner, and signs them in. Works without scripts. */
import type { FastifyInstance, FastifyReply } from 'fastify';
import { html, sendMessage, sendPage } from '../frame/html.ts';
import { isForeign } from '../frame/origin.ts';
import { hasUsers } from '../members/index.ts';
import { type SessionDeps, signInAs } from '../sessions/index.ts';
import type { SignInDeps } from '../sign-in/index.ts';
import { admitAddress, type ThrottleDeps } from '../throttle/index.ts';
import { createFirstOwner, type FirstOwner, faultsOf, isSetupToken } from './first-owner.ts';

type SetupDeps = SessionDeps & ThrottleDeps & Pick<SignInDeps, 'passwords'>;

interface SetupPageOptions {
  /** Where the page leads when all is done, relative to `/setup/done`. */
  readonly home?: string;
}

/** `GET /setup?token=`, `POST /setup`, `GET /setup/done`; on a server of its own, whose bodies are forms. */
export async function setupPage(
  server: FastifyInstance,
  deps: SetupDeps,
  { home = '../api/v1/docs' }: SetupPageOptions = {},
): Promise<void> {
  takeFormsOnly(server);

  server.get('/setup', { exposeHeadRoute: false }, async (request, reply) => {
    const { token } = request.query as Record<string, unknown>;
    if (typeof token === 'string' && (await isSetupToken(deps, token))) return sendForm(reply, 200, token, {}, {});
    return sendSpent(deps, reply);
  });

  server.post('/setup', async (request, reply) => {
    if (isForeign(request)) {
      return sendMessage(reply, 403, { title: 'Not from here', text: 'The form was sent by a page of another site.' });
    }
    await admitAddress(deps, 'setup', request.ip);
    const form = request.body instanceof URLSearchParams ? request.body : new URLSearchParams();
    const token = form.get('token') ?? '';
    if (!(await isSetupToken(deps, token))) return sendSpent(deps, reply);
    const given = {
      name: form.get('name') ?? '',
      email: form.get('email') ?? '',
      password: form.get('password') ?? '',
    };
    const faults = faultsOf(given);
    if (Object.keys(faults).length > 0) return sendForm(reply, 400, token, given, faults);
    const owner = await createFirstOwner(deps, token, given);
    if (!owner.ok) return sendSpent(deps, reply);
    await signInAs(deps, request, reply, owner.value);
    // Relative, so that it holds below a path prefix too.
    return reply.code(303).header('location', 'setup/done').send();
  });

  server.get('/setup/done', { exposeHeadRoute: false }, (_request, reply) =>
    sendMessage(reply, 200, {
      title: 'You are all set',
      text: 'Starling is yours: you are signed in, and own the organisation with the first app. The link that brought you here leads nowhere any more.',
      link: { href: home, text: 'Go on' },
    }),
  );
}

function takeFormsOnly(server: FastifyInstance): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser<string>(
    'application/x-www-form-urlencoded',
    { parseAs: 'string', bodyLimit: 16 * 1024 },
    (_request, body, done) => done(null, new URLSearchParams(body)),
  );
}

type Field = keyof FirstOwner;

const fields: readonly { name: Field; label: string; type: string; autocomplete: string; hint?: string }[] = [
  { name: 'name', label: 'Your name', type: 'text', autocomplete: 'name' },
  { name: 'email', label: 'E-mail address', type: 'email', autocomplete: 'username' },
  {
    name: 'password',
    label: 'Password',
    type: 'password',
    autocomplete: 'new-password',
    hint: '10 characters or more. A short sentence is good.',
  },
];

function sendForm(
  reply: FastifyReply,
  status: number,
  token: string,
  given: Partial<FirstOwner>,
  faults: Partial<Record<Field, string>>,
): FastifyReply {
  const rows = fields.map(({ name, label, type, autocomplete, hint }) => {
    const fault = faults[name];
    const text = fault ?? hint;
    return html`<div class="field">
<label for="${name}">${label}</label>
<input id="${name}" name="${name}" type="${type}" autocomplete="${autocomplete}" required maxlength="254"${
      // A password is not sent back.
      name !== 'password' && given[name] !== undefined && html` value="${given[name]}"`
    }${name === 'password' && html` minlength="10"`}${fault !== undefined && html` aria-invalid="true"`}${
      text !== undefined && html` aria-describedby="${name}-note"`
    }>
${text !== undefined && html`<p id="${name}-note" class="${fault === undefined ? 'hint' : 'fault'}">${text}</p>`}
</div>`;
  });
  return sendPage(
    reply,
    status,
    'Set up',
    html`<h1>Make the first account</h1>
<p>It owns this installation: its apps, their keys, and who else may come in.</p>
<form method="post" action="setup">
<input type="hidden" name="token" value="${token}">
${rows}
<button class="button" type="submit">Create account</button>
</form>`,
  );
}

async function sendSpent(deps: SetupDeps, reply: FastifyReply): Promise<FastifyReply> {
  const isDone = await hasUsers(deps.database);
  return sendMessage(reply, 410, {
    title: isDone ? 'This is set up already' : 'This link has ended',
    text: isDone
      ? 'There is an account. Sign in, or ask an owner for an invitation.'
      : 'Each start of Starling makes a new link, good for one day: use the one that was printed last, or start it again.',
  });
}
