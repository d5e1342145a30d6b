/** A fault of the surroundings that the operator can mend: its text says how, and no stack is shown. */
export class StartError extends Error {
  override readonly name = 'StartError';
}
