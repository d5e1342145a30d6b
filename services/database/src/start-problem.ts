/** Why a database cannot be used at the start of a program: one line that names the setting and what to do. */
import { StarlingError } from '@starling/protocol';

const refused = 'nothing listens there, or a firewall refuses';

/** Codes of a connection that did not come about. */
const networkProblems: Readonly<Record<string, string>> = {
  ECONNREFUSED: refused,
  EHOSTUNREACH: 'no way leads there',
  ENETUNREACH: 'no way leads there',
  ETIMEDOUT: 'nothing answers there',
  CONNECT_TIMEOUT: 'nothing answers there',
  CONNECTION_CONNECT_TIMEOUT: 'nothing answers there',
  ENOTFOUND: 'that host has no address',
  EAI_AGAIN: 'the name server does not answer',
  ENOENT: 'there is no such socket',
  ECONNRESET: 'what listens there cut the connection, as a server does that is no Postgres, or wants TLS',
  EPIPE: 'what listens there cut the connection, as a server does that is no Postgres, or wants TLS',
  CONNECTION_CLOSED: 'what listens there cut the connection, as a server does that is no Postgres, or wants TLS',
  CONNECTION_DESTROYED: 'what listens there cut the connection, as a server does that is no Postgres, or wants TLS',
};

/** Codes of a certificate that was not trusted; those of OpenSSL and of Node are alike in this. */
const certificateCodes = /CERT|SELF_SIGNED|UNABLE_TO_|ERR_TLS|ERR_SSL|EPROTO/;

/**
 * Undefined where nothing that an operator could mend is behind it. `url` is that of a server; without one the database is
 * our own, whose errors name their setting already. The password is never repeated.
 */
export function startProblem(err: unknown, url: string | undefined): string | undefined {
  const root = rootOf(err);
  const code = codeOf(root);
  if (url !== undefined && root instanceof Error) {
    const problem =
      root.name === 'PostgresError' ? refusalOf(root, code, placeOf(url)) : connectionProblem(root, code, placeOf(url));
    if (problem !== undefined) return `DATABASE_URL: ${problem}`;
  }
  if (err instanceof StarlingError) {
    return /^STARLING_|^DATABASE_URL/.test(err.message) ? err.message : `the database cannot be used: ${err.message}`;
  }
  return root instanceof Error && root.name === 'PostgresError' ? `the database refuses: ${root.message}` : undefined;
}

/** What happened, below what was made of it. */
function rootOf(err: unknown): unknown {
  let root = err;
  while (root instanceof StarlingError && root.cause instanceof Error) root = root.cause;
  // Of several addresses each was tried: they fail alike, or the first says as much as any.
  return root instanceof AggregateError && root.errors[0] instanceof Error ? root.errors[0] : root;
}

function codeOf(err: unknown): string {
  return err instanceof Error && 'code' in err ? String(err.code) : '';
}

interface Place {
  /** Host and port, or several of them. */
  readonly server: string;
  readonly user: string;
  readonly database: string;
}

/** As postgres.js reads it, which knows several hosts; no URL of the platform does. */
function placeOf(url: string): Place {
  const [, userinfo = '', hosts = '', path = ''] = /^[^:]+:\/\/(?:([^/?#]*)@)?([^/?#]*)\/?([^?#]*)/.exec(url) ?? [];
  const [user = ''] = userinfo.split(':');
  const server = hosts
    .split(',')
    .map((host) => (/:\d+$/.test(host) ? host : `${host === '' ? 'localhost' : host}:5432`))
    .join(',');
  return { server, user: plain(user), database: plain(path) };
}

function plain(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function connectionProblem(err: Error, code: string, { server }: Place): string | undefined {
  const network = networkProblems[code];
  if (network !== undefined) {
    return `no Postgres can be reached at ${server}, because ${network} (${code}). Start it, or correct the address`;
  }
  if (certificateCodes.test(code)) {
    return `the TLS of ${server} is not trusted or fails: ${err.message} (${code}). Give Node the authority by NODE_EXTRA_CA_CERTS, or correct sslmode in the URL`;
  }
  if (err instanceof StarlingError && err.code === 'unavailable') {
    return `${server} took the connection and did not answer as a Postgres does (${err.message}). See whether one is there and well, or correct the address`;
  }
  return undefined;
}

function refusalOf(err: Error, code: string, { server, user, database }: Place): string | undefined {
  const said = `It said: ${err.message}`;
  switch (code) {
    case '28P01':
      return `${server} does not take the password of the user "${user}". Correct the user or the password. ${said}`;
    case '28000':
      return `${server} does not let the user "${user}" in. Correct the user, let it in by pg_hba.conf, or ask for TLS with ?sslmode=require. ${said}`;
    case '3D000':
      return `${server} has no database "${database === '' ? user : database}". Make it, as with createdb, or correct the name. ${said}`;
    case '42501':
      return `the user "${user}" may not make tables there. Give it the right to, as with: alter database ... owner to "${user}". ${said}`;
    case '25006':
      return `${server} takes no changes, because it is a standby or set to read only. Give the address of the primary. ${said}`;
    case '53300':
      return `${server} takes no more connections. Raise its max_connections, or end those that nobody needs. ${said}`;
    case '57P03':
      return `${server} is starting, stopping or recovering. Wait until it takes connections, and start again. ${said}`;
    case '53100':
      return `the disk of ${server} is full. Free some of it. ${said}`;
    default:
      // What it says of its own state; anything else is a fault of a query, and ours.
      return /^(?:08|53|57P|58)/.test(code) ? `${server} cannot be used now. ${said}` : undefined;
  }
}
