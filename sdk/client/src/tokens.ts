/** Keeps a capability token in hand that is valid now, and gives the server the next one before it ends. */
import { StarlingError } from './errors.ts';
import { retryDelayMs } from './retry.ts';
import { after, type Moment, msSince, parseJson, thisMoment } from './surroundings.ts';

/** May be asked again at any time. An error with `status` 401 or 403 ends the asking; any other is tried again. */
export type TokenProvider = () => string | Promise<string>;

export interface Claims {
  readonly sub?: string;
  readonly info?: object;
  readonly cap?: Readonly<Record<string, readonly string[]>>;
  readonly exp?: number;
  readonly iat?: number;
}

interface Held {
  readonly token: string;
  readonly claims: Claims;
  readonly since: Moment;
  readonly freshMs: number;
}

export interface TokenNeeds {
  readonly provider: TokenProvider;
  send_event(event: string, data: unknown): boolean;
  erred(error: StarlingError): void;
}

const refreshRetry = { retryMinMs: 1_000, retryMaxMs: 30_000 };

/** How long before its end a token is replaced. */
const leadMs = (lifetimeMs: number) => Math.min(60_000, lifetimeMs / 5);

export class Tokens {
  private readonly needs: TokenNeeds;
  private held: Held | null = null;
  private asking: Promise<Held> | null = null;
  private attempt = 0;
  private stopRefresh: () => void = () => {};

  constructor(needs: TokenNeeds) {
    this.needs = needs;
  }

  get userId(): string | undefined {
    return this.held?.claims.sub;
  }

  /** The one in hand while it is fresh, else a new one. Rejects with `token_refused` or `token_unavailable`. */
  async current(): Promise<string> {
    const { held } = this;
    return held !== null && msSince(held.since) < held.freshMs ? held.token : (await this.ask()).token;
  }

  /** Whether the token allows to subscribe. The server decides; this only tells whom to ask. */
  opens(name: string): boolean {
    const operation = name.startsWith('presence-') ? 'presence' : 'subscribe';
    return Object.entries(this.held?.claims.cap ?? {}).some(
      ([pattern, operations]) =>
        operations.includes(operation) &&
        (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern),
    );
  }

  /** The server has said that the one in hand is no good. */
  drop(): void {
    this.held = null;
  }

  /** The connection has gone. */
  pause(): void {
    this.stopRefresh();
    this.attempt = 0;
  }

  /** Asks for a new one, and gives it to the server on the open connection. */
  refresh(): void {
    this.stopRefresh();
    const before = this.held?.token;
    this.ask().then(
      ({ token }) => {
        this.attempt = 0;
        // A provider that has but one has no other to give.
        if (token !== before) this.needs.send_event('starling:auth', { token });
      },
      (err: StarlingError) => {
        this.needs.erred(err);
        if (err.code === 'token_refused') return;
        this.stopRefresh = after(retryDelayMs(this.attempt++, refreshRetry, Math.random()), () => this.refresh());
      },
    );
  }

  /** `starling:auth_success`. */
  accepted(expiresInSeconds: number): void {
    const lifetimeMs = expiresInSeconds * 1_000;
    const freshMs = lifetimeMs - leadMs(lifetimeMs);
    if (this.held !== null) this.held = { ...this.held, since: thisMoment(), freshMs };
    this.stopRefresh();
    this.stopRefresh = after(freshMs, () => this.refresh());
  }

  private ask(): Promise<Held> {
    this.asking ??= this.provide().finally(() => {
      this.asking = null;
    });
    return this.asking;
  }

  private async provide(): Promise<Held> {
    try {
      const token = await this.needs.provider();
      if (typeof token !== 'string' || token === '') throw new TypeError('it gave no token, which is a string');
      const claims = claimsOf(token);
      // By the token's own length: this clock may be far from the server's.
      const lifetimeMs = ((claims.exp ?? 0) - (claims.iat ?? 0)) * 1_000;
      this.held = { token, claims, since: thisMoment(), freshMs: lifetimeMs - leadMs(lifetimeMs) };
      return this.held;
    } catch (err) {
      const { status, message = String(err) } = Object(err) as { status?: number; message?: string };
      if (status === 401 || status === 403) {
        throw new StarlingError('token_refused', `The token provider refused (${status}): ${message}`, { cause: err });
      }
      throw new StarlingError('token_unavailable', `The token provider failed: ${message}`, { cause: err });
    }
  }
}

/** What a token says of itself, nothing where it cannot be read; what is true of it only the server knows. */
export function claimsOf(token: string): Claims {
  const payload = token.split('.')[1] ?? '';
  const { atob } = globalThis as unknown as { atob(text: string): string };
  try {
    const bytes = atob(payload.replaceAll('-', '+').replaceAll('_', '/'));
    // Escaped byte by byte and read as UTF-8, since atob knows bytes only.
    const escaped = bytes.replace(/[\s\S]/g, (byte) => `%${byte.charCodeAt(0).toString(16).padStart(2, '0')}`);
    return Object(parseJson(decodeURIComponent(escaped))) as Claims;
  } catch {
    // No base64 or no UTF-8: the server will say what is wrong with such a token.
    return {};
  }
}
