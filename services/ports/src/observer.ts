/** Where a callback comes from that threw. Few and fixed: each is a label of a metric. */
export type DefectKind =
  | 'broker message'
  | 'connection'
  | 'control message'
  | 'listener'
  | 'request'
  | 'rejection'
  | 'stream'
  | 'timer';

/** Where the engine says what an operator should see. It never logs by itself. */
export interface Observer {
  /** A failure of a dependency: something a person may have to look at. */
  problem(what: string, details: { readonly err?: unknown } & Record<string, unknown>): void;
  /**
   * A fault of this program, which cost one connection, request or message: code threw where it must not. Counted in
   * `starling_defects_total`, and logged with the error's stack. Never throws.
   */
  defect(kind: DefectKind, err: unknown, details?: Record<string, unknown>): void;
  /** An ordinary event, for those who follow along: a connection opened, a subscribe refused. */
  note(what: string, details: Record<string, unknown>): void;
  /** Whether anyone would see a note: the caller need not build the details otherwise. */
  readonly notes: boolean;
}
