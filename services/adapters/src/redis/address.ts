/** Reads a Redis URL. No text of this file ever shows the URL: it may hold a password. */

interface Host {
  readonly host: string;
  readonly port: number;
}

export interface RedisAddress {
  readonly kind: 'single' | 'cluster' | 'sentinel';
  /** The server; or some of the cluster's; or the sentinels. */
  readonly hosts: readonly [Host, ...Host[]];
  /** What the sentinels call the server; empty for other kinds. */
  readonly master: string;
  readonly isTls: boolean;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly db: number;
  readonly prefix: string;
  /** The path of a PEM file with the authority that signed the server's certificate. */
  readonly caPath: string | undefined;
}

export type ParsedRedisUrl =
  | { readonly ok: true; readonly value: RedisAddress }
  | { readonly ok: false; readonly message: string };

const accepted = `Accepted are:
  redis://[user:password@]host[:port][/db][?prefix=..]
  redis+cluster://[user:password@]host:port[,host:port ...][?prefix=..]
  redis+sentinel://[user:password@]host:port[,host:port ...]/master-name[/db][?prefix=..]
each with rediss instead of redis for TLS, and then ?ca=path for a certificate authority of your own.
User and password are percent-encoded.`;

const kinds = { '': 'single', '+cluster': 'cluster', '+sentinel': 'sentinel' } as const;
const parameters = ['prefix', 'ca'];
const defaultPrefix = 'starling:';

export function parseRedisUrl(url: string): ParsedRedisUrl {
  const parts = /^(rediss?)(\+cluster|\+sentinel|):\/\/(?:(.*)@)?([^/?@]*)(?:\/([^?]*))?(?:\?(.*))?$/.exec(url);
  if (parts === null) return refuse('The Redis URL is none that Starling knows.');
  const [, scheme, suffix = '', userinfo, hostList = '', path = '', query = ''] = parts;
  const kind = kinds[suffix as keyof typeof kinds];
  const isTls = scheme === 'rediss';

  const [first, ...others] = hostList.split(',').map((host) => parseHost(host, kind === 'sentinel' ? 26_379 : 6_379));
  const hosts = [first, ...others].filter((host) => host !== undefined);
  const [firstHost, ...otherHosts] = hosts;
  if (firstHost === undefined || hosts.length !== 1 + others.length) {
    return refuse('The Redis URL must name its hosts as host:port, with commas between them.');
  }
  if (kind === 'single' && others.length > 0) {
    return refuse('The Redis URL names several hosts: say redis+cluster:// or redis+sentinel://.');
  }

  const [head = '', ...rest] = path.split('/').filter((part) => part !== '');
  const [master, dbText] = kind === 'sentinel' ? [head, rest.shift()] : ['', head === '' ? undefined : head];
  if (kind === 'sentinel' && master === '') return refuse('The Redis URL of sentinels must name the master.');
  if (rest.length > 0 || (dbText !== undefined && !/^\d{1,5}$/.test(dbText))) {
    return refuse('The path of the Redis URL must be the number of a database.');
  }
  if (kind === 'cluster' && dbText !== undefined && dbText !== '0')
    return refuse('A Redis cluster has database 0 only.');

  const search = new URLSearchParams(query);
  const unknown = [...search.keys()].find((name) => !parameters.includes(name));
  if (unknown !== undefined) return refuse(`The Redis URL has an unknown parameter ${JSON.stringify(unknown)}.`);
  const caPath = search.get('ca') ?? undefined;
  if (caPath !== undefined && !isTls) return refuse('The Redis URL has a ca but no TLS: say rediss.');
  const prefix = search.get('prefix') ?? defaultPrefix;
  if (/[{}]/.test(prefix)) return refuse('The prefix in the Redis URL must not hold braces.');

  const credentials = parseCredentials(userinfo);
  if (credentials === undefined) return refuse('User and password of the Redis URL must be percent-encoded.');
  return {
    ok: true,
    value: {
      kind,
      hosts: [firstHost, ...otherHosts],
      master,
      isTls,
      ...credentials,
      db: Number(dbText ?? 0),
      prefix,
      caPath,
    },
  };
}

function refuse(message: string): ParsedRedisUrl {
  return { ok: false, message: `${message} ${accepted}` };
}

function parseHost(text: string, defaultPort: number): Host | undefined {
  const parts = /^(?:\[([0-9a-f:.]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/i.exec(text);
  const host = parts?.[1] ?? parts?.[2];
  const port = Number(parts?.[3] ?? defaultPort);
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port };
}

function parseCredentials(
  userinfo: string | undefined,
): { username: string | undefined; password: string | undefined } | undefined {
  if (userinfo === undefined) return { username: undefined, password: undefined };
  const colon = userinfo.indexOf(':');
  const [user, password] = colon < 0 ? [userinfo, ''] : [userinfo.slice(0, colon), userinfo.slice(colon + 1)];
  try {
    return { username: decodeURIComponent(user) || undefined, password: decodeURIComponent(password) || undefined };
  } catch {
    // The only fault decodeURIComponent has: a percent sign that encodes nothing.
    return undefined;
  }
}
