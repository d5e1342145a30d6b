import { StreamSocketWriter } from '@starling/fanout';
import { describe } from 'vitest';
import { proveFanout } from './fanout.test-kit.ts';

describe('the fan-out through streams', () => {
  proveFanout(() => new StreamSocketWriter());
});
