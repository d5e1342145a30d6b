/** The event stream transport: `/sse/KEY`, one session per stream. */
export { type SseDeps, sseRoutes } from './routes.ts';
export { defaultSseLimits, type SseLimits } from './sse-stream.ts';
