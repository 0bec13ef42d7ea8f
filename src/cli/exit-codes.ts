/** Exit codes of all commands; docs/command-line.md documents them. A signal ends a command with 128 and its number. */
export const EXIT = {
  done: 0,
  /** The command failed. */
  failed: 1,
  /** The command line is wrong. Nothing was done. */
  usage: 2,
  /** The command ran to its end and found problems, such as rejected lines or a setting that must be changed. */
  problems: 3,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];
