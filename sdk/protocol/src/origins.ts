/** Whose pages may connect: the patterns of an app's allow-list, and the `Origin` that a browser or a web view sends. */

interface OriginPattern {
  /** Null: the pages of a host by http or https, whichever. */
  readonly scheme: string | null;
  /** Small letters; begins with `*.` for every subdomain. */
  readonly host: string;
  /** Null in a pattern without scheme and port: any. Of a scheme that has no ports, the empty text. */
  readonly port: string | null;
}

const defaultPorts: Readonly<Record<string, string>> = { http: '80', https: '443' };
/** What no page comes from, so that a pattern with it would only look as if it allowed somebody. */
const noOrigins = new Set(['about', 'blob', 'data', 'ftp', 'javascript', 'ws', 'wss']);
const originShape = /^(?:([a-z][a-z0-9+.-]*):\/\/)?(\[[\da-f:.]+\]|[^\s/:@?#[\]]*)(?::(\d{1,5}))?$/;
const webHost = /^(?:\[[\da-f:.]+\]|(?:\*\.)?[\w-]+(?:\.[\w-]+)*)$/;
/** Of apps and extensions, which name themselves as they like: `app://.`, `file://`. */
const appHost = /^[\w.-]*$/;

export const originProblem =
  'must be an origin, such as https://example.com, https://*.example.com, example.com or capacitor://localhost';

/** Whether an allow-list may hold it. `null` may not stand there: any page can make itself one, in a sandboxed frame. */
export function isOriginPattern(text: string): boolean {
  return parsePattern(text) !== null;
}

/** Whether a browser page of this origin may connect. A peer without an origin is no browser and passes. */
export function isOriginAllowed(allowed: readonly string[], origin: string | undefined): boolean {
  if (allowed.length === 0 || origin === undefined) return true;
  const given = parsePattern(origin);
  if (given?.scheme == null) return false;
  return allowed.some((text) => {
    const pattern = parsePattern(text);
    return pattern !== null && matches(pattern, given);
  });
}

function matches(pattern: OriginPattern, given: OriginPattern): boolean {
  if (pattern.scheme === null ? given.port === '' : pattern.scheme !== given.scheme) return false;
  if (pattern.port !== null && pattern.port !== given.port) return false;
  return pattern.host.startsWith('*.') ? given.host.endsWith(pattern.host.slice(1)) : given.host === pattern.host;
}

/** An origin is the pattern that allows it alone. Null for what is none. */
function parsePattern(text: string): OriginPattern | null {
  const parts = originShape.exec(text.toLowerCase());
  if (parts === null) return null;
  const [, scheme, host = '', port] = parts;
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65_535)) return null;
  const written = port === undefined ? null : String(Number(port));
  if (scheme === undefined) return webHost.test(host) && host !== 'null' ? { scheme: null, host, port: written } : null;
  if (noOrigins.has(scheme)) return null;
  const usual = defaultPorts[scheme];
  if (usual !== undefined) return webHost.test(host) ? { scheme, host, port: written ?? usual } : null;
  // Only a file has no host; and no app has a port.
  const isWhole = appHost.test(host) && written === null && (host !== '' || scheme === 'file');
  return isWhole ? { scheme, host, port: '' } : null;
}
