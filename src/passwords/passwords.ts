import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { Injectable } from '@nestjs/common';
import { hash, verify, type Options } from '@node-rs/argon2';
import { Problem } from '../common/problem.js';
import { Env } from '../config/env.js';
import { HashQueue, type Turn } from './hash-queue.js';
import { faultOfPassword } from './password-policy.js';

/** Hashes that may wait per running hash. Beyond it, sign-in responds with 503 instead of building up a backlog. */
const WAITING_PER_LANE = 128;

/**
 * Hashes passwords with argon2id (the library's default). The default parameters follow the OWASP Password Storage
 * Cheat Sheet: 19 MiB, two passes, one lane. Passwords are normalized to Unicode NFC (as NIST SP 800-63B advises),
 * because keyboards compose accents differently. As many hashes run at once as there are cores, divided among the
 * worker processes.
 */
@Injectable()
export class Passwords {
  private readonly options: Options;
  private readonly queue: HashQueue;
  private decoy: Promise<string> | undefined;

  constructor(private readonly env: Env) {
    this.options = { memoryCost: env.argon2Memory, timeCost: env.argon2Passes, parallelism: 1 };
    const lanes = Math.max(1, Math.floor(availableParallelism() / env.workers));
    this.queue = new HashQueue(lanes, lanes * WAITING_PER_LANE);
  }

  /**
   * Checks a new password against the policy and hashes it.
   * @param pointer the member of the body that an error names
   * @throws Problem validation_failed with everything that the password lacks; overloaded when too many hashes wait
   */
  async hashNew(password: string, pointer: string, turn: Turn): Promise<string> {
    const fault = await faultOfPassword(password.normalize('NFC'), this.env.passwordPolicy);
    if (fault !== undefined) throw Problem.field(pointer, fault);
    return this.hash(password, turn);
  }

  /** Hashes a password that was checked before. @throws Problem overloaded when too many hashes wait */
  hash(password: string, turn: Turn): Promise<string> {
    return this.queue.run(turn, () => hash(password.normalize('NFC'), this.options));
  }

  /** Returns the hash of no known password, for an account whose user sets one through a reset link. */
  hashOfNone(): string {
    const { memoryCost = 0, timeCost = 0, parallelism = 0 } = this.options;
    const random = (bytes: number): string => randomBytes(bytes).toString('base64').replace(/=+$/, '');
    return `$argon2id$v=19$m=${memoryCost},t=${timeCost},p=${parallelism}$${random(16)}$${random(32)}`;
  }

  /**
   * Compares a password with a hash, which may have been made of another Unicode form of it. Without a hash (unknown
   * login), does the same work on a decoy, so that the response time does not reveal whether the account exists. Call
   * it within a turn of the queue.
   * @returns null if the password is wrong; otherwise the hash to store from now on, which is a new one if the hash was
   * made with other parameters or of another form
   */
  async verify(password: string, passwordHash: string | undefined): Promise<string | null> {
    const decoy = await (this.decoy ??= hash('decoy', this.options));
    const current = password.normalize('NFC');
    for (const form of new Set([current, password, password.normalize('NFD')])) {
      if (!(await verify(passwordHash ?? decoy, form)) || passwordHash === undefined) continue;
      return form === current && this.isCurrent(passwordHash) ? passwordHash : hash(current, this.options);
    }
    return null;
  }

  /**
   * Runs work in a turn of the queue, which bounds concurrent work by the number of cores.
   * @throws Problem overloaded when too many wait
   */
  inTurn<T>(turn: Turn, work: () => Promise<T>): Promise<T> {
    return this.queue.run(turn, work);
  }

  /** Returns whether a hash, which is in PHC string format, was made with the current parameters. */
  private isCurrent(passwordHash: string): boolean {
    const { memoryCost = 0, timeCost = 0, parallelism = 0 } = this.options;
    return passwordHash.startsWith(`$argon2id$v=19$m=${memoryCost},t=${timeCost},p=${parallelism}$`);
  }
}
