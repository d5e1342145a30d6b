/** Asks the app's backend whether this connection may join a channel, or who its user is. */
import { after, type Fetch, parseJson } from './surroundings.ts';

/** What the backend answers about a channel. */
export interface ChannelAuth {
  readonly auth: string;
  readonly channel_data?: string;
  readonly shared_secret?: string;
}

export interface UserAuth {
  readonly auth: string;
  readonly user_data: string;
}

type Params = Readonly<Record<string, string | number | boolean>>;
type Headers = Readonly<Record<string, string>>;

/** How the backend of the app is asked. Everything here is as in pusher-js. */
export interface AuthOptions<Asked, Answer> {
  readonly transport?: 'ajax' | 'jsonp';
  readonly endpoint?: string;
  readonly params?: Params;
  readonly headers?: Headers;
  /** Asked before each request; wins over `params`. */
  readonly paramsProvider?: () => Params;
  readonly headersProvider?: () => Headers;
  /** In the place of a request. */
  readonly customHandler?: (params: Asked, callback: (error: Error | null, answer: Answer | null) => void) => void;
}

export interface ChannelAuthOptions extends AuthOptions<{ socketId: string; channelName: string }, ChannelAuth> {
  /**
   * Ask for all channels of a moment in one POST of JSON, `{socket_id, channels}`. An endpoint that does not know it
   * (404, 405, or an answer without `channels`) is asked channel by channel from then on.
   */
  readonly batch?: boolean;
}

/** As pusher-js says it, to listeners of `pusher:subscription_error` and `pusher:signin_error`. */
export interface AuthError {
  readonly type: string;
  readonly error: string;
  /** Of HTTP, where there was an answer. */
  readonly status?: number;
}

export type Answer<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: AuthError };

export type AuthorizeChannel = (
  channel: { readonly name: string },
  socketId: string,
  callback: (error: Error | null, answer: ChannelAuth | null) => void,
) => void;

export interface AuthSettings {
  readonly fetch: Fetch | undefined;
  readonly channelAuth: ChannelAuthOptions;
  readonly authorizer: AuthorizeChannel | undefined;
  readonly userAuth: AuthOptions<{ socketId: string }, UserAuth>;
}

export type AskForChannel = (channel: { readonly name: string }, socketId: string) => Promise<Answer<ChannelAuth>>;
export type AskForUser = (socketId: string) => Promise<Answer<UserAuth>>;

/** Whether the same request may succeed a little later: the network failed, or the backend did. */
export function isPassing({ status }: AuthError): boolean {
  return status === 0 || status === 429 || (status !== undefined && status >= 500);
}

/** Never rejects: what a provider of params or a custom handler throws is an answer, too. */
export function createAskForChannel({ channelAuth, authorizer, fetch }: AuthSettings): AskForChannel {
  const { endpoint = '/pusher/auth', customHandler, batch } = channelAuth;
  if (customHandler !== undefined) {
    return ({ name }, socketId) => byCallback((callback) => customHandler({ socketId, channelName: name }, callback));
  }
  if (authorizer !== undefined) {
    return (channel, socketId) => byCallback((callback) => authorizer(channel, socketId, callback));
  }
  const single: AskForChannel = ({ name }, socketId) =>
    post<ChannelAuth>(fetch, endpoint, channelAuth, { socket_id: socketId, channel_name: name });
  return batch === true ? askTogether(fetch, endpoint, channelAuth, single) : single;
}

/** Never rejects. */
export function createAskForUser({ userAuth, fetch }: AuthSettings): AskForUser {
  const { endpoint = '/pusher/user-auth', customHandler } = userAuth;
  if (customHandler !== undefined) return (socketId) => byCallback((callback) => customHandler({ socketId }, callback));
  return (socketId) => post<UserAuth>(fetch, endpoint, userAuth, { socket_id: socketId });
}

const failed = (error: string, status?: number): { readonly ok: false; readonly error: AuthError } => ({
  ok: false,
  error: { type: 'AuthError', error, ...(status !== undefined && { status }) },
});

