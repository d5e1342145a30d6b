import { test } from 'vitest';
import { rollTwice } from './rolling-deploy.ts';

test('[CL5] [OP6] behind nginx, a deployment that replaces every program twice harms nobody', () => rollTwice('nginx'));
