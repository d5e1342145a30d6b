/** One row of the tables of everything that can go wrong. */

export interface Problem {
  /** The number in `pusher:error`; null where Pusher has none. */
  readonly number: number | null;
  /** Whether the connection is closed with that number. */
  readonly closes: boolean;
  /** The status for an HTTP answer or a `subscription_error`. */
  readonly status: number;
  /** Public text, used where a refusal has nothing more exact to say. */
  readonly text: string;
}

export interface ClosingProblem extends Problem {
  readonly number: number;
  readonly closes: true;
}

export const closing = (number: number, status: number, text: string): ClosingProblem => ({
  number,
  closes: true,
  status,
  text,
});
export const nonFatal = (status: number, text: string, number: number | null = null): Problem => ({
  number,
  closes: false,
  status,
  text,
});
