import type { CliCommand, Io, Outcome } from '../command.js';

const LOAD_BASH_COMPLETION = 'autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit';

/** `quartermaster completion`. */
export function run(_io: Io, shell: 'bash' | 'zsh', _options: object, command: CliCommand): Promise<Outcome> {
  const script = completionOf(command.parent as CliCommand);
  const text = shell === 'zsh' ? `${LOAD_BASH_COMPLETION}\n${script}` : script;
  return Promise.resolve({ data: { script: text }, text });
}

/** Returns a script for bash, and for zsh with bashcompinit. It completes commands and options, and otherwise file names. */
function completionOf(program: CliCommand): string {
  return `_quartermaster() {
  local path="" words="" word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    case "$word" in -*) ;; *) path="$path $word" ;; esac
  done
  case "$path" in
${casesOf(program, '').join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _quartermaster quartermaster`;
}

/** A case for each command, and for the arguments of the commands without subcommands. */
function casesOf(command: CliCommand, path: string): string[] {
  const commands = command.commands as CliCommand[];
  const options = command.options.map(({ long }) => long);
  const words = [...commands.map((each) => each.name()), ...options, '--json', '--help'];
  const rest = commands.length === 0 ? `|"${path} "*` : '';
  return [
    `    "${path}"${rest}) words="${[...new Set(words)].join(' ')}" ;;`,
    ...commands.flatMap((each) => casesOf(each, `${path} ${each.name()}`)),
  ];
}
