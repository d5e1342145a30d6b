export { sign } from './authorize.ts';
export { Hub, type HubDeps } from './hub.ts';
export type { OutboxLimits } from './outbox.ts';
export { defaultSessionSettings, type Greeting, type Session, type SessionSettings } from './session.ts';
export { defaultOutboxLimits, Sessions, type SessionsDeps } from './sessions.ts';
export { AppTraffic, Traffic } from './traffic.ts';
