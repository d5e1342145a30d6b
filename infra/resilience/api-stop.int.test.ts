import { expect, onTestFinished, test } from 'vitest';
import { app, Cluster } from '../cluster/cluster.ts';
import { publishTable } from './figures.ts';
import { type Publish, Publisher } from './publishers.ts';

const publisherCount = 40;
const stopCount = 5;

test('[OP6] an API that gets SIGTERM resets no publisher that keeps its connection, and answers all that was sent', async () => {
  const cluster = await Cluster.open();
  onTestFinished(() => cluster.close());
  const publishes: Publish[] = [];
  for (let stop = 1; stop <= stopCount; stop++) {
    const api = await cluster.start('api');
    const publishers = Array.from({ length: publisherCount }, (_, index) => {
      const kind = index % 2 === 0 ? 'agent' : 'library';
      return new Publisher(app, { kind, name: kind, url: api.url, everyMs: 20 });
    });
    onTestFinished(async () => void (await Promise.all(publishers.map((publisher) => publisher.stop()))));
    for (const publisher of publishers) await publisher.answered;
    api.run.child.kill('SIGTERM');
    expect(await api.run.ended).toBe(0);
    await Promise.all(publishers.map((publisher) => publisher.stop()));
    publishes.push(...publishers.flatMap((publisher) => publisher.publishes));
  }
  console.log(`${stopCount} stops of an API with ${publisherCount} publishers\n${publishTable(publishes)}`);
  // Refused is who comes when the port is closed: nothing was sent. Everything else would leave a publisher in doubt.
  const isHarmless = ({ status, fault }: Publish) => status === 200 || fault === 'ECONNREFUSED';
  expect(publishes.filter((publish) => !isHarmless(publish))).toEqual([]);
});
