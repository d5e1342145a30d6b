export * from './errors.ts';
export * from './fixes.ts';
export * from './frames.ts';
export * from './limits.ts';
export * from './names.ts';
export * from './nesting.ts';
export * from './signatures.ts';
export * from './tokens.ts';
