import type { Tags } from '../http/conditional/entity-tags.js';
import type { Preconditions as TagPreconditions } from '../http/conditional/etag.js';

/** `If-Match` and `If-None-Match` (RFC 9110, sections 13.1.1 and 13.1.2); undefined if the header is missing. */
export interface Preconditions {
  match: Versions | undefined;
  noneMatch: Versions | undefined;
}

/** Any version, or the listed versions. Tags that cannot be a version are omitted: they match nothing. */
type Versions = '*' | number[];

/** Returns the ETag of a version. */
export function tagOf(version: number): string {
  return `"${version}"`;
}

/** Returns the preconditions of a request as versions. */
export function toVersions({ match, noneMatch }: TagPreconditions): Preconditions {
  return { match: versionsOf(match), noneMatch: versionsOf(noneMatch) };
}

/** Whether the conditions hold for the stored version. Version 0: the entry does not exist. */
export function holds({ match, noneMatch }: Preconditions, version: number): boolean {
  return (
    (match === undefined || includes(match, version)) && (noneMatch === undefined || !includes(noneMatch, version))
  );
}

/**
 * Returns the conditions as one required version: 0: the key must not exist; −1: any version; null: no condition.
 * Undefined if one version cannot express them.
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

function versionsOf(tags: Tags | undefined): Versions | undefined {
  if (tags === undefined || tags === '*') return tags;
  return tags.filter((tag) => VERSION.test(tag)).map(Number);
}
