/** The WebSocket transport: `/app/KEY`, one session per connection. */
export { webSocketCodec } from './codec.ts';
export { wsRoutes } from './routes.ts';
export { defaultWsLimits, type WsDeps, type WsLimits } from './ws-connections.ts';
