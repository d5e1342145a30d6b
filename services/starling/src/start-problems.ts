/** Why the programs around this one cannot be used: one line that names the setting and what to do. */
import { startProblem } from '@starling/database';
import { StarlingError } from '@starling/protocol';
import { StartError } from '@starling/runtime';

/** Throws a StartError where an operator can reconcile it, else the error itself. `url` is DATABASE_URL, if it is given. */
export function throwDatabaseProblem(err: unknown, url?: string): never {
  const problem = startProblem(err, url);
  if (problem !== undefined && !(err instanceof StartError)) throw new StartError(problem);
  throw err;
}

/** What ioredis and Redis say, and what it means; the first that fits. */
const redisProblems: ReadonlyArray<{
  readonly said: RegExp;
  readonly isTls?: boolean;
  readonly means: string;
}> = [
  {
    said: /WRONGPASS|invalid (username-)?password/i,
    means: 'it does not take the user and password there. Correct them',
  },
  { said: /NOAUTH/, means: 'it wants a password. Put one into the URL, in front of the host' },
  { said: /AUTH.*without any password|no password is set/i, means: 'it has no password. Take that out of the URL' },
  {
    said: /NOPERM/,
    means: 'its user may not do all that Starling needs. Give it the commands and keys of docs/cluster.md',
  },
  { said: /DB index is out of range/, means: 'it has no database of that number. Correct the number in the path' },
  {
    said: /ECONNREFUSED|EHOSTUNREACH|ENETUNREACH/,
    means: 'nothing listens there, or a firewall refuses. Start it, or correct the address',
  },
  { said: /ENOTFOUND|EAI_AGAIN/, means: 'its host has no address. Correct the host' },
  {
    said: /ca certificate|CERT|self[- ]signed|unable to (?:get|verify)|altname/i,
    isTls: true,
    means: 'its certificate is not trusted. Name its authority by ?ca=PATH, and the host as the certificate does',
  },
  {
    said: /wrong version number|packet length|ECONNRESET|ETIMEDOUT|closed|Socket timeout|EPROTO|SSL/i,
    isTls: true,
    means: 'it does not answer by TLS. Write redis:// in the place of rediss://, or give its port for TLS',
  },
  {
    said: /ECONNRESET|closed|Protocol error|EPIPE/i,
    isTls: false,
    means:
      'it cuts the connection, as one does that wants TLS. Write rediss:// in the place of redis://, or correct the address',
  },
  {
    said: /ETIMEDOUT|Socket timeout|no answer/,
    means: 'nothing answers there as a Redis does. Start it, or correct the address',
  },
];

export interface RedisPlace {
  readonly hosts: ReadonlyArray<{ readonly host: string; readonly port: number }>;
  readonly isTls: boolean;
  readonly caPath: string | undefined;
}

/** Throws a StartError. No text shows the URL, which may hold a password. */
export function throwRedisProblem(err: unknown, { hosts, isTls, caPath }: RedisPlace): never {
  if (caPath !== undefined && err instanceof Error && 'path' in err && err.path === caPath) {
    throw new StartError(`REDIS_URL: the file of ?ca= cannot be read: ${err.message}. Correct the path`);
  }
  if (!(err instanceof StarlingError)) throw err;
  const found = redisProblems.find((each) => each.said.test(err.message) && (each.isTls ?? isTls) === isTls);
  const servers = hosts.map(({ host, port }) => `${host}:${port}`).join(',');
  const said = err.message.replace(/^Redis is not available: /, '');
  throw new StartError(
    `the Redis of REDIS_URL cannot be used at ${servers}: ${found === undefined ? said : `${found.means} (${said})`}`,
  );
}
