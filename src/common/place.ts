import ipaddr from 'ipaddr.js';

/**
 * Where an address counts: an IPv4 address, or the /64 of an IPv6 one, which is what one customer has at least (RFC 6177)
 * and can fill with addresses.
 */
export function placeOf(text: string): string {
  // Some proxies put the port behind it.
  const ip = /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? text.replace(/^(\d+(?:\.\d+){3}):\d+$/, '$1');
  if (!ipaddr.isValid(ip)) return 'unknown';
  // An IPv4 address in IPv6's form is one of IPv4.
  const address = ipaddr.process(ip);
  if (address.kind() === 'ipv4') return address.toString();
  const bare = address.toString().replace(/%.*$/, '');
  return `${ipaddr.IPv6.networkAddressFromCIDR(`${bare}/64`).toString()}/64`;
}
