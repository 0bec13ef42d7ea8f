import ipaddr from 'ipaddr.js';
import { addressOf } from './address.js';

/**
 * Where an address counts: an IPv4 address, or the /64 of an IPv6 one, which is what one customer has at least (RFC 6177)
 * and can fill with addresses.
 */
export function placeOf(text: string | null): string {
  const address = addressOf(text ?? undefined);
  if (address === undefined) return 'unknown';
  return address.includes(':') ? `${ipaddr.IPv6.networkAddressFromCIDR(`${address}/64`).toString()}/64` : address;
}
