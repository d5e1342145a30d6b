/** Which addresses lie outside: a URL that a customer gave must not lead this server into its own network. */
import { lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { specialNetworks } from '@starling/ports';

const blocked = new BlockList();
for (const [network, prefix, family] of specialNetworks) blocked.addSubnet(network, prefix, family);

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
