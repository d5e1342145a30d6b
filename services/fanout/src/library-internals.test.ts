import { fstatSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { descriptorOf } from './library-internals.ts';
import { Exchange } from './socket-writer.test-kit.ts';

const exchange = new Exchange();
beforeAll(() => exchange.start());
afterEach(() => exchange.cut());
afterAll(() => exchange.stop());

it('finds the descriptor of a socket, its own, while there is nothing before what would be sent there', async () => {
  const [one, other] = [await exchange.open(), await exchange.open()];
  const descriptors = [descriptorOf(one.server), descriptorOf(other.server)];
  expect(descriptors.map((each) => fstatSync(each).isSocket())).toEqual([true, true]);
  expect(new Set(descriptors).size).toBe(2);
  one.server.cork();
  one.server.write('waits');
  expect(descriptorOf(one.server)).toBe(-1);
  other.server.destroy();
  expect(descriptorOf(other.server)).toBe(-1);
});
