/** Socket.IO as its documentation shows it: a room for each channel, WebSocket only. No auth. */
import { createServer, type IncomingMessage } from 'node:http';
import { Server } from 'socket.io';

interface PublishBody {
  readonly name: string;
  readonly data: string;
  readonly channel?: string;
  readonly channels?: readonly string[];
}

async function readBody(req: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString());
}

const server = createServer(async (req, res) => {
  const body = (await readBody(req)) as PublishBody & { readonly batch?: readonly PublishBody[] };
  for (const { name, data, channel, channels = [] } of body.batch ?? [body]) {
    for (const each of channel === undefined ? channels : [channel]) io.to(each).emit(name, data);
  }
  res.setHeader('Content-Type', 'application/json');
  res.end('{}');
});

const io = new Server(server, { transports: ['websocket'], serveClient: false });
io.on('connection', (socket) => {
  socket.on('subscribe', async (channel: string) => {
    await socket.join(channel);
    socket.emit('subscribed', channel);
  });
});

server.listen({ host: '127.0.0.1', port: Number(process.env['PORT']), backlog: 4_096 });
