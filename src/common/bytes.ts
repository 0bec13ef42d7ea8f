import { timingSafeEqual } from 'node:crypto';

/** Compares two buffers in constant time. Their lengths are not secret. */
export function isEqual(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
