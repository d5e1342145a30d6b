/** Writes to many sockets in one call: through C where that was built, else one by one. */
export { type FanoutChoice, openSocketWriter } from './open-socket-writer.ts';
export { type OnWriteDefect, type SocketWriter, StreamSocketWriter } from './socket-writer.ts';
