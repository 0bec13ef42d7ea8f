import { Injectable, Logger, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { isEqual } from '../common/bytes.js';
import { SharedRun } from '../common/shared-run.js';
import { Database } from '../database/database.js';
import { Sweeper } from '../database/sweeper.js';
import { AuditMac } from './audit-mac.js';
import { AuditRepository, type SealedEntry } from './audit.repository.js';

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
  private hasWarned = false;

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

  /**
   * Seals what is committed, of so many entries at most; nothing where links are gone that were seen.
   * @returns whether there is more to do
   */
  async seal(): Promise<boolean> {
    const glance = await this.entries.glance(this.seen.position.toString());
    const isWhole = this.seen === BEGINNING || (glance.asked !== null && isEqual(glance.asked, this.seen.hash));
    if (!isWhole) {
      this.warn();
      return false;
    }
    if (glance.position !== null && glance.hash) this.note({ position: BigInt(glance.position), hash: glance.hash });
    if (!glance.hasUnsealed) return false;
    let head: Head | undefined;
    const count = await this.database.transaction(async (tx) => {
      // Another process is at it.
      if (!(await this.entries.lock(tx))) return 0;
      const last = await this.entries.head(tx);
      head = last ? { position: BigInt(last.position), hash: last.hash } : BEGINNING;
      const unsealed = await this.entries.unsealed(tx, BATCH);
      const seals = unsealed.map((entry) => {
        const previous = head ?? BEGINNING;
        const position = previous.position + 1n;
        head = { position, hash: this.mac.link(previous.hash, position, entry) };
        return { position: position.toString(), entryId: entry.id, hash: head.hash };
      });
      if (seals.length > 0) await this.entries.seal(tx, seals);
      return seals.length;
    });
    if (head) this.note(head);
    return count === BATCH;
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
    for (const entry of await this.entries.listLoose(BATCH)) {
      if (entry.position !== null) return { id: entry.id, position: Number(entry.position), fault: 'removed' };
      if (!this.mac.isGenuine(entry)) return { id: entry.id, position: null, fault: 'altered' };
    }
    return null;
  }

  /** Once: it stays so until an operator has looked at it, and the server starts anew. */
  private warn(): void {
    if (this.hasWarned) return;
    this.hasWarned = true;
    this.logger.warn('Links of the audit chain are gone that were there: nothing is sealed. See GET /v1/audit/verify.');
  }

  private note(head: Head): void {
    if (head.position > this.seen.position) this.seen = head;
  }
}
