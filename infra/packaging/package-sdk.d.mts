/** See package-sdk.mjs. */
export function packageSdk(given: {
  readonly room: string;
  readonly out: string;
  readonly doors: Readonly<Record<string, string>>;
  readonly manifest?: Readonly<Record<string, unknown>>;
  readonly external?: readonly string[];
}): Promise<void>;
