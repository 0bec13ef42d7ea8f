import type { IncomingHttpHeaders } from 'node:http';
import { readTags } from '../common/entity-tags.js';

/** `If-Match` and `If-None-Match` (RFC 9110, sections 13.1.1 and 13.1.2); undefined where there is none. */
export interface Preconditions {
  match: Versions | undefined;
  noneMatch: Versions | undefined;
}

/** Any, or the versions that were named. Tags that are of no version of ours are left out: they match nothing. */
type Versions = '*' | number[];

/** The ETag of a version. */
export function tagOf(version: number): string {
  return `"${version}"`;
}

/** @throws Problem validation_failed for what is no list of entity tags */
export function readPreconditions(headers: IncomingHttpHeaders): Preconditions {
  return { match: readVersions(headers, 'If-Match'), noneMatch: readVersions(headers, 'If-None-Match') };
}

/** Whether the conditions hold for the version that is there; 0: none. */
export function holds({ match, noneMatch }: Preconditions, version: number): boolean {
  return (
    (match === undefined || includes(match, version)) && (noneMatch === undefined || !includes(noneMatch, version))
  );
}

/**
 * The conditions as the one version that must be there: 0 none, −1 any, null whatever. Undefined where it takes more to
 * say them.
 */
export function versionFor({ match, noneMatch }: Preconditions): number | null | undefined {
  if (match === undefined) return noneMatch === undefined ? null : noneMatch === '*' ? 0 : undefined;
  if (noneMatch !== undefined) return undefined;
  if (match === '*') return -1;
  return match.length === 1 ? match[0] : undefined;
}

function includes(versions: Versions, version: number): boolean {
  return version > 0 && (versions === '*' || versions.includes(version));
}

const VERSION = /^[1-9]\d{0,15}$/;

function readVersions(headers: IncomingHttpHeaders, name: 'If-Match' | 'If-None-Match'): Versions | undefined {
  const tags = readTags(headers, name);
  if (tags === undefined || tags === '*') return tags;
  return tags.filter((tag) => VERSION.test(tag)).map(Number);
}
