/** Asks an identity provider for its key set, within bounds of time and size, and only where it may be asked. */
import { get as httpGet, type IncomingMessage } from 'node:http';
import { get as httpsGet } from 'node:https';
import { isIPv4 } from 'node:net';
import { mayLeadOutside, publicLookup } from '../public-address.ts';

export interface FetchLimits {
  readonly limitMs: number;
  readonly maxBytes: number;
  /** Whether a provider in this server's own network may be asked, and one on this machine without TLS. */
  readonly mayBePrivate: boolean;
}

/** Rejects with an Error that says why; follows no redirects, which could lead anywhere. */
export async function fetchKeys(url: string, { limitMs, maxBytes, mayBePrivate }: FetchLimits): Promise<unknown> {
  const target = new URL(url);
  const host = target.hostname.replace(/^\[|\]$/g, '');
  const isLoopback = host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
  if (target.protocol !== 'https:' && !(target.protocol === 'http:' && isLoopback)) {
    throw new Error('the keys must come from an https: URL: whoever can change them can mint any token');
  }
  if (!mayBePrivate && !mayLeadOutside(host)) throw new Error(`${host} is a private address`);
  const options = {
    // No connection outlives its answer.
    agent: false,
    headers: { accept: 'application/json' },
    signal: AbortSignal.timeout(limitMs),
    ...(mayBePrivate ? {} : { lookup: publicLookup }),
  };
  const text = await new Promise<string>((resolve, reject) => {
    const onResponse = (response: IncomingMessage): void => {
      readText(response, maxBytes).then(resolve, (err: unknown) => {
        response.destroy();
        reject(err);
      });
    };
    const request =
      target.protocol === 'https:' ? httpsGet(target, options, onResponse) : httpGet(target, options, onResponse);
    request.on('error', reject);
  });
  return JSON.parse(text);
}

async function readText(response: IncomingMessage, maxBytes: number): Promise<string> {
  if (response.statusCode !== 200) throw new Error(`the provider answered with status ${response.statusCode}`);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) throw new Error(`the provider's answer has more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
