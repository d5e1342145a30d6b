/** What the environment says about people. */
import type { SettingsRule } from '@starling/runtime';
import { z } from 'zod';
import { roles } from './contract/principal.ts';
import { parseEmail } from './members/index.ts';
import type { OidcRules, OidcSettings } from './oidc/index.ts';
import { checkPassword } from './sign-in/index.ts';

export const peopleSettings = {
  STARLING_PUBLIC_URL: z
    .url({ protocol: /^https?$/ })
    .refine(isPlain, 'must be like https://starling.example.com, without a user, a query or a fragment')
    .transform((url) => url.replace(/\/+$/, ''))
    .optional()
    .describe(
      'Where browsers find this server, with the path prefix if there is one: links and sign-ins elsewhere lead there. ' +
        'Unset: the address it listens on.',
    ),
  STARLING_ADMIN_EMAIL: z
    .string()
    .refine((email) => parseEmail(email).ok, 'must be an e-mail address')
    .optional()
    .describe('The e-mail address of the first owner, who is made while there is no user.'),
  STARLING_ADMIN_PASSWORD: z
    .string()
    .refine((password) => checkPassword(password, '').ok, 'must be 10 characters or more, and not easy to guess')
    .optional()
    .describe("The first owner's password. Without it, the start prints a link to set one."),
  STARLING_OIDC_ISSUER: z
    .url()
    .refine(isProtected, 'must begin with https://, except on this machine')
    .optional()
    .describe('An OpenID Connect provider that people sign in with, such as https://accounts.google.com.'),
  STARLING_OIDC_CLIENT_ID: z.string().optional().describe('The id that this provider knows Starling by.'),
  STARLING_OIDC_CLIENT_SECRET: z.string().optional().describe('The secret that goes with it.'),
  STARLING_OIDC_ALLOWED_DOMAINS: z
    .string()
    .transform((text) => text.split(',').map((part) => part.trim().toLowerCase()))
    .refine(
      (domains) => domains.every((each) => /^[^\s@,]+\.[^\s@,.]+$/.test(each)),
      'must be like example.com,example.org',
    )
    .default([])
    .describe('Whose e-mail addresses may come in by the provider: domains, with commas between. Unset: all.'),
  STARLING_OIDC_DEFAULT_ROLE: z
    .enum(roles, `must be one of ${roles.join(', ')}`)
    .optional()
    .describe(
      'What people become in the default organisation who come in by the provider uninvited. Unset: nobody does.',
    ),
} as const;

type Settings = Partial<z.output<z.ZodObject<typeof peopleSettings>>>;

const wholeSets = [
  ['STARLING_ADMIN_EMAIL', 'STARLING_ADMIN_PASSWORD'],
  ['STARLING_OIDC_ISSUER', 'STARLING_OIDC_CLIENT_ID', 'STARLING_OIDC_CLIENT_SECRET'],
] as const;

export const peopleRules: readonly SettingsRule[] = [
  ...wholeSets.map((names) => ({
    name: names[0],
    problem: `${names.join(', ')} must be given together, or none of them`,
    holds: (given: Readonly<Record<string, unknown>>) =>
      new Set(names.map((name) => given[name] === undefined)).size === 1,
  })),
  {
    name: 'STARLING_OIDC_DEFAULT_ROLE',
    problem: 'with a provider for everybody, STARLING_OIDC_ALLOWED_DOMAINS must say who may come in uninvited',
    holds: ({ STARLING_OIDC_DEFAULT_ROLE: role, STARLING_OIDC_ALLOWED_DOMAINS: domains }) =>
      role === undefined || (Array.isArray(domains) && domains.length > 0),
  },
];

/** The first owner as given; undefined: a link is printed instead. */
export function ownerOf(settings: Settings): { name: string; email: string; password: string } | undefined {
  const { STARLING_ADMIN_EMAIL: email, STARLING_ADMIN_PASSWORD: password } = settings;
  if (email === undefined || password === undefined) return undefined;
  return { name: email.split('@', 1)[0] ?? email, email, password };
}

export function oidcOf(settings: Settings): (OidcSettings & OidcRules) | undefined {
  const {
    STARLING_OIDC_ISSUER: issuer,
    STARLING_OIDC_CLIENT_ID: clientId,
    STARLING_OIDC_CLIENT_SECRET: clientSecret,
    STARLING_OIDC_ALLOWED_DOMAINS: allowedDomains = [],
    STARLING_OIDC_DEFAULT_ROLE: defaultRole,
  } = settings;
  if (issuer === undefined || clientId === undefined || clientSecret === undefined) return undefined;
  return { issuer, clientId, clientSecret, allowedDomains, defaultRole };
}

function isPlain(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { username, password, search, hash } = new URL(text);
  return [username, password, search, hash].every((part) => part === '') && !/[?#]/.test(text);
}

/** What is sent there and comes back lets people in. */
function isProtected(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  return protocol === 'https:' || (protocol === 'http:' && /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname));
}
