export { addressGroup } from './address-group.ts';
export { sign } from './authorize.ts';
export type { MemoryBudget } from './capacity.ts';
export { ClusterView, type ClusterViewDeps, type NodeAbout } from './cluster-view.ts';
export { BrokerControlBus, type ControlBusDeps } from './control-bus.ts';
export { type DebugEntry, DebugTap, DebugWatch, type DebugWatchDeps } from './debug.ts';
export { Fairness, type FairnessDeps, refuseOverShare } from './fairness.ts';
export { Hub, type HubDeps } from './hub.ts';
export {
  type Attribute,
  type Attributes,
  type ChannelAttributes,
  type ChannelState,
  type ChannelStats,
  channelStats,
  type InspectDeps,
  inspectChannel,
  inspectChannels,
  listChannels,
  listUsers,
  parseAttributes,
} from './inspect.ts';
export type { OutboxLimits } from './outbox.ts';
export { type PublishCommand, type PublishDeps, publish, terminateConnections } from './publish.ts';
export {
  type EventRequest,
  type Fields,
  nameType,
  parseChannels,
  parseEventRequest,
  toPublishCommand,
} from './publish-request.ts';
export { type AuthenticatedRequest, authenticateRequest, checkBody, type SignedRequest } from './request-auth.ts';
export { type ConnectRequest, defaultSessionSettings, type Session, type SessionSettings } from './session.ts';
export { defaultOutboxLimits, Sessions, type SessionsDeps } from './sessions.ts';
export { AppTraffic, Traffic } from './traffic.ts';
