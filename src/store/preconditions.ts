import type { IncomingHttpHeaders } from 'node:http';
import { Problem } from '../common/problem.js';

/** `If-Match` and `If-None-Match` (RFC 9110, sections 13.1.1 and 13.1.2); undefined where there is none. */
export interface Preconditions {
  match: Tags | undefined;
  noneMatch: Tags | undefined;
}

/** Any, or the versions that were named. Tags that are of no version of ours are left out: they match nothing. */
type Tags = '*' | number[];

/** The ETag of a version. */
export function tagOf(version: number): string {
  return `"${version}"`;
}

/** @throws Problem validation_failed for what is no list of entity tags */
export function readPreconditions(headers: IncomingHttpHeaders): Preconditions {
  return {
    // Strong comparison: a weak tag never matches.
    match: readTags(headers['if-match'], 'If-Match', false),
    noneMatch: readTags(headers['if-none-match'], 'If-None-Match', true),
  };
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

function includes(tags: Tags, version: number): boolean {
  return version > 0 && (tags === '*' || tags.includes(version));
}

/** RFC 9110, section 8.8.3: visible characters but quotes, and whatever is not ASCII. */
const TAG = /(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"/g;

/** A list, in which elements may be empty (section 5.6.1.2), but not all of them. */
const TAGS = /^(?=.*")[ \t,]*(?:(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"[ \t]*(?:,[ \t,]*|$))+$/;

const VERSION = /^[1-9]\d{0,15}$/;

function readTags(header: string | undefined, name: string, weak: boolean): Tags | undefined {
  if (header === undefined) return undefined;
  if (header.trim() === '*') return '*';
  if (!TAGS.test(header)) throw Problem.field(`/${name}`, 'must be * or entity tags like "42"');
  return [...header.matchAll(TAG)].flatMap(([, isWeak, opaque = '']) =>
    VERSION.test(opaque) && (weak || isWeak === undefined) ? [Number(opaque)] : [],
  );
}
