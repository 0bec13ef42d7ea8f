import type { Io, Outcome } from '../command.js';
import { EXIT } from '../exit-codes.js';
import { sizeOf } from '../files.js';
import { Report, reportOf } from '../import/report.js';
import { importEntries } from '../import/store-import-run.js';
import { idOfOwner } from '../owner.js';
import { withPlatform } from '../platform.js';
import { ProgressBar } from '../progress-bar.js';
import { StoreService } from '../../store/store.service.js';

interface Options {
  replace?: true;
}

/** `quartermaster store import`. */
export async function run(io: Io, owner: string, file: string, { replace }: Options): Promise<Outcome> {
  const size = sizeOf(file);
  return withPlatform(io, async (app) => {
    const ownerId = await idOfOwner(app, owner);
    const report = new Report(reportOf(file), 0);
    const bar = new ProgressBar(io, size, 'entries');
    try {
      const counts = await importEntries({
        ...{ file, ownerId, report, store: app.get(StoreService) },
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
  });
}
