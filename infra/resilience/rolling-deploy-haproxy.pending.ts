import { test } from 'vitest';
import { rollTwice } from './rolling-deploy.ts';

test('behind haproxy, a deployment that replaces every program twice harms nobody', () => rollTwice('haproxy'));
