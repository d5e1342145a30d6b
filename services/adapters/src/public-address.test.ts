import { get } from 'node:http';
import { describe, expect, it } from 'vitest';
import { isPublicAddress, mayLeadOutside, publicLookup } from './public-address.ts';

describe('isPublicAddress', () => {
  it.each([
    '1.1.1.1',
    '8.8.8.8',
    '172.15.0.1',
    '172.32.0.1',
    '100.128.0.1',
    '2606:4700:4700::1111',
    '2a00::1',
    '3ffe::1',
    '::ffff:8.8.8.8',
  ])('%s lies outside', (address) => expect(isPublicAddress(address)).toBe(true));

  it.each([
    '0.0.0.0',
    '10.1.2.3',
    '100.64.0.1',
    '127.0.0.1',
    '127.255.255.255',
    '169.254.169.254',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::127.0.0.1',
    '::ffff:127.0.0.1',
    '::ffff:10.0.0.1',
    '::ffff:a9fe:a9fe',
    '::ffff:0:a00:1',
    '::ffff:0:127.0.0.1',
    '3fff::1',
    '3fff:fff:ffff::1',
    '5f00::1',
    '192.88.99.1',
    '64:ff9b::a00:1',
    '2002:7f00:1::',
    'fc00::1',
    'fd12:3456::1',
    'fe80::1',
    'ff02::1',
  ])('%s lies inside', (address) => expect(isPublicAddress(address)).toBe(false));

  it.each(['', 'localhost', 'example.com', '1.2.3', '0x7f.1', '[::1]'])('%s is no address', (text) => {
    expect(isPublicAddress(text)).toBe(false);
  });
});

it('lets a name be looked up, and judges an address that is written out', () => {
  expect(['example.com', 'localhost', '1.1.1.1'].every(mayLeadOutside)).toBe(true);
  // As a URL writes the host of http://2130706433/ and its like.
  for (const url of ['http://2130706433/', 'http://0x7f.1/', 'http://127.1/', 'http://10.0.0.1/']) {
    expect(mayLeadOutside(new URL(url).hostname), url).toBe(false);
  }
});

it('gives a request no address of a name that leads inside', async () => {
  const err = await new Promise<Error>((resolve) => {
    get({ host: 'localhost', port: 9, lookup: publicLookup }).on('error', resolve);
  });
  expect(err.message).toBe('localhost leads to a private address');
});
