import { writeFileSync } from 'node:fs';
import { errorsPage, errorsPagePath } from './errors-page.ts';

writeFileSync(errorsPagePath, errorsPage());
