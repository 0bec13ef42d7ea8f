import { Injectable, Logger, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { isEqual } from '../common/bytes.js';
import { SharedRun } from '../common/shared-run.js';
import { Database, type Transaction } from '../database/database.js';
import { Sweeper } from '../database/sweeper.js';
import { AuditMac } from './audit-mac.js';
import { AuditRepository, type LastLink, type SealedEntry } from './audit.repository.js';

/** The first link of the chain that does not match. */
export interface Fault {
  /** The id of the entry; null if nothing of the entry is left. */
  id: string | null;
  /** The position in the chain; null for an entry that is not in it. */
  position: number | null;
  fault: 'altered' | 'removed';
}

export interface Verdict {
  /** Number of entries in the chain. */
  sealed: number;
  /** Hash of the last link, in hex; null if there is none. */
  head: string | null;
  /** Number of entries that are not in the chain yet: those of the last second. */
  unsealed: number;
  first: Fault | null;
}

interface Head {
  position: bigint;
  hash: Buffer;
}

const SEAL_MS = 1_000;

/** Maximum number of entries sealed at once, and of links read at once. */
const BATCH = 500;

/** Seconds after which an entry is sealed even without the lock, and after which a warning is logged. */
const LATE = 5;
const TOO_LATE = 60;

const BEGINNING: Head = { position: 0n, hash: Buffer.alloc(32) };

/**
 * A hash chain over the audit log. Each second one process seals the committed entries, each with the hash of the one
 * before (Haber and Stornetta, 1991). Entries and links are keyed with SECRET_KEY. Without the key, an attacker who can
 * write to the tables can neither write an entry, nor alter or remove a sealed entry, without being detected. The last
 * links can be cut off together with their entries. A process that has seen them detects this, and seals nothing after
 * the gap. An operator who noted the head elsewhere can detect it, too.
 */
@Injectable()
export class AuditChain implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly sweeper: Sweeper;
  /** The furthest link that this process has seen. */
  private seen = BEGINNING;
  private readonly logger = new Logger('Audit');
  private readonly walks: SharedRun;
  /** The result of the last walk. */
  private verdict: Verdict | undefined;
  private warned = '';
  private waiting = 0;

  constructor(
    private readonly database: Database,
    private readonly entries: AuditRepository,
    private readonly mac: AuditMac,
  ) {
    this.sweeper = new Sweeper(SEAL_MS, () => this.seal());
    this.walks = new SharedRun(async () => {
      this.verdict = await this.walk();
    });
  }

  /** Age of the oldest unsealed entry in seconds; 0 if there is none. */
  get unsealedSeconds(): number {
    return this.waiting;
  }

  /**
   * Seals up to `BATCH` committed entries. Seals nothing if links that this process has seen are missing, or if the
   * last link was not made with the key.
   * @returns whether there is more to do
   */
  async seal(): Promise<boolean> {
    const { waiting, position, asked } = await this.entries.glance(this.seen.position.toString());
    this.waiting = waiting ?? 0;
    if (this.seen !== BEGINNING && !(asked && isEqual(asked, this.seen.hash))) {
      return this.warn('Links of the audit chain were removed: sealing is stopped');
    }
    if (waiting === null) {
      // Learns the links of other processes, so that their removal is detected.
      if (position !== null && BigInt(position) > this.seen.position) await this.learn(await this.entries.lastLink());
      return false;
    }
    const isLate = waiting > LATE;
    const sealed = await this.database.transaction((tx) => this.sealSome(tx, isLate));
    if (!sealed) {
      return this.warn('The last link of the audit chain was not made with this SECRET_KEY: sealing is stopped');
    }
    this.note(sealed.head);
    if (waiting > TOO_LATE) this.warn('Entries of the audit log are unsealed for more than a minute');
    else this.warned = '';
    return sealed.count === BATCH;
  }

  /**
   * Walks the whole chain. Concurrent calls share a walk, because it holds a connection until it ends.
   * @param known a head that was noted earlier, which must be in the chain
   */
  async verify(known?: Buffer): Promise<Verdict> {
    await this.walks.run();
    const { verdict } = this;
    if (!verdict) throw new Error('A walk of the audit chain did not finish');
    if (verdict.first || !known || (await this.entries.hasHash(known))) return verdict;
    return { ...verdict, first: { id: null, position: verdict.sealed + 1, fault: 'removed' } };
  }

  private async walk(): Promise<Verdict> {
    // The links that this process has seen until now must exist.
    const { seen } = this;
    let last = BEGINNING;
    let first: Fault | null = null;
    let sealed = 0;
    for await (const links of this.entries.chain(BATCH)) {
      for (const link of links) {
        first ??= await this.faultOf(link, last, seen);
        last = { position: BigInt(link.position), hash: link.hash };
        sealed++;
      }
    }
    first ??= await this.faultAtEnd(last, seen);
    first ??= await this.faultBeside();
    if (!first) this.note(last);
    const unsealed = await this.entries.countUnsealed();
    return { sealed, head: sealed > 0 ? last.hash.toString('hex') : null, unsealed, first };
  }

  onApplicationBootstrap(): void {
    this.sweeper.start(true);
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.sweeper.stop();
  }

  /** Returns what is wrong with a link that follows `last`, or null. */
  private async faultOf(link: SealedEntry, last: Head, seen: Head): Promise<Fault | null> {
    const expected = last.position + 1n;
    const position = BigInt(link.position);
    if (position !== expected) {
      return { id: await this.entries.findAt(expected.toString()), position: Number(expected), fault: 'removed' };
    }
    const { entry } = link;
    const at = { id: link.entryId, position: Number(position) };
    if (!entry) return { ...at, fault: 'removed' };
    const isSame =
      entry.position === link.position &&
      this.mac.isGenuine(entry) &&
      isEqual(this.mac.link(last.hash, position, entry), link.hash) &&
      (position !== seen.position || isEqual(seen.hash, link.hash));
    return isSame ? null : { ...at, fault: 'altered' };
  }

  /** Returns the first missing link after the last one, or null. */
  private async faultAtEnd(last: Head, seen: Head): Promise<Fault | null> {
    if (last.position >= seen.position) return null;
    const position = last.position + 1n;
    return { id: await this.entries.findAt(position.toString()), position: Number(position), fault: 'removed' };
  }

  /** Returns an entry that claims a position but has no link, or that the server did not write, or null. */
  private async faultBeside(): Promise<Fault | null> {
    for await (const some of this.entries.loose(BATCH)) {
      for (const entry of some) {
        if (entry.position !== null) return { id: entry.id, position: Number(entry.position), fault: 'removed' };
        if (!this.mac.isGenuine(entry)) return { id: entry.id, position: null, fault: 'altered' };
      }
    }
    return null;
  }

  /**
   * Seals entries in a transaction. The lock only avoids duplicate work: if two processes seal at once, the positions
   * of the second are already taken. So nobody can prevent sealing by holding the lock for long, which any login of the
   * database can do.
   * @returns how many, and the last link; undefined if the last link cannot be continued
   */
  private async sealSome(tx: Transaction, isLate: boolean): Promise<{ head: Head; count: number } | undefined> {
    if (!(await this.entries.lock(tx)) && !isLate) return { head: BEGINNING, count: 0 };
    const last = await this.entries.lastLink(tx);
    if (last && !(await this.learn(last))) return undefined;
    let head: Head = last ? { position: BigInt(last.position), hash: last.hash } : BEGINNING;
    const unsealed = await this.entries.unsealed(tx, BATCH);
    const seals = unsealed.map((entry) => {
      const position = head.position + 1n;
      head = { position, hash: this.mac.link(head.hash, position, entry) };
      return { position: position.toString(), entryId: entry.id, hash: head.hash };
    });
    if (seals.length > 0) await this.entries.seal(tx, seals);
    return { head, count: seals.length };
  }

  /**
   * Records the last link as seen if it was made with the key, or was seen before. On its first look, a process also
   * accepts a last link whose entry was altered, if no position before it is missing: otherwise nothing would ever be
   * sealed after it.
   * @returns whether the link was recorded
   */
  private async learn(last: LastLink | null): Promise<boolean> {
    if (!last) return false;
    const head = { position: BigInt(last.position), hash: last.hash };
    const previous = head.position === 1n ? BEGINNING.hash : last.previous;
    const isOurs =
      isEqual(head.hash, this.seen.hash) ||
      (last.entry !== null &&
        previous !== null &&
        this.mac.isGenuine(last.entry) &&
        isEqual(this.mac.link(previous, head.position, last.entry), head.hash)) ||
      (this.seen === BEGINNING && head.position === (await this.entries.countSeals()));
    if (isOurs) this.note(head);
    return isOurs;
  }

  /** Logs a state once, until it is over. @returns false: there is nothing more to do now */
  private warn(what: string): false {
    if (this.warned !== what) this.logger.warn(`${what}. See GET /v1/audit/verify.`);
    this.warned = what;
    return false;
  }

  private note(head: Head): void {
    if (head.position > this.seen.position) this.seen = head;
  }
}