function byCallback<T>(ask: (callback: (error: Error | null, answer: T | null) => void) => void): Promise<Answer<T>> {
  return new Promise((resolve) => {
    const callback = (error: Error | null, answer: T | null) => {
      if (error || answer === null)
        resolve(failed(String(error?.message ?? error), (error as { status?: number })?.status));
      else resolve({ ok: true, value: answer });
    };
    try {
      ask(callback);
    } catch (err) {
      callback(err as Error, null);
    }
  });
}

type Provided = Pick<AuthOptions<never, never>, 'params' | 'headers' | 'paramsProvider' | 'headersProvider'>;

interface Response {
  /** 0: there was none. */
  readonly status: number;
  readonly ok: boolean;
  readonly text: string;
}

async function request(
  fetch: Fetch | undefined,
  endpoint: string,
  provided: Provided,
  contentType: string,
  bodyOf: (params: object) => string,
): Promise<Response> {
  if (fetch === undefined) return { status: 0, ok: false, text: 'There is no fetch here: give one as an option' };
  try {
    const response = await fetch(endpoint, {
      method: 'POST',
      headers: { 'content-type': contentType, ...provided.headers, ...provided.headersProvider?.() },
      body: bodyOf({ ...provided.params, ...provided.paramsProvider?.() }),
    });
    return { status: response.status, ok: response.ok, text: await response.text() };
  } catch (err) {
    return { status: 0, ok: false, text: String(err) };
  }
}

const refusal = (endpoint: string, { status, text }: Response) =>
  failed(`${endpoint} answered ${status || 'nothing'}: ${text.slice(0, 200)}`, status);

const encodeForm = (fields: object) =>
  Object.entries(fields)
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .join('&');

async function post<T extends { readonly auth: string }>(
  fetch: Fetch | undefined,
  endpoint: string,
  provided: Provided,
  fields: Record<string, string>,
): Promise<Answer<T>> {
  const form = 'application/x-www-form-urlencoded';
  const response = await request(fetch, endpoint, provided, form, (params) => encodeForm({ ...fields, ...params }));
  if (!response.ok) return refusal(endpoint, response);
  const answer = parseJson(response.text) as T | undefined;
  if (typeof answer?.auth === 'string') return { ok: true, value: answer };
  return failed(`${endpoint} answered without "auth": ${response.text.slice(0, 200)}`, response.status);
}

/** How long channels are gathered: subscriptions made one after the other by a page that is being set up. */
const gatherMs = 10;

type BatchAnswer = ChannelAuth & { readonly error?: string; readonly status?: number };

/** One request for all channels of a moment, until the endpoint shows that it knows single ones only. */
function askTogether(
  fetch: Fetch | undefined,
  endpoint: string,
  provided: Provided,
  single: AskForChannel,
): AskForChannel {
  let isKnown = true;
  const waiting = new Map<
    string,
    Map<string, Array<(answer: Answer<ChannelAuth> | Promise<Answer<ChannelAuth>>) => void>>
  >();

  async function ask(socketId: string): Promise<void> {
    const channels = waiting.get(socketId) ?? new Map();
    waiting.delete(socketId);
    const response = await request(fetch, endpoint, provided, 'application/json', (params) =>
      JSON.stringify({ ...params, socket_id: socketId, channels: [...channels.keys()] }),
    );
    const answers = (parseJson(response.text) as { channels?: Record<string, BatchAnswer> } | null | undefined)
      ?.channels;
    isKnown = ![404, 405].includes(response.status) && (!response.ok || typeof answers === 'object');
    for (const [name, callbacks] of channels) {
      const answer = isKnown ? batchAnswer(response, answers?.[name]) : single({ name }, socketId);
      for (const callback of callbacks) callback(answer);
    }
  }

  function batchAnswer(response: Response, answer: BatchAnswer | undefined): Answer<ChannelAuth> {
    if (!response.ok) return refusal(endpoint, response);
    if (typeof answer?.auth === 'string') return { ok: true, value: answer };
    return failed(answer?.error ?? `${endpoint} answered without this channel`, answer?.status ?? 403);
  }

  return (channel, socketId) => {
    if (!isKnown) return single(channel, socketId);
    return new Promise((resolve) => {
      if (!waiting.has(socketId)) {
        waiting.set(socketId, new Map());
        after(gatherMs, () => void ask(socketId));
      }
      const channels = waiting.get(socketId);
      channels?.set(channel.name, [...(channels.get(channel.name) ?? []), resolve]);
    });
  };
}
