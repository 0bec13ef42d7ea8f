import { hash } from 'node:crypto';

const MODULUS = 1n << 256n;

/** Number of rows, and a checksum that does not depend on their order. */
export interface Sum {
  rows: number;
  checksum: string;
}

/** Adds up the SHA-256 of rows, modulo 2^256. Tables have no order, so a checksum of the whole text could differ. */
export class RowDigest {
  private rows = 0;
  private sum = 0n;

  add(row: Buffer): void {
    this.rows++;
    this.sum = (this.sum + BigInt(`0x${hash('sha256', row)}`)) % MODULUS;
  }

  get result(): Sum {
    return { rows: this.rows, checksum: this.sum.toString(16).padStart(64, '0') };
  }
}
