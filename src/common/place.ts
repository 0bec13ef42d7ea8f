import ipaddr from 'ipaddr.js';

/**
 * Where an address counts: an IPv4 address, or the /64 of an IPv6 one, which is what one customer has at least (RFC 6177)
 * and can fill with addresses.
 */
export function placeOf(ip: string): string {
  if (!ipaddr.isValid(ip)) return 'unknown';
  // An IPv4 address in IPv6's form is one of IPv4.
  const address = ipaddr.process(ip);
  if (address.kind() === 'ipv4') return address.toString();
  const text = address.toString().replace(/%.*$/, '');
  return `${ipaddr.IPv6.networkAddressFromCIDR(`${text}/64`).toString()}/64`;
}
