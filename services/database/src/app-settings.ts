/** What `apps.settings` holds: everything of an app that has no column of its own. */
import { type App, type AppLimits, defaultAppLimits, defaultTokenSettings, type TokenSettings } from '@starling/ports';
import { StarlingError } from '@starling/protocol';

export type AppSettings = Omit<App, 'id' | 'version' | 'name' | 'isEnabled' | 'keys' | 'revocations'>;

/** Of an app of which nothing else was said. */
export const defaultAppSettings: AppSettings = {
  hasClientEvents: false,
  hasSubscriptionCounts: false,
  hasWatchlists: false,
  admitsAuthorizedOnly: false,
  requiresTls: false,
  hidesData: false,
  allowedOrigins: [],
  tokens: defaultTokenSettings,
  limits: defaultAppLimits,
};

/**
 * What is missing is as in the defaults, so that a row of an older program still means something; what is unknown is left
 * out, as a newer one may have written it. Throws a StarlingError `internal` that names what is of another kind.
 */
export function parseAppSettings(json: unknown): AppSettings {
  const given = objectOf(json, 'settings');
  const { tokens, limits, allowedOrigins, ...flags } = defaultAppSettings;
  return {
    ...alike(flags, given, ''),
    allowedOrigins: parseOrigins(given['allowedOrigins'] ?? allowedOrigins),
    tokens: parseTokens(given['tokens'] ?? tokens),
    limits: alike<AppLimits>(limits, objectOf(given['limits'] ?? {}, 'limits'), 'limits.'),
  };
}

/** For each value of `model` the one that is given under its name, if it is of the same kind. */
function alike<T extends object>(model: T, given: Readonly<Record<string, unknown>>, path: string): T {
  const read = Object.entries(model).map(([name, value]) => {
    const found = Object.hasOwn(given, name) ? given[name] : value;
    if (typeof found !== typeof value) throw wrong(path + name, `a ${typeof value}`);
    return [name, found] as const;
  });
  return Object.fromEntries(read) as T;
}

function parseOrigins(given: unknown): readonly string[] {
  if (!Array.isArray(given) || !given.every((each) => typeof each === 'string')) throw wrong('allowedOrigins', 'texts');
  return given;
}

function parseTokens(json: unknown): TokenSettings {
  const given = objectOf(json, 'tokens');
  const texts = (['jwksUrl', 'issuer', 'audience'] as const).flatMap((name) => {
    const value = given[name];
    if (value === undefined || value === null) return [];
    if (typeof value !== 'string') throw wrong(`tokens.${name}`, 'a text');
    return [[name, value] as const];
  });
  return { ...alike({ isEnabled: defaultTokenSettings.isEnabled }, given, 'tokens.'), ...Object.fromEntries(texts) };
}

function objectOf(json: unknown, name: string): Readonly<Record<string, unknown>> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw wrong(name, 'an object');
  return json as Record<string, unknown>;
}

function wrong(name: string, wanted: string): StarlingError {
  return new StarlingError('internal', `${name} in the database is not ${wanted}`);
}
