import { Injectable, Logger, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { isEqual } from '../common/bytes.js';
import { SharedRun } from '../common/shared-run.js';
import { Database, type Transaction } from '../database/database.js';
import { Sweeper } from '../database/sweeper.js';
import { AuditMac } from './audit-mac.js';
import { AuditRepository, type LastLink, type SealedEntry } from './audit.repository.js';

/** What is wrong with the chain: its first link that does not fit. */
export interface Fault {
  /** The entry's id; null where nothing of it is left. */
  id: string | null;
  /** In the chain; null for one that is in none. */
  position: number | null;
  fault: 'altered' | 'removed';
}

export interface Verdict {
  /** Entries in the chain. */
  sealed: number;
  /** The last link's hash, in hex; null while there is none. */
  head: string | null;
  /** Entries that are not in it yet: those of the last second. */
  unsealed: number;
  first: Fault | null;
}

interface Head {
  position: bigint;
  hash: Buffer;
}

const SEAL_MS = 1_000;

/** Entries sealed at once, and links read at once. */
const BATCH = 500;

/** Seconds after which an entry is sealed whoever holds the lock, and after which the log warns. */
const LATE = 5;
const TOO_LATE = 60;

const BEGINNING: Head = { position: 0n, hash: Buffer.alloc(32) };

/**
 * The chain over the audit log: each second one process seals what has been committed, each entry with the hash of the
 * one before (Haber and Stornetta, 1991). Entries and links are keyed with SECRET_KEY: who can write the tables but has
 * not the key can neither write an entry nor alter or remove a sealed one unseen. The last links can be cut off together
 * with their entries: whichever process saw them notices, and seals no more over the gap; and so does an operator who
 * noted the head elsewhere.
 */
@Injectable()
export class AuditChain implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly sweeper: Sweeper;
  /** The furthest link that this process has seen. */
  private seen = BEGINNING;
  private readonly logger = new Logger('Audit');
  private readonly walks: SharedRun;
  /** Of the last walk. */
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

  /** Seconds for which the oldest entry that is not sealed has waited; 0 where there is none. */
  get unsealedSeconds(): number {
    return this.waiting;
  }

  /**
   * Seals what is committed, of so many entries at most; nothing where links are gone that were seen, or behind a link
   * that nobody with the key has made.
   * @returns whether there is more to do
   */
  async seal(): Promise<boolean> {
    const { waiting, position, asked } = await this.entries.glance(this.seen.position.toString());
    this.waiting = waiting ?? 0;
    if (this.seen !== BEGINNING && !(asked && isEqual(asked, this.seen.hash))) {
      return this.warn('Links of the audit chain are gone that were there: nothing is sealed');
    }
    if (waiting === null) {
      // What others have sealed meanwhile is to be missed when it is gone.
      if (position !== null && BigInt(position) > this.seen.position) await this.learn(await this.entries.lastLink());
      return false;
    }
    const isLate = waiting > LATE;
    const sealed = await this.database.transaction((tx) => this.sealSome(tx, isLate));
    if (!sealed) {
      return this.warn('The last link of the audit chain was not made by this server: nothing is sealed behind it');
    }
    this.note(sealed.head);
    if (waiting > TOO_LATE) this.warn('Entries of the audit log have waited for a minute to be sealed');
    else this.warned = '';
    return sealed.count === BATCH;
  }

  /**
   * Walks the whole chain, once at a time however many ask: it takes a connection for as long as it lasts.
   * @param known a head that was noted earlier, which must be in it
   */
  async verify(known?: Buffer): Promise<Verdict> {
    await this.walks.run();
    const { verdict } = this;
    if (!verdict) throw new Error('A walk came to no end');
    if (verdict.first || !known || (await this.entries.hasHash(known))) return verdict;
    return { ...verdict, first: { id: null, position: verdict.sealed + 1, fault: 'removed' } };
  }

  private async walk(): Promise<Verdict> {
    // What this process has seen by now must be there.
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

  /** What is wrong with a link that comes after `last`. */
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

  /** What is missing behind the last link. */
  private async faultAtEnd(last: Head, seen: Head): Promise<Fault | null> {
    if (last.position >= seen.position) return null;
    const position = last.position + 1n;
    return { id: await this.entries.findAt(position.toString()), position: Number(position), fault: 'removed' };
  }

  /** What is in no chain though it says so, or was not written by the server. */
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
   * The lock only spares several processes the same work: of two that seal at once, the second finds its places taken. So
   * whoever holds it for long, and every login of the database can, keeps nothing from being sealed.
   * @returns how many, and the last link; undefined where that is not one to go on from
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
   * Takes the last link for one that has been seen, if it was made with the key, or was seen already. At its first look a
   * process also takes one whose entry was altered, where no place is missing before it: else nothing would ever be sealed
   * behind that.
   * @returns whether it did
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

  /** Once for each state, until it is over. @returns that there is nothing more to do now */
  private warn(what: string): false {
    if (this.warned !== what) this.logger.warn(`${what}. See GET /v1/audit/verify.`);
    this.warned = what;
    return false;
  }

  private note(head: Head): void {
    if (head.position > this.seen.position) this.seen = head;
  }
}
