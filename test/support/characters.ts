import fc from 'fast-check';

/** Code points that are halves of a surrogate pair. */
const [FIRST_HALF, HALVES] = [0xd800, 0x800];

/**
 * Any character, as `unit: 'binary'`: with that name fast-check fills a map with all 1.1 million of them, which takes
 * half a second.
 */
export const anyCharacter = fc
  .integer({ min: 0, max: 0x10ffff - HALVES })
  .map((code) => String.fromCodePoint(code < FIRST_HALF ? code : code + HALVES));
