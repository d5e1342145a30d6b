/** The opening handshake, checked whole before anything is upgraded (RFC 6455, 4.2.1). */
import type { IncomingMessage } from 'node:http';
import { type Checked, refuse } from '@starling/protocol';

/** Base64 of 16 bytes. */
const nonce = /^[+/0-9A-Za-z]{22}==$/;

/** Refuses with `request_malformed`, naming the header, or `upgrade_required` for a version that is not ours. */
export function checkHandshake(request: IncomingMessage): Checked<null> {
  const { headers, httpVersion, httpVersionMajor, httpVersionMinor } = request;
  if (httpVersionMajor < 1 || (httpVersionMajor === 1 && httpVersionMinor < 1)) {
    return refuse('request_malformed', `A WebSocket handshake needs HTTP/1.1 or higher, not HTTP/${httpVersion}`);
  }
  if (!headers.host) return refuse('request_malformed', 'The Host header is missing');
  // Two of them are two opinions on whom the request is for (RFC 9112, 3.2), also where they agree.
  if (request.headersDistinct['host']?.length !== 1) {
    return refuse('request_malformed', 'The Host header must be there once');
  }
  if (!listsToken(headers.upgrade, 'websocket')) {
    return refuse('request_malformed', 'The Upgrade header must be "websocket"');
  }
  if (!listsToken(headers.connection, 'upgrade')) {
    return refuse('request_malformed', 'The Connection header must be "Upgrade"');
  }
  const key = headers['sec-websocket-key'];
  if (key === undefined || !nonce.test(key)) {
    return refuse('request_malformed', 'The Sec-WebSocket-Key header must be the Base64 of 16 bytes, once');
  }
  const version = headers['sec-websocket-version'];
  if (version === undefined) return refuse('request_malformed', 'The Sec-WebSocket-Version header is missing');
  if (version !== '13') return refuse('upgrade_required', 'The Sec-WebSocket-Version header must be 13');
  return { ok: true, value: null };
}

/** Whether a header, a list of tokens in any case, holds the token. */
export function listsToken(header: string | undefined, token: string): boolean {
  return header?.split(',').some((entry) => entry.trim().toLowerCase() === token) ?? false;
}

/**
 * The path and query of a request target. Whoever asks as one asks a proxy gives an address instead, and is to be
 * understood, too (RFC 9112, 3.2.2). What is neither stays what it is, and leads nowhere.
 */
export function originForm(target: string): string {
  const address = /^(?:https?|wss?):\/\/[^/?#]+(.*)$/is.exec(target);
  if (address === null) return target;
  const [, rest = ''] = address;
  return rest.startsWith('/') ? rest : `/${rest}`;
}
