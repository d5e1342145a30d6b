/** A process that writes row after row, and says each number once it is committed: to be killed in the middle. */
import { openDatabase } from '../index.ts';

const [dataDir = ''] = process.argv.slice(2);
const database = await openDatabase({ dataDir });
// What was committed and not yet said when the former was killed is there, too.
const [{ count } = { count: 0 }] = await database.sql<
  Array<{ count: number }>
>`select count(*) as count from organisations`;
for (let at = count + 1; ; at++) {
  await database.tx(async (sql) => {
    await sql`insert into organisations (id, name) values (${`org_${at}`}, ${'x'.repeat(200)})`;
    await sql`insert into audit_entries (actor, action, target) values ('{}', 'made', ${String(at)})`;
  });
  process.stdout.write(`${at}\n`);
}
