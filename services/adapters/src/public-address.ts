/** Which addresses lie outside: a URL that a customer gave must not lead this server into its own network. */
import { lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

const inside: ReadonlyArray<readonly [network: string, prefix: number, family: 'ipv4' | 'ipv6']> = [
  ['0.0.0.0', 8, 'ipv4'],
  ['10.0.0.0', 8, 'ipv4'],
  ['100.64.0.0', 10, 'ipv4'],
  ['127.0.0.0', 8, 'ipv4'],
  // Link-local: clouds answer here with the machine's credentials.
  ['169.254.0.0', 16, 'ipv4'],
  ['172.16.0.0', 12, 'ipv4'],
  ['192.0.0.0', 24, 'ipv4'],
  ['192.0.2.0', 24, 'ipv4'],
  ['192.168.0.0', 16, 'ipv4'],
  ['198.18.0.0', 15, 'ipv4'],
  ['198.51.100.0', 24, 'ipv4'],
  ['203.0.113.0', 24, 'ipv4'],
  ['224.0.0.0', 3, 'ipv4'],
  // Unspecified, loopback and the IPv4-compatible ones.
  ['::', 96, 'ipv6'],
  // Addresses of IPv4 within IPv6, by translation or a tunnel, may be any of those above.
  ['64:ff9b::', 96, 'ipv6'],
  ['64:ff9b:1::', 48, 'ipv6'],
  ['100::', 64, 'ipv6'],
  ['2001::', 23, 'ipv6'],
  ['2001:db8::', 32, 'ipv6'],
  ['2002::', 16, 'ipv6'],
  ['fc00::', 7, 'ipv6'],
  ['fe80::', 10, 'ipv6'],
  ['fec0::', 10, 'ipv6'],
  ['ff00::', 8, 'ipv6'],
];

const blocked = new BlockList();
for (const [network, prefix, family] of inside) blocked.addSubnet(network, prefix, family);

/** False for whatever is not an IP address, too. An IPv4 address within an IPv6 one (`::ffff:…`) is judged as itself. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  return family !== 0 && !blocked.check(address, family === 4 ? 'ipv4' : 'ipv6');
}

/** The host of a URL, without the brackets of an IPv6 address, is a name or a public address. */
export function mayLeadOutside(host: string): boolean {
  return isIP(host) === 0 || isPublicAddress(host);
}

/**
 * For the `lookup` option of a request, so that the address judged is the one connected to: asked again, a name may have
 * another. Node does not call it where the host is an address: ask `mayLeadOutside` first.
 */
export const publicLookup: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (err, addresses) => {
    if (err !== null) {
      callback(err, '');
    } else if (addresses.length === 0 || !addresses.every(({ address }) => isPublicAddress(address))) {
      callback(new Error(`${hostname} leads to a private address`), '');
    } else if (options.all === true) {
      callback(null, addresses);
    } else {
      const [first] = addresses;
      callback(null, first?.address ?? '', first?.family);
    }
  });
};
