import { isDistributed } from './citus.js';

/**
 * Returns the places of requests to send together: all. On a distributed database, which judges owners in separate
 * statements: those of each owner, in ascending order of owners.
 */
export function turnsOf(requests: readonly { ownerId: string }[]): number[][] {
  if (!isDistributed()) return [requests.map((_request, place) => place)];
  const owners = [...new Set(requests.map(({ ownerId }) => ownerId))].sort();
  return owners.map((owner) => requests.flatMap(({ ownerId }, place) => (ownerId === owner ? [place] : [])));
}
