import { clientFrom, type ApiOptions } from '../../api.js';
import type { Io, Outcome } from '../../command.js';
import { EXIT } from '../../exit-codes.js';
import { sizeOf } from '../../files.js';
import { Report, reportOf } from '../../import/report.js';
import { importEntries, type StoreTarget } from '../../import/store-import-run.js';
import { ProgressBar } from '../../progress-bar.js';

interface Options extends ApiOptions {
  replace?: true;
}

/** `quartermaster store import`. */
export async function run(io: Io, owner: string, file: string, { replace, ...target }: Options): Promise<Outcome> {
  const size = sizeOf(file);
  const client = clientFrom(io, target);
  const work = async (store: StoreTarget): Promise<Outcome> => {
    const report = new Report(reportOf(file), 0);
    const bar = new ProgressBar(io, size, 'entries');
    try {
      const counts = await importEntries({
        ...{ file, report, target: store },
        onConflict: replace ? 'replace' : 'skip',
        onProgress: (bytes, entries) => bar.update(bytes, entries),
      });
      const path = counts.rejected > 0 ? report.path : null;
      return {
        data: { ...counts, report: path },
        text: `${counts.written} entries are written, ${counts.skipped} exist already, ${counts.rejected} are rejected.${path === null ? '' : `\nThe reasons are in ${path}.`}`,
        exitCode: counts.rejected > 0 ? EXIT.problems : EXIT.done,
      };
    } finally {
      bar.stop();
    }
  };
  if (!client) return (await import('../../direct/store.js')).withStore(io, owner, work);
  return work(await (await import('../../over-api/store.js')).storeOf(client, owner));
}
