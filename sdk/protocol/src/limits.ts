/** Bounds of the protocol. An app may lower some of them; see `AppLimits` in @starling/ports. */
export const limits = {
  /** Arrays and objects inside each other, in whatever JSON a peer sends: see `isNestedDeeper`. */
  jsonDepth: 32,
  /** Characters. Pusher's docs say 164, every SDK lets 200 through; 200 takes both. */
  channelNameLength: 200,
  /** Characters. */
  eventNameLength: 200,
  /** Characters of a presence or signed-in user id. */
  userIdLength: 128,
  /** UTF-8 bytes of an event's `data` string. */
  eventDataBytes: 10_240,
  /** UTF-8 bytes of a member's `user_info` as JSON. */
  userInfoBytes: 1_024,
  channelsPerTrigger: 100,
  eventsPerBatch: 10,
  membersPerPresenceChannel: 100,
  watchlistLength: 100,
  /** Per connection; also the burst. */
  clientEventsPerSecond: 10,
  /** UTF-8 bytes of a capability token. */
  tokenBytes: 8_192,
  /** No token may live longer from its `iat`: so long a revocation must be kept. */
  tokenLifetimeSeconds: 86_400,
  /** How far ahead of the server's the clock may be that a token was minted by. */
  tokenSkewSeconds: 10,
  /** Channel patterns in a token's `cap`. */
  tokenPatterns: 100,
  /** Characters of a token's `jti`. */
  tokenIdLength: 128,
  /** Characters of the id of a publish over the socket. */
  publishIdLength: 64,
  /** Of one connection: published, and not yet answered. */
  publishesUnderWay: 4_096,
  /** UTF-16 units of the data of those. */
  publishUnitsUnderWay: 4_194_304,
  /** How far a request's timestamp may be from the server's clock, either way. */
  timestampSkewSeconds: 600,
  /** Characters of the id under which a publisher may repeat an event. */
  messageIdLength: 64,
  /** How long a message's id is remembered: longer than any publisher goes on repeating. */
  messageIdSeconds: 300,
  /** How long a cache channel keeps its last event. */
  cacheSeconds: 1_800,
  /** RFC 6455 5.5: a control frame holds 125 bytes, two of them the code. */
  closeReasonBytes: 123,
} as const;
