export {
  flag,
  loadConfig,
  milliseconds,
  port,
  type ReadConfig,
  readConfig,
  type SettingsRule,
  seconds,
  serverSettings,
  settings,
  tlsIsWhole,
  unknownSettings,
  workers,
} from './config.ts';
export { type HttpReply, toHttpReply } from './http-reply.ts';
export { type HttpServer, type HttpServerOptions, openHttpServer } from './http-server.ts';
export { type FarProcess, IpcChannel } from './ipc-channel.ts';
export { takeJsonBodies } from './json-body.ts';
export { type Lateness, openLateness } from './lateness.ts';
export { type Close, type Ending, Lifecycle, runProgram } from './lifecycle.ts';
export { createLog, type Log, type LogOptions, PinoObserver } from './log.ts';
export { type MemoryGauge, type MemoryReading, openMemoryGauge, readMemory } from './memory.ts';
export {
  Metrics,
  type MetricsSnapshot,
  type MetricsText,
  mergeMetrics,
  type TrafficCounts,
  type TrafficSource,
} from './metrics.ts';
export { type GuardedMetrics, type MetricsServer, openMetricsServer } from './metrics-server.ts';
export { surviveLostOutput } from './output.ts';
export { type OwnPort, openPort, type Port } from './port.ts';
export { Readiness, type ReadinessAnswer, type ReadinessCheck } from './readiness.ts';
export type { SocketLimits } from './socket-bounds.ts';
export { StartError } from './start-error.ts';
export { crashNews, findSupervisor, readyNews, type Supervisor, Workers, type WorkersOptions } from './workers.ts';
