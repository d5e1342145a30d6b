/** Where the engine says what an operator should see. It never logs by itself. */
export interface Observer {
  /** A defect or a failure of the world: something a person may have to look at. */
  problem(what: string, details: { readonly err?: unknown } & Record<string, unknown>): void;
  /** An ordinary event, for those who follow along: a connection opened, a subscribe refused. */
  note(what: string, details: Record<string, unknown>): void;
  /** Whether anyone would see a note: the caller need not build the details otherwise. */
  readonly notes: boolean;
}
