/** The script of a shared worker that holds the connection of all tabs: see `shareConnectionBy`. */
import { type Lead, openHub, platformHere } from './lead.ts';
import { after, surroundings } from './surroundings.ts';

interface Port {
  onmessage: ((event: { readonly data: Lead }) => void) | null;
}

/** The tabs hear of the end before the lock tells them of it, which knows no reasons. */
const farewellMs = 50;

const worker = globalThis as unknown as { onconnect: (event: { readonly ports: readonly Port[] }) => void };

worker.onconnect = ({ ports }) => {
  for (const port of ports) port.onmessage = ({ data }) => lead(data);
};

/** Unless somebody leads already. Without an answer a tab will do so. */
function lead(asked: Lead): void {
  const platform = platformHere();
  const { WebSocket } = surroundings;
  if (platform === null || WebSocket === undefined) return;
  const end: { byThief: () => void } = { byThief: () => {} };
  const request = platform.navigator.locks.request(asked.name, { ifAvailable: true }, (lock) => {
    if (lock === null) return;
    return new Promise((resolve) => {
      const hub = openHub(platform, asked, WebSocket, {
        emptied: (empty) => empty.end(1000, 'No tab is left'),
        ended: () => after(farewellMs, resolve),
      });
      end.byThief = () => hub.end(4200, 'A tab has taken the connection over');
    });
  });
  request.catch(() => end.byThief());
}
