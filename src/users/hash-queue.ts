import type { Origin } from '../common/caller.js';
import { placeOf } from '../common/place.js';
import { Problem } from '../common/problem.js';

/** For whom a hash is made. */
export interface Turn {
  /** Where the request comes from, as it counts: see `placeOf`. */
  place: string;
  /** Whether that is known to belong to whom the hash is for: those come first. */
  isKnown: boolean;
}

/** @param isKnown whether somebody has signed in, or has a token */
export function turnOf(origin: Pick<Origin, 'ip'> | null, isKnown: boolean): Turn {
  return { place: placeOf(origin?.ip ?? null), isKnown };
}

interface Waiter {
  start: () => void;
  refuse: (problem: Problem) => void;
}

/** Every so many turns one is a stranger's, if one waits. */
const STRANGERS_TURN = 3;

/** Those who wait at each place; the first place is the next. */
type Ring = Map<string, Waiter[]>;

/**
 * The queue of hashes, which is short and dear: some milliseconds of a core each. Fair among places (one may wait for
 * itself, not stand before others: deficit round robin with equal costs, Shreedhar and Varghese, 1995). Those who are known
 * to belong where they are have two turns of three before all others, so that many strangers do not keep them out; and
 * not all, since whoever has an account is known somewhere.
 */
export class HashQueue {
  private readonly known: Ring = new Map();
  private readonly strangers: Ring = new Map();
  private running = 0;
  private waiting = 0;
  private turns = 0;

  /**
   * @param lanes how many work at once
   * @param most how many wait
   */
  constructor(
    private readonly lanes: number,
    private readonly most: number,
  ) {}

  /** Works when it is its turn. @throws Problem overloaded when too many wait, of whom none is to give way */
  async run<T>(turn: Turn, work: () => Promise<T>): Promise<T> {
    if (this.running >= this.lanes) await this.wait(turn);
    else this.running++;
    try {
      return await work();
    } finally {
      this.running--;
      this.startNext();
    }
  }

  private wait({ place, isKnown }: Turn): Promise<void> {
    const ring = isKnown ? this.known : this.strangers;
    if (this.waiting >= this.most && !this.makeRoom(ring, place)) return Promise.reject(tooMany());
    return new Promise((start, refuse) => {
      const waiter = { start, refuse };
      const queue = ring.get(place);
      if (queue) queue.push(waiter);
      else ring.set(place, [waiter]);
      this.waiting++;
    });
  }

  /** The last of the place that waits most gives way to one of a place that waits less; strangers to those who are known. */
  private makeRoom(ring: Ring, place: string): boolean {
    const giving = ring === this.known && this.strangers.size > 0 ? this.strangers : ring;
    let longest: [place: string, queue: Waiter[]] | undefined;
    for (const each of giving) if (!longest || each[1].length > longest[1].length) longest = each;
    if (!longest) return false;
    const [at, queue] = longest;
    if (giving === ring && queue.length <= (ring.get(place)?.length ?? 0) + 1) return false;
    queue.pop()?.refuse(tooMany());
    if (queue.length === 0) giving.delete(at);
    this.waiting--;
    return true;
  }

  private startNext(): void {
    const isOfStrangers = ++this.turns % STRANGERS_TURN === 0;
    for (const ring of isOfStrangers ? [this.strangers, this.known] : [this.known, this.strangers]) {
      const next = ring.entries().next().value;
      if (!next) continue;
      const [place, queue] = next;
      const waiter = queue.shift();
      // To the end of the ring, if more wait there.
      ring.delete(place);
      if (queue.length > 0) ring.set(place, queue);
      this.waiting--;
      this.running++;
      waiter?.start();
      return;
    }
  }
}

function tooMany(): Problem {
  return new Problem('overloaded', { retryAfter: 1 });
}
