/** Where the URLs of customers may lead: the program that fetches them stands inside the operator's network. */
import { BlockList, isIP } from 'node:net';
import { specialNetworks } from '@starling/ports';

const special = new BlockList();
for (const [network, prefixLength, family] of specialNetworks) special.addSubnet(network, prefixLength, family);

/** Names that only this machine or its own network knows. A name without a dot is looked up there, too. */
const innerName =
  /^(?:[^.]*|(?:.*\.)?(?:localhost|localdomain|localdomain6|local|internal|intranet|lan|home|corp|private|home\.arpa))$/;

/**
 * What is wrong with a URL that was given to be fetched; undefined when nothing is. Written addresses are judged here, in
 * every spelling, as the URL's parser has brought them all to one; names are judged again when they are looked up.
 */
export function targetFault(url: string, mayBePrivate: boolean): string | undefined {
  if (mayBePrivate) return undefined;
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '').replace(/\.+$/, '');
  const family = isIP(host);
  const isInner = family === 0 ? innerName.test(host) : special.check(host, family === 4 ? 'ipv4' : 'ipv6');
  return isInner ? 'must not lead to this machine or into a private network' : undefined;
}
