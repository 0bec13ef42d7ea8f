import type { AuditVerdictResponse } from '../../audit/audit.dto.js';
import { clientFrom, type ApiOptions } from '../api.js';
import { UsageError, type Io, type Outcome } from '../command.js';
import { EXIT } from '../exit-codes.js';

interface Options extends ApiOptions {
  head?: string;
}

/** `quartermaster audit verify`. */
export async function run(io: Io, { head, ...target }: Options): Promise<Outcome> {
  if (head !== undefined && !/^[0-9a-f]{64}$/.test(head)) throw new UsageError('--head must be 64 hex digits.');
  const client = clientFrom(io, target);
  const verdict = client
    ? await client.get('/v1/audit/verify', { params: { query: head === undefined ? {} : { head } } })
    : await (await import('../direct/audit.js')).verifyAudit(io, head);
  return { data: verdict, text: describe(verdict), exitCode: verdict.ok ? EXIT.done : EXIT.problems };
}

function describe({ first, sealed, unsealed, head }: AuditVerdictResponse): string {
  if (!first) return `The audit log is intact: ${sealed} entries sealed, ${unsealed} not yet.\nhead  ${head ?? 'none'}`;
  const entry = first.id === null ? 'An entry' : `Entry ${first.id}`;
  const place = first.position === null ? '' : ` at position ${first.position}`;
  return `${entry}${place} of the audit log was ${first.fault}.`;
}
