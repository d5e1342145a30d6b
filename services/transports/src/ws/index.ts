/** The WebSocket transport: `/app/KEY` and `/raw/KEY`, one session per connection. */
export { wsRoutes } from './routes.ts';
export { defaultWsLimits, type WsDeps, type WsLimits } from './ws-connections.ts';
