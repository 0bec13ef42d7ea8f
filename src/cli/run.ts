import { CommanderError } from 'commander';
import { UsageError, type CliCommand, type Io } from './command.js';
import { EXIT, type ExitCode } from './exit-codes.js';
import { createProgram } from './program.js';

/**
 * Runs a command line. Prints its result, or one line that says why it failed.
 * @returns the exit code; null: the command keeps running
 */
export async function run(args: readonly string[], io: Io): Promise<ExitCode | null> {
  const program = createProgram(io);
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCodeOf(program);
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done;
    const [message, exitCode] = await explain(error, io);
    printError(args, io, message, exitCode);
    return exitCode;
  }
}

export function printError(args: readonly string[], { stderr }: Io, message: string, exitCode: number): void {
  stderr.write(`${args.includes('--json') ? JSON.stringify({ error: message, exitCode }) : message}\n`);
}

/** Only the command that ran can have another exit code than `done`. */
function exitCodeOf(command: CliCommand): ExitCode | null {
  const codes = (command.commands as CliCommand[]).map(exitCodeOf);
  const code = codes.find((each) => each !== EXIT.done);
  return code === undefined ? command.exitCode : code;
}

async function explain(error: unknown, io: Io): Promise<[message: string, exitCode: ExitCode]> {
  if (error instanceof CommanderError) {
    // Commander prints the help of an incomplete command to standard error and throws.
    const message = error.code === 'commander.help' ? 'A command is missing.' : sentence(error.message);
    return [`${message} See quartermaster --help.`, EXIT.usage];
  }
  if (error instanceof UsageError) return [error.message, EXIT.usage];
  const { explainFailure } = await import('./failure.js');
  return [explainFailure(error, io.variables), EXIT.failed];
}

/** Turns `error: unknown option '--x'` into a sentence. */
function sentence(message: string): string {
  const text = message.replace(/^error: /, '').replaceAll(/\s*\n\s*/g, ' ');
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.?)]$/.test(text) ? '' : '.'}`;
}
