/** Webhooks, as a backend receives them. */
import { StarlingError } from './errors.ts';
import { isSameText, type Secret } from './secret.ts';

export interface WebhookRequest {
  /** Of the request: a plain object with names in any case, or a platform's `Headers`. */
  readonly headers:
    | Readonly<Record<string, string | readonly string[] | undefined>>
    | { get(name: string): string | null };
  /** Exactly as it came: the signature covers its bytes. */
  readonly body: string;
}

export type WebhookEvent =
  | { readonly name: 'channel_occupied' | 'channel_vacated' | 'cache_miss'; readonly channel: string }
  | { readonly name: 'member_added' | 'member_removed'; readonly channel: string; readonly user_id: string }
  | {
      readonly name: 'client_event';
      readonly channel: string;
      readonly event: string;
      readonly data: string;
      readonly socket_id: string;
      readonly user_id?: string;
    }
  | { readonly name: 'subscription_count'; readonly channel: string; readonly subscription_count: number };

export interface Webhook {
  readonly time: Date;
  readonly events: readonly WebhookEvent[];
}

/** `secrets`: by key. Throws `webhook_invalid`. */
export async function verifyWebhook(
  { headers, body }: WebhookRequest,
  secrets: ReadonlyMap<string, Secret>,
): Promise<Webhook> {
  const key = headerOf(headers, 'x-pusher-key');
  const signature = headerOf(headers, 'x-pusher-signature');
  if (key === undefined || signature === undefined) {
    throw new StarlingError('webhook_invalid', 'A webhook has the headers X-Pusher-Key and X-Pusher-Signature');
  }
  const secret = secrets.get(key);
  if (secret === undefined) {
    throw new StarlingError(
      'webhook_invalid',
      `The webhook was signed with the key ${JSON.stringify(key)}, which is not ours`,
    );
  }
  if (!isSameText(await secret.sign(body), signature)) {
    throw new StarlingError(
      'webhook_invalid',
      'The signature does not fit the body: give the body as it came, before anything parsed it',
    );
  }
  let read: { time_ms?: unknown; events?: unknown } | null;
  try {
    read = JSON.parse(body);
  } catch (cause) {
    throw new StarlingError('webhook_invalid', 'The body is not JSON', { cause });
  }
  if (typeof read?.time_ms !== 'number' || !Array.isArray(read.events)) {
    throw new StarlingError('webhook_invalid', 'The body has no "time_ms" or no "events"');
  }
  // Signed by the server: its events are what the server says they are.
  return { time: new Date(read.time_ms), events: read.events as WebhookEvent[] };
}

function headerOf(headers: WebhookRequest['headers'], name: string): string | undefined {
  if (typeof headers['get'] === 'function')
    return (headers as { get(name: string): string | null }).get(name) ?? undefined;
  for (const [given, value] of Object.entries(headers)) {
    if (given.toLowerCase() === name) return typeof value === 'string' ? value : undefined;
  }
  return undefined;
}
