export { type EncryptedData, EncryptionKey } from './encryption.ts';
export { type ErrorCode, type LimitState, StarlingError } from './errors.ts';
export type { Fetch, FetchAnswer } from './request.ts';
export {
  type BatchEvent,
  type ChannelAnswer,
  type ChannelAuthorization,
  type ChannelInfo,
  type ChannelRequest,
  type EventMap,
  type Info,
  type Member,
  Starling,
  type StarlingOptions,
  type TriggerOptions,
  type User,
  type UserAuthentication,
} from './starling.ts';
export type { Capabilities, Operation, TokenRequest } from './token.ts';
export type { Webhook, WebhookEvent, WebhookRequest } from './webhook.ts';
