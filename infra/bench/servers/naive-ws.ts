/** What one writes in an afternoon over `ws`: every event is turned into text and sent for each client anew. No auth. */
import { createServer, type IncomingMessage } from 'node:http';
import { type WebSocket, WebSocketServer } from 'ws';

interface PublishBody {
  readonly name: string;
  readonly data: string;
  readonly channel?: string;
  readonly channels?: readonly string[];
}

const channels = new Map<string, Set<WebSocket>>();

function publish({ name, data, channel, channels: several = [] }: PublishBody): void {
  for (const each of channel === undefined ? several : [channel]) {
    for (const client of channels.get(each) ?? []) client.send(JSON.stringify({ event: name, channel: each, data }));
  }
}

async function readBody(req: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString());
}

const server = createServer(async (req, res) => {
  const body = (await readBody(req)) as PublishBody & { readonly batch?: readonly PublishBody[] };
  for (const each of body.batch ?? [body]) publish(each);
  res.setHeader('Content-Type', 'application/json');
  res.end('{}');
});

const perMessageDeflate = process.env['DEFLATE'] === 'on' && { serverNoContextTakeover: true, threshold: 512 };
new WebSocketServer({ server, perMessageDeflate }).on('connection', (client) => {
  const joined = new Set<string>();
  client.on('message', (message) => {
    const { event, data } = JSON.parse(String(message)) as { event: string; data: { channel: string } };
    if (event !== 'pusher:subscribe') return;
    const members = channels.get(data.channel) ?? new Set();
    channels.set(data.channel, members.add(client));
    joined.add(data.channel);
    client.send(JSON.stringify({ event: 'pusher_internal:subscription_succeeded', channel: data.channel, data: '{}' }));
  });
  // A cut connection is an error to ws, and no concern of this server.
  client.on('error', () => {});
  client.on('close', () => {
    for (const channel of joined) channels.get(channel)?.delete(client);
  });
  const socketId = `${process.pid}.${Math.floor(Math.random() * 1e9)}`;
  client.send(
    JSON.stringify({
      event: 'pusher:connection_established',
      data: JSON.stringify({ socket_id: socketId, activity_timeout: 120 }),
    }),
  );
});

server.listen({ host: '127.0.0.1', port: Number(process.env['PORT']), backlog: 4_096 });
