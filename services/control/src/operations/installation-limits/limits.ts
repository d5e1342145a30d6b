import type { InstallationLimits } from '@starling/database';
import type { z } from 'zod';
import type { installationLimits as contract } from '../../contract/index.ts';

export function toReply(limits: InstallationLimits, version: number): z.input<typeof contract> {
  return { ...limits, version };
}
