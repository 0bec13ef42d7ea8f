import { BlockList, isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

/**
 * Parses an IP address as proxies write it in X-Forwarded-For: also with a port, brackets, quotes or a zone, or as an
 * IPv4-mapped IPv6 address.
 * @returns the canonical form; undefined if the text is not an IP address
 */
export function addressOf(text: string | undefined): string | undefined {
  const bare = (text ?? '').trim().replace(/^"(.*)"$/, '$1');
  const ip = /^\[([^\]]*)\](?::\d+)?$/.exec(bare)?.[1] ?? bare.replace(/^([\d.]+):\d+$/, '$1');
  const [address = ''] = ip.includes(':') ? ip.split('%', 1) : [ip];
  return isIP(address) !== 0 && ipaddr.isValid(address) ? ipaddr.process(address).toString() : undefined;
}

/** Named networks. */
const NAMED: Record<string, string[]> = {
  loopback: ['127.0.0.0/8', '::1/128'],
  linklocal: ['169.254.0.0/16', 'fe80::/10'],
  uniquelocal: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'],
};

/** Returns a test whether an address, as proxies write it, is in one of the networks of TRUST_PROXY. */
export function isInNetworks(networks: string): (text: string) => boolean {
  const list = new BlockList();
  for (const name of networks.split(',')) {
    const item = name.trim();
    for (const network of item === '' ? [] : (NAMED[item] ?? [item])) addTo(list, network);
  }
  return (text) => {
    const address = addressOf(text);
    return address !== undefined && list.check(address, familyOf(address));
  };
}

function addTo(list: BlockList, network: string): void {
  const [text = '', bits] = network.split('/');
  const address = addressOf(text);
  if (address === undefined) return;
  const family = familyOf(address);
  // The prefix of an IPv4-mapped IPv6 network counts 96 bits in front of the IPv4 bits.
  const form = family === 'ipv4' && text.includes(':') ? 96 : 0;
  if (bits === undefined) list.addAddress(address, family);
  else list.addSubnet(address, Math.max(0, Number(bits) - form), family);
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}
