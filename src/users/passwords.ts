import { availableParallelism } from 'node:os';
import { Injectable } from '@nestjs/common';
import { hash, verify, type Options } from '@node-rs/argon2';
import { Problem } from '../common/problem.js';
import { Env } from '../config/env.js';
import { HashQueue, type Turn } from './hash-queue.js';
import { faultOfPassword } from './password-policy.js';

/** Hashes that may wait for each that runs; beyond it sign-in answers 503 instead of piling up. */
const WAITING_PER_LANE = 128;

/** How a password fits a hash. `outdated`: it is right, and the hash should be made anew. */
export type Fit = 'wrong' | 'right' | 'outdated';

/**
 * Password hashes: of the password in Unicode's form NFC (as NIST SP 800-63B advises), since keyboards compose
 * accents differently; argon2id (the library's default), by default as the OWASP Password Storage Cheat Sheet has it: 19 MiB,
 * two passes, one lane. As many at once as there are cores, shared out among the worker processes.
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
   * @param pointer the member of the body that a refusal names
   * @throws Problem validation_failed with all that it lacks; overloaded when too many hashes wait
   */
  async hashNew(password: string, pointer: string, turn: Turn): Promise<string> {
    const fault = await faultOfPassword(password.normalize('NFC'), this.env.passwordPolicy);
    if (fault !== undefined) throw Problem.field(pointer, fault);
    return this.hash(password, turn);
  }

  /** Hashes a password that is known to be good. @throws Problem overloaded when too many hashes wait */
  hash(password: string, turn: Turn): Promise<string> {
    return this.queue.run(turn, () => hash(password.normalize('NFC'), this.options));
  }

  /**
   * How a password fits a hash, which may have been made of another Unicode form of it. Without a hash (unknown login) the
   * same work is done for nothing, so that the time of an answer does not tell whether an account exists. For callers that
   * have a turn.
   */
  async fitOf(password: string, passwordHash: string | undefined): Promise<Fit> {
    const decoy = await (this.decoy ??= hash('decoy', this.options));
    const current = password.normalize('NFC');
    for (const form of new Set([current, password, password.normalize('NFD')])) {
      if (!(await verify(passwordHash ?? decoy, form)) || passwordHash === undefined) continue;
      return form === current && this.isCurrent(passwordHash) ? 'right' : 'outdated';
    }
    return 'wrong';
  }

  /** Works when as few others do as there are cores. @throws Problem overloaded when too many wait */
  inTurn<T>(turn: Turn, work: () => Promise<T>): Promise<T> {
    return this.queue.run(turn, work);
  }

  /** Whether a hash was made with the parameters of now: it is in the PHC string format. */
  private isCurrent(passwordHash: string): boolean {
    const { memoryCost = 0, timeCost = 0, parallelism = 0 } = this.options;
    return passwordHash.startsWith(`$argon2id$v=19$m=${memoryCost},t=${timeCost},p=${parallelism}$`);
  }
}
