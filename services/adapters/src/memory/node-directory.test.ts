import { nodeDirectoryContract } from '@starling/ports/contract';
import { FakeClock, MemoryNodeDirectory } from './index.ts';

nodeDirectoryContract('memory', async () => {
  const clock = new FakeClock();
  const directory = new MemoryNodeDirectory(clock);
  return {
    directories: [directory, directory],
    advance: async (durationMs) => clock.advance(durationMs),
    stepWall: (byMs) => clock.stepWall(byMs),
    close: async () => undefined,
  };
});
