import ipaddr from 'ipaddr.js';
import { addressOf } from './address.js';

/**
 * Returns the key by which an address is throttled: the IPv4 address, or the /64 network of an IPv6 address. A customer
 * has at least a /64 (RFC 6177) and can use any address in it.
 */
export function placeOf(text: string | null): string {
  const address = addressOf(text ?? undefined);
  if (address === undefined) return 'unknown';
  return address.includes(':') ? `${ipaddr.IPv6.networkAddressFromCIDR(`${address}/64`).toString()}/64` : address;
}
