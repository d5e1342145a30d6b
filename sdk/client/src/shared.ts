/**
 * One connection for all tabs: `new Starling(key, { host, shareConnection })`. The tab that has been given a Web Lock
 * holds the connection, the others talk to it over a BroadcastChannel. When it goes, the lock goes to another, and all
 * tabs reconnect.
 */
import type { Hub, HubMessage, TabMessage } from './hub.ts';
import type { ShareConnection, WebSocketConstructor } from './index.ts';
import { type Aborter, type Lead, type LockOptions, openHub, type Platform, platformHere, type Wire } from './lead.ts';
import { after, parseJson } from './surroundings.ts';
import { claimsOf } from './tokens.ts';

/** Where the client falls back to a connection of its own, for good. */
interface Place {
  isApart: boolean;
  readonly WebSocket: WebSocketConstructor;
  readonly workerUrl: string | undefined;
}

interface SharedWorker {
  readonly port: { postMessage(message: Lead): void; close(): void };
}
type SharedWorkerConstructor = new (url: string, options: { readonly name: string }) => SharedWorker;

/** How long the tab that leads may take to answer, and how often it is asked. One that hangs is led no longer. */
const answerTimeoutMs = 500;
const asks = 3;

export const shareConnection: ShareConnection = (WebSocketHere) => share(WebSocketHere);

/**
 * The connection is held by a worker, and so no tab's end is felt by the others. The script is this package's
 * `starling-worker.js`, served from the origin of the page. Where that cannot be had, a tab holds the connection.
 */
export function shareConnectionBy(workerUrl: string): ShareConnection {
  return (WebSocketHere) => share(WebSocketHere, workerUrl);
}

function share(WebSocketHere: WebSocketConstructor, workerUrl?: string): WebSocketConstructor {
  const place: Place = { isApart: false, WebSocket: WebSocketHere, workerUrl };
  // Not a class, since `new` must be able to give the runtime's own.
  function Shared(url: string): unknown {
    const platform = place.isApart ? null : platformHere();
    return platform === null ? new WebSocketHere(url) : new SharedSocket(place, platform, url);
  }
  return Shared as unknown as WebSocketConstructor;
}

