/**
 * The addresses that count as one peer wherever peers are counted by address. An IPv4 address stands for itself, also
 * where it is written as IPv6 (`::ffff:192.0.2.1`); an IPv6 address stands for its /64, because that is the least a
 * provider gives to one customer, who can then use any of its 2^64 addresses. Text that is no address stands for itself.
 *
 * A socket whose peer has gone already has no address any more, whatever the types of HTTP servers say: those count as one.
 */
export function addressGroup(address: string | undefined): string {
  if (address === undefined) return '';
  if (!address.includes(':')) return address;
  const plain = address.split('%', 1)[0] ?? '';
  const tail = plain.slice(plain.lastIndexOf(':') + 1);
  const groups = groupsOf(tail.includes('.') ? plain.slice(0, -tail.length) + hexOf(tail) : plain);
  if (groups.length !== 8 || groups.some((group) => !(group >= 0 && group <= 0xffff))) return address;
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (isMapped) return [groups[6], groups[7]].map((pair = 0) => `${pair >> 8}.${pair & 255}`).join('.');
  return `${groups
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(':')}::/64`;
}

/** The eight numbers of an IPv6 address without a dotted part. */
function groupsOf(address: string): readonly number[] {
  const [before = '', after] = address.split('::');
  const head = numbersOf(before);
  if (after === undefined) return head;
  const tail = numbersOf(after);
  return [...head, ...Array.from({ length: Math.max(0, 8 - head.length - tail.length) }, () => 0), ...tail];
}

function numbersOf(part: string): number[] {
  return part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
}

function hexOf(dotted: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = dotted.split('.').map(Number);
  return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
}
