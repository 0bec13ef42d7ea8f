import { timingSafeEqual } from 'node:crypto';

/** Whether two texts of bytes are the same, in a time that tells nothing of where they differ. Their lengths are no secret. */
export function isEqual(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
