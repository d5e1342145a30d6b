/** What `starling start` prints on stdout: all that is needed to send the first event, to be pasted as it is. */

export interface BannerApp {
  readonly id: string;
  readonly key: string;
  /** Undefined: it was shown before, and what is printed now may be kept in a log. */
  readonly secret: string | undefined;
}

export interface BannerFacts {
  /** Where it listens, as `http://127.0.0.1:6001`. */
  readonly url: string;
  readonly pathPrefix: string;
  /** As the settings say it, where they do: a browser finds the page there. */
  readonly publicUrl?: string | undefined;
  /** Undefined when there is none left that could be used. */
  readonly app: BannerApp | undefined;
  /** Lets whoever opens it become the first owner; undefined when there is one, or when it was shown before. */
  readonly setupLink?: string | undefined;
  readonly hasColour: boolean;
}

export function banner({ url, pathPrefix, publicUrl, app, setupLink, hasColour }: BannerFacts): string {
  const paint = (code: number) => (text: string) => (hasColour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const [strong, faint] = [paint(1), paint(2)];
  const base = reachable(url) + pathPrefix;
  const connectRequest = `
  ${strong('Starling')} is ready at ${strong(base)}
`;
  const setup =
    setupLink === undefined
      ? ''
      : `
    admin    ${setupLink}
             ${faint('opens once: make yourself the owner of this installation')}
`;
  if (app === undefined) return `${connectRequest}${setup}\n`;
  const known = `${connectRequest}
    app id   ${app.id}
    key      ${app.key}
`;
  const { id, key, secret } = app;
  const page = `
    page     ${pageUrl(publicUrlOf(publicUrl, url, pathPrefix), app)}
             ${faint('shows events as they arrive: open it in a browser')}
`;
  if (secret === undefined) {
    return `${known}    secret   not shown again ${faint('except on a terminal: the first start has printed it')}
${page}${setup}
`;
  }
  return `${known}    secret   ${secret}   ${faint('for your backend only')}
${page}${setup}
${faint('Paste this into a shell: the page shows the event. It signs itself, so it stays valid.')}

${command(base, { id, key, secret })}
`;
}

/** The page that this server has. What it is told is no secret. */
function pageUrl(base: string, { id, key }: BannerApp): string {
  return `${base}/?${new URLSearchParams({ app: id, key })}`;
}

/** Below the public URL, else below the address that it listens on. */
export function setupUrl(publicUrl: string, token: string): string {
  return `${publicUrl}/setup?token=${token}`;
}

/** Where browsers find it: as the settings say, else as a browser on this machine does. */
export function publicUrlOf(given: string | undefined, url: string, pathPrefix: string): string {
  return given ?? reachable(url) + pathPrefix;
}

/** Where a browser on this machine finds it: nothing can be sent to "all addresses". */
function reachable(url: string): string {
  return url.replace(/^(https?:\/\/)(?:0\.0\.0\.0|\[::\])(?=:)/, '$1127.0.0.1');
}

/** In a subshell, so that it leaves no variables behind; openssl prints more than the digest, which sed takes off. */
function command(base: string, { id, key, secret }: BannerApp & { readonly secret: string }): string {
  const { origin, pathname } = new URL(base);
  const prefix = pathname === '/' ? '' : pathname;
  return `(
  body='{"name":"my-event","channel":"my-channel","data":"{\\"message\\":\\"hello\\"}"}'
  md5=$(printf '%s' "$body" | openssl dgst -md5 | sed 's/^.* //')
  query="auth_key=${key}&auth_timestamp=$(date +%s)&auth_version=1.0&body_md5=$md5"
  signature=$(printf 'POST\\n/apps/${id}/events\\n%s' "$query" | openssl dgst -sha256 -hmac '${secret}' | sed 's/^.* //')
  curl -sS -H 'Content-Type: application/json' -d "$body" "${origin}${prefix}/apps/${id}/events?$query&auth_signature=$signature"
  echo
)`;
}