/** Whose token it is, and what it allows: the same for one and for what replaces it. */
function identityOf(token: string): string {
  const { exp, iat, ...lasting } = claimsOf(token) as Record<string, unknown>;
  const { nbf, jti, ...identity } = lasting;
  // One that cannot be read is like no other.
  if (exp === undefined) return token;
  return JSON.stringify(Object.entries(identity).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Looks like a WebSocket to the client. Each stands alone: two in one page are as two tabs. */
class SharedSocket {
  readyState = 0;
  onmessage: ((event: { readonly data: string }) => void) | null = null;
  onclose: ((event: { readonly code: number; readonly reason: string }) => void) | null = null;

  private readonly place: Place;
  private readonly platform: Platform;
  private readonly url: string;
  private readonly id: string;
  /** Of all that share: the same server, app, version of this package, user and rights. */
  private readonly name: string;
  private readonly identity: string | null;
  private readonly wire: Wire;
  private readonly closed: Promise<void>;
  private release: () => void = () => {};
  private queued: Aborter;
  /** The one it is connected through. */
  private hubId: string | null = null;
  /** Where it leads itself. */
  private hub: Hub | null = null;
  /** Where one holds the connection. */
  private worker: SharedWorker | null = null;
  private stopAsking: () => void = () => {};

  constructor(place: Place, platform: Platform, url: string) {
    this.place = place;
    this.platform = platform;
    this.url = url;
    this.id = platform.crypto.randomUUID();
    const token = /[?&]token=([^&]*)/.exec(url)?.[1];
    this.identity = token === undefined ? null : identityOf(decodeURIComponent(token));
    this.name = `starling ${url.replace(/[?&]token=[^&]*/, '')} ${this.identity ?? ''}`;
    this.closed = new Promise((resolve) => {
      this.release = resolve;
    });
    this.queued = new platform.AbortController();
    this.wire = new platform.BroadcastChannel(this.name);
    this.wire.onmessage = ({ data }) => {
      if ('hub' in data && !('from' in data)) this.hear(data);
    };
    // As long as it is held, this tab is there: the hub asks for it, too, and gets it when the tab has gone.
    this.request(`${this.name} ${this.id}`, {}, () => {
      if (this.readyState === 3) return;
      this.worker = this.openWorker();
      if (this.worker === null) this.queue();
      this.ask(asks);
      return this.closed;
    });
  }

  send(text: string): void {
    const { event, data } = Object(parseJson(text)) as { event?: string; data?: { token?: string } };
    if (event === 'starling:auth' && this.identity !== identityOf(String(data?.token))) {
      // With it this tab belongs to others.
      void Promise.resolve().then(() => this.end(4200, 'The token is for another user, or for other rights'));
      return;
    }
    if (this.hubId !== null) this.post({ from: this.id, kind: 'say', hub: this.hubId, text });
  }

  close(): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.stopAsking();
    this.hub?.end(4200, 'The tab that held the connection has left it');
    this.post({ from: this.id, kind: 'leave' });
    this.queued.abort();
    this.worker?.port.close();
    this.release();
    this.wire.close();
  }

  private end(code: number, reason: string): void {
    if (this.readyState === 3) return;
    this.close();
    this.onclose?.({ code, reason });
  }

  private post(message: TabMessage | HubMessage): void {
    this.wire.postMessage(message);
  }

  /** Null where there is none to be had: then a tab leads. */
  private openWorker(): SharedWorker | null {
    const { workerUrl } = this.place;
    const { SharedWorker } = globalThis as unknown as { readonly SharedWorker?: SharedWorkerConstructor };
    if (workerUrl === undefined || SharedWorker === undefined) return null;
    try {
      return new SharedWorker(workerUrl, { name: this.name });
    } catch {
      // A policy of the page forbids it.
      return null;
    }
  }

  private queue(): void {
    this.request(this.name, { signal: this.queued.signal }, () => this.lead());
  }

  private request(name: string, options: LockOptions, granted: () => Promise<void> | undefined): void {
    this.platform.navigator.locks.request(name, options, granted).catch(() => {
      if (this.readyState === 3) return;
      if (this.hub !== null) {
        this.hub.end(4200, 'Another tab has taken the connection over');
      } else if (this.queued.signal === options.signal || options.signal === undefined) {
        // Sandboxed pages have locks by name only.
        this.goApart();
      }
    });
  }

  private goApart(): void {
    this.place.isApart = true;
    this.end(4200, 'This tab uses a connection of its own');
  }

  /** Until somebody answers, or for so long that nobody will. */
  private ask(times: number): void {
    if (this.readyState !== 0 || this.hub !== null) return;
    if (times === 0) {
      const { queued } = this;
      this.queued = new this.platform.AbortController();
      queued.abort();
      this.request(this.name, { steal: true }, () => this.lead());
      return;
    }
    this.worker?.port.postMessage({ name: this.name, url: this.url } satisfies Lead);
    this.post({ from: this.id, kind: 'open' });
    this.stopAsking = after(answerTimeoutMs, () => this.ask(times - 1));
  }

  /** The lock is this tab's. */
  private lead(): Promise<void> | undefined {
    if (this.readyState === 3 || this.hub !== null) return;
    if (this.hubId !== null) {
      // The hub it was connected through has gone without a word, and everyone's connection with it.
      const reason = 'The tab that held the connection has gone';
      this.post({ hub: this.hubId, kind: 'close', code: 4200, reason });
      this.end(4200, reason);
      return;
    }
    this.stopAsking();
    this.hub = openHub(this.platform, { name: this.name, url: this.url }, this.place.WebSocket);
    return this.closed;
  }

  private hear(message: HubMessage): void {
    if (this.readyState === 3) return;
    if (this.hubId === null) {
      if (message.kind === 'lead') this.post({ from: this.id, kind: 'open' });
      if (message.kind !== 'welcome' || message.to?.includes(this.id) !== true) return;
      this.stopAsking();
      this.hubId = message.hub;
      this.readyState = 1;
      // Who is given the lock then knows that the worker has gone.
      if (this.worker !== null) this.queue();
      return;
    }
    // It has the lock, and so the former has not.
    if (message.kind === 'lead' && message.hub !== this.hubId) this.end(4200, 'Another tab holds the connection now');
    if (message.hub !== this.hubId || message.to?.includes(this.id) === false) return;
    if (message.kind === 'frame') this.onmessage?.({ data: message.text });
    else if (message.kind === 'close') this.end(message.code, message.reason);
    else if (message.kind === 'apart') this.goApart();
  }
}
