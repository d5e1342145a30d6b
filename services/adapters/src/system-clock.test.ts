import { clockContract } from '@starling/ports/contract';
import { SystemClock } from './system-clock.ts';

clockContract('SystemClock', () => ({ clock: new SystemClock(), drive: () => undefined }));
