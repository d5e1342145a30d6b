/** Written in by the build; absent where the source runs as it is. */
declare const STARLING_VERSION: string | undefined;

/** Of this program. */
export const version = typeof STARLING_VERSION === 'string' ? STARLING_VERSION : 'from source';
