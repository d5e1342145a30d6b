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
  workers,
} from './config.ts';
export { type HttpReply, type HttpServer, type HttpServerOptions, openHttpServer, toHttpReply } from './http-server.ts';
export { type Lateness, openLateness } from './lateness.ts';
export { type Close, Lifecycle, runProgram, StartError } from './lifecycle.ts';
export { type FarProcess, Line } from './line.ts';
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
export { Readiness, type ReadinessAnswer, type ReadinessCheck } from './readiness.ts';
export { findSupervisor, readyNews, type Supervisor, Workers, type WorkersOptions } from './workers.ts';
