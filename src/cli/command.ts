import type { Writable } from 'node:stream';
import { Command } from 'commander';
import { EXIT, type ExitCode } from './exit-codes.js';

/** What a command reads and writes. Tests pass their own. */
export interface Io {
  variables: NodeJS.ProcessEnv;
  stdout: Output;
  stderr: Output;
  /**
   * Reads the text that is piped to the command; undefined for a terminal and for an empty input.
   * @param what names the text, for a notice
   */
  piped: (what: string) => Promise<string | undefined>;
}

type Output = Writable & { isTTY?: boolean };

/** The result of a command. */
export interface Outcome {
  /** Printed with `--json`. */
  data: object;
  /** Printed otherwise. */
  text: string;
  /** Default: done. */
  exitCode?: ExitCode;
  /** Standard output holds exported data, so the result goes to standard error. */
  isBesideData?: boolean;
}

/**
 * The module of a command. `run` receives the arguments, then the options and the command. Its result is printed; null:
 * the command keeps running.
 */
interface Implementation {
  run: (io: Io, ...args: never[]) => Promise<Outcome | null>;
}

/** A wrong command line. The message is one line. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A command of the tree. */
export class CliCommand extends Command {
  /** Of its last run; null: it keeps running. */
  exitCode: ExitCode | null = EXIT.done;

  override createCommand(name?: string): CliCommand {
    return new CliCommand(name);
  }

  /** Adds an example to the help text. */
  example(line: string): this {
    return this.addHelpText('after', `\nExample:\n  ${line}`);
  }

  /** Adds the option of a command that can also work over the API. */
  worksOverApi(): this {
    return this.option('--url <address>', 'work over the API of this server, with QUARTERMASTER_TOKEN');
  }

  /** @param load imports the module, so that other commands do not load it */
  performs(io: Io, load: () => Promise<Implementation>): this {
    return this.action(async (...args: unknown[]) => {
      const { run } = await load();
      const outcome = await run(io, ...(args as never[]));
      this.exitCode = outcome ? (outcome.exitCode ?? EXIT.done) : null;
      if (!outcome) return;
      const { json } = this.optsWithGlobals<{ json?: true }>();
      const output = outcome.isBesideData === true ? io.stderr : io.stdout;
      output.write(`${json ? JSON.stringify(outcome.data) : outcome.text}\n`);
    });
  }
}
