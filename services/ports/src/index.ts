export * from './app-store.ts';
export * from './broker.ts';
export * from './clock.ts';
export * from './observer.ts';
export * from './presence-store.ts';
export * from './rate-limiter.ts';
export * from './topic.ts';
export * from './transport.ts';
