/** RFC 8032, section 5.1: −x² + y² = 1 + dx²y² over the integers modulo p. */
const P = 2n ** 255n - 19n;
const D = modulo(-121_665n * power(121_666n, P - 2n));
/** A square root of −1. */
const ROOT = power(2n, (P - 1n) / 4n);
/** The order of the base point. */
const L = 2n ** 252n + 27_742_317_777_372_353_535_851_937_790_883_648_493n;

/** Homogeneous coordinates: x = X/Z, y = Y/Z. */
type Point = readonly [x: bigint, y: bigint, z: bigint];

const NEUTRAL: Point = [0n, 1n, 1n];

/**
 * Returns whether 32 bytes encode a point (RFC 8032) of the prime-order group that honest keys belong to. Anyone can
 * sign for a point of small order, and OpenSSL accepts such a point, and even bytes that encode no point. Takes
 * milliseconds and is not constant-time: use it for public keys only.
 */
export function isOfPrimeOrder(bytes: Buffer): boolean {
  const point = decodePoint(bytes);
  return point !== undefined && !isNeutral(point) && isNeutral(multiply(point, L));
}

/** RFC 8032, section 5.1.3. */
function decodePoint(bytes: Buffer): Point | undefined {
  const encoded = BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
  const y = encoded & (2n ** 255n - 1n);
  const sign = encoded >> 255n;
  if (bytes.length !== 32 || y >= P) return undefined;
  const [u, v] = [modulo(y * y - 1n), modulo(D * y * y + 1n)];
  let x = modulo(u * v ** 3n * power(modulo(u * v ** 7n), (P - 5n) / 8n));
  if (modulo(v * x * x) !== u) x = modulo(x * ROOT);
  if (modulo(v * x * x) !== u || (x === 0n && sign === 1n)) return undefined;
  return [(x & 1n) === sign ? x : P - x, y, 1n];
}

/** Complete for this curve: correct for any two points, also for equal ones (Bernstein and others, 2008, section 6). */
function add([x1, y1, z1]: Point, [x2, y2, z2]: Point): Point {
  const a = modulo(z1 * z2);
  const b = modulo(a * a);
  const [c, d] = [modulo(x1 * x2), modulo(y1 * y2)];
  const e = modulo(D * c * d);
  const [f, g] = [b - e, b + e];
  return [modulo(a * f * modulo((x1 + y1) * (x2 + y2) - c - d)), modulo(a * g * (d + c)), modulo(f * g)];
}

function multiply(point: Point, times: bigint): Point {
  let result = NEUTRAL;
  for (const bit of times.toString(2)) {
    result = add(result, result);
    if (bit === '1') result = add(result, point);
  }
  return result;
}

function isNeutral([x, y, z]: Point): boolean {
  return x === 0n && y === z;
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (const bit of exponent.toString(2)) {
    result = modulo(result * result);
    if (bit === '1') result = modulo(result * base);
  }
  return result;
}

function modulo(value: bigint): bigint {
  const rest = value % P;
  return rest < 0n ? rest + P : rest;
}
