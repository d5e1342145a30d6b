import { test } from 'vitest';
import { rollTwice } from './rolling-deploy.ts';

test('behind nginx, a deployment that replaces every program twice harms nobody', () => rollTwice('nginx'));
