import { fileURLToPath } from 'node:url';
import { packageSdk } from '../../infra/packaging/package-sdk.mjs';

await packageSdk({ room: 'server', out: fileURLToPath(new URL('dist', import.meta.url)), doors: { '.': 'index' } });
