import { openSocketWriter } from '@starling/fanout';
import { afterAll, describe, expect } from 'vitest';
import { buildNativeFanout } from '../../../../infra/testing/native-fanout.ts';
import { proveFanout } from './fanout.test-kit.ts';

const built = buildNativeFanout();
afterAll(() => built.remove());

describe('the native fan-out', () => {
  proveFanout(() => {
    const writer = openSocketWriter('auto', built.file);
    expect(writer.path).toBe('native');
    return writer;
  });
});
