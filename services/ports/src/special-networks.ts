/**
 * Networks that no URL of a customer may lead into: this machine, private networks, and the ranges that IANA sets apart.
 * As data, because each room that judges an address builds its own list of it.
 */
export const specialNetworks: ReadonlyArray<readonly [network: string, prefixLength: number, family: 'ipv4' | 'ipv6']> =
  [
    ['0.0.0.0', 8, 'ipv4'],
    ['10.0.0.0', 8, 'ipv4'],
    ['100.64.0.0', 10, 'ipv4'],
    ['127.0.0.0', 8, 'ipv4'],
    // Link-local: clouds answer here with the machine's credentials.
    ['169.254.0.0', 16, 'ipv4'],
    ['172.16.0.0', 12, 'ipv4'],
    ['192.0.0.0', 24, 'ipv4'],
    ['192.0.2.0', 24, 'ipv4'],
    ['192.88.99.0', 24, 'ipv4'],
    ['192.168.0.0', 16, 'ipv4'],
    ['198.18.0.0', 15, 'ipv4'],
    ['198.51.100.0', 24, 'ipv4'],
    ['203.0.113.0', 24, 'ipv4'],
    ['224.0.0.0', 3, 'ipv4'],
    // Unspecified, loopback and the IPv4-compatible ones.
    ['::', 96, 'ipv6'],
    // Addresses of IPv4 within IPv6, by translation or a tunnel, may be any of those above.
    ['::ffff:0:0:0', 96, 'ipv6'],
    ['64:ff9b::', 96, 'ipv6'],
    ['64:ff9b:1::', 48, 'ipv6'],
    ['100::', 64, 'ipv6'],
    ['2001::', 23, 'ipv6'],
    ['2001:db8::', 32, 'ipv6'],
    ['2002::', 16, 'ipv6'],
    ['3fff::', 20, 'ipv6'],
    // Segment identifiers: they lead to wherever the network's own routers send them.
    ['5f00::', 16, 'ipv6'],
    ['fc00::', 7, 'ipv6'],
    ['fe80::', 10, 'ipv6'],
    ['fec0::', 10, 'ipv6'],
    ['ff00::', 8, 'ipv6'],
  ];
