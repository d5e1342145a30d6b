import { readConfig, settings } from '@starling/runtime';
import { describe, expect, it } from 'vitest';
import { oidcOf, ownerOf, peopleRules, peopleSettings } from './settings.ts';

const schema = settings(peopleSettings, peopleRules);
const oidc = {
  STARLING_OIDC_ISSUER: 'https://id.example.com',
  STARLING_OIDC_CLIENT_ID: 'a',
  STARLING_OIDC_CLIENT_SECRET: 'b',
};

describe('settings of people', () => {
  it('[AU9] may say nothing at all', () => {
    const read = readConfig(schema, {});
    expect(read.ok && [ownerOf(read.value), oidcOf(read.value)]).toEqual([undefined, undefined]);
  });

  it('[AU9] [AU18] say who the first owner is, and who comes in by which provider', () => {
    const read = readConfig(schema, {
      ...oidc,
      STARLING_ADMIN_EMAIL: 'ada@example.com',
      STARLING_ADMIN_PASSWORD: 'a long sentence',
      STARLING_OIDC_ALLOWED_DOMAINS: 'Example.com, example.org',
      STARLING_OIDC_DEFAULT_ROLE: 'viewer',
    });
    expect(read.ok && ownerOf(read.value)).toEqual({
      name: 'ada',
      email: 'ada@example.com',
      password: 'a long sentence',
    });
    expect(read.ok && oidcOf(read.value)).toEqual({
      issuer: 'https://id.example.com',
      clientId: 'a',
      clientSecret: 'b',
      allowedDomains: ['example.com', 'example.org'],
      defaultRole: 'viewer',
    });
  });

  it('[AU23] say where browsers find this server', () => {
    const read = readConfig(schema, { STARLING_PUBLIC_URL: 'https://starling.example.com/realtime/' });
    expect(read.ok && read.value.STARLING_PUBLIC_URL).toBe('https://starling.example.com/realtime');
  });

  it.each([
    [{ STARLING_ADMIN_EMAIL: 'ada@example.com' }, 'must be given together'],
    [{ STARLING_ADMIN_EMAIL: 'ada', STARLING_ADMIN_PASSWORD: 'a long sentence' }, 'must be an e-mail address'],
    [{ STARLING_ADMIN_EMAIL: 'ada@example.com', STARLING_ADMIN_PASSWORD: 'changeme' }, 'not easy to guess'],
    [{ STARLING_OIDC_ISSUER: 'https://id.example.com' }, 'must be given together'],
    [{ STARLING_PUBLIC_URL: 'starling.example.com' }, 'STARLING_PUBLIC_URL'],
    [{ STARLING_PUBLIC_URL: 'ftp://starling.example.com' }, 'STARLING_PUBLIC_URL'],
    [{ STARLING_PUBLIC_URL: 'https://a:b@starling.example.com' }, 'without a user'],
    [{ STARLING_PUBLIC_URL: 'https://starling.example.com/?a=1' }, 'without a user, a query'],
    [{ ...oidc, STARLING_OIDC_ISSUER: 'http://id.example.com' }, 'must begin with https://'],
    [{ ...oidc, STARLING_OIDC_DEFAULT_ROLE: 'viewer' }, 'STARLING_OIDC_ALLOWED_DOMAINS must say'],
    [{ ...oidc, STARLING_OIDC_DEFAULT_ROLE: 'king', STARLING_OIDC_ALLOWED_DOMAINS: 'a.example' }, 'must be one of'],
    [{ ...oidc, STARLING_OIDC_ALLOWED_DOMAINS: 'ada@example.com' }, 'must be like example.com'],
  ])('refuse %j and say why', (env, problem) => {
    const read = readConfig(schema, env);
    expect(read.ok ? 'accepted' : read.text).toContain(problem);
    expect(JSON.stringify(read)).not.toContain('changeme');
  });
});
