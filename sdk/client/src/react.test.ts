import { createElement } from 'react';
import { renderToString } from 'react-dom/server';
import { expect, test } from 'vitest';
import { StarlingProvider, useChannel, useConnectionState, useEvent, usePresence } from './react.ts';
import { TestServer } from './testing.ts';

function Room() {
  const channel = useChannel('room');
  useEvent('room', 'order', () => {});
  const { isJoined, count } = usePresence('presence-room');
  return createElement('p', null, `${useConnectionState()} ${String(channel)} ${isJoined} ${count}`);
}

test('on a server everything renders, and nothing connects', async () => {
  const server = new TestServer();
  const html = renderToString(
    createElement(StarlingProvider, { appKey: 'key', options: server.options() }, createElement(Room)),
  );
  expect(html).toBe('<p>initialized undefined false 0</p>');
  await server.settled();
  expect(server.connectionCount).toBe(0);
});

test('a hook outside the provider says so', () => {
  expect(() => renderToString(createElement(Room))).toThrow('StarlingProvider');
});
