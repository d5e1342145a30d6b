/** One WebSocket, from its opening to its end: text in, frames out. */
import { decoded, parseJson, type WebSocketConstructor } from './surroundings.ts';

/** What the server says: `data` decoded where it was JSON. */
export interface ServerFrame {
  readonly event: string;
  readonly channel?: string;
  readonly data?: unknown;
  readonly user_id?: string;
}

export interface Link {
  /** Whether it was handed to an open socket. */
  send(text: string): boolean;
  /** Nothing is told of it from then on. */
  close(): void;
}

interface Socket {
  readonly readyState: number;
  send(text: string): void;
  close(code?: number, reason?: string): void;
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  onerror: ((event: unknown) => void) | null;
  onclose: ((event: { readonly code?: number; readonly reason?: string }) => void) | null;
}

const open = 1;

export interface LinkListener {
  frame(frame: ServerFrame): void;
  /** Once, and the last that is told. */
  end(code: number, reason: string): void;
}

export function openLink(WebSocketHere: WebSocketConstructor, url: string, listener: LinkListener): Link {
  let isTold = true;
  // A class of WebSockets is known by its constructor only; all of them have these properties.
  const socket = new WebSocketHere(url) as unknown as Socket;
  socket.onmessage = ({ data }) => {
    const frame = isTold ? decodeFrame(data) : null;
    if (frame !== null) listener.frame(frame);
  };
  socket.onclose = ({ code = 1006, reason = '' }) => {
    if (!isTold) return;
    isTold = false;
    listener.end(code, String(reason));
  };
  // A close always follows, and says all that may be known; ws throws where nobody listens.
  socket.onerror = () => {};
  return {
    send(text) {
      if (socket.readyState !== open) return false;
      socket.send(text);
      return true;
    },
    close() {
      isTold = false;
      // One that is still opening is closed once it can be.
      socket.close(1000);
    },
  };
}

/** Null for what is no frame. A server that sends such a thing is no Starling, and the handshake will time out. */
function decodeFrame(text: unknown): ServerFrame | null {
  const frame = parseJson(String(text)) as Partial<ServerFrame> | null | undefined;
  if (typeof frame?.event !== 'string') return null;
  const data = typeof frame.data === 'string' ? decoded(frame.data) : frame.data;
  return { ...(frame as ServerFrame), data };
}
