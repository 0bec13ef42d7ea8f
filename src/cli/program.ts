import { Argument, Option } from 'commander';
import { VERSION } from '../config/version.js';
import { CliCommand, type Io } from './command.js';

const EXIT_CODES = `
Exit codes: 0 done; 1 failed; 2 wrong command line; 3 done, and problems were found; 130 interrupted.
Commands work on the database of DATABASE_URL, or else on the embedded one in DATA_DIR, also while the server runs.`;

/** Declares all commands. What a command does is in commands/, one file each. */
export function createProgram(io: Io): CliCommand {
  const program = new CliCommand('quartermaster')
    .description('Run and operate Quartermaster.')
    .version(VERSION)
    .option('--json', 'print the result, or the error, as one line of JSON')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      // `run` prints the error.
      writeErr: () => undefined,
      getOutHasColors: () => false,
    })
    .exitOverride()
    .addHelpText('after', EXIT_CODES);

  const make = (parent: CliCommand, nameAndArguments: string, summary: string): CliCommand =>
    parent.command(nameAndArguments).copyInheritedSettings(program).description(summary);
  const group = (name: string, summary: string): CliCommand => make(program, name, summary);

  make(program, 'serve', 'Start the server, and the embedded PostgreSQL unless DATABASE_URL is set.')
    .example('PORT=8080 quartermaster serve')
    .performs(io, () => import('./commands/serve.js'));

  const migrate = group('migrate', 'Inspect and change the tables of the database. A start of the server runs `up`.');
  make(
    migrate,
    'status',
    'List the migrations, and functions that are outdated. Exit code 3 if `up` has something to do.',
  )
    .example('quartermaster migrate status')
    .performs(io, () => import('./commands/migrate/status.js'));
  make(migrate, 'up', 'Run pending migrations and replace outdated functions.')
    .example('quartermaster migrate up')
    .performs(io, () => import('./commands/migrate/up.js'));
  make(migrate, 'down', 'Undo the last migration. Deletes the tables that it created, with their data.')
    .argument('<name>', 'the last migration, as `status` prints it')
    .example('quartermaster migrate down AddThings1765000000000')
    .performs(io, () => import('./commands/migrate/down.js'));

  const db = group('db', 'Distribute the database over several machines.');
  make(db, 'distribute', 'Distribute a migrated database over the nodes of its Citus cluster. Stop the servers first.')
    .option('--dry-run', 'print what would be done, and change nothing')
    .example('quartermaster db distribute --dry-run')
    .performs(io, () => import('./commands/db-distribute.js'));

  const admin = group('admin', 'Create administrators and restore access to accounts.');
  make(admin, 'create', 'Create an administrator with a random password, or one from standard input.')
    .argument('<username>')
    .option('--email <address>', 'e-mail of the administrator')
    .example('quartermaster admin create grace --email grace@example.com')
    .performs(io, () => import('./commands/admin/create.js'));
  make(
    admin,
    'reset-password',
    'Set a random password, or one from standard input, and end all sessions of an account.',
  )
    .argument('[login]', 'username, e-mail or id (default: the only administrator)')
    .example('quartermaster admin reset-password')
    .performs(io, () => import('./commands/admin/reset-password.js'));
  make(admin, 'disable-totp', 'Disable two-factor sign-in of an account.')
    .argument('[login]', 'username, e-mail or id (default: the only administrator)')
    .example('quartermaster admin disable-totp ada')
    .performs(io, () => import('./commands/admin/disable-totp.js'));

  const users = group('users', 'Import and export accounts.');
  make(
    users,
    'import',
    'Create accounts from a CSV or NDJSON file. An interrupted import continues. Exit code 3 if lines are rejected.',
  )
    .worksOverApi()
    .argument('<file>', 'a file whose name ends with .csv, .ndjson or .jsonl')
    .option('--dry-run', 'check the file, and create nothing')
    .example('quartermaster users import users.csv --dry-run')
    .performs(io, () => import('./commands/users/import.js'));
  make(users, 'export', 'Export all accounts, without passwords.')
    .worksOverApi()
    .argument('[file]', 'a new file (default: standard output)')
    .addOption(formatOption())
    .example('quartermaster users export users.csv --format csv')
    .performs(io, () => import('./commands/users/export.js'));

  const keys = group('keys', 'Create, revoke and find API keys.');
  make(keys, 'create', 'Create an API key and print it.')
    .worksOverApi()
    .argument('<owner>', 'username, e-mail or id')
    .requiredOption('--name <text>', 'display name of the key')
    .requiredOption('--scope <slug...>', 'APIs that the key may call; `*` for all')
    .option('--expires <time>', 'when the key expires, like 2030-01-01T00:00:00Z (default: never)')
    .example('quartermaster keys create ada --name "my server" --scope api1 api2')
    .performs(io, () => import('./commands/keys/create.js'));
  make(keys, 'revoke', 'Revoke an API key.')
    .worksOverApi()
    .argument('<id>', 'the id of the key')
    .example('quartermaster keys revoke 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c')
    .performs(io, () => import('./commands/keys/revoke.js'));
  make(keys, 'find', 'Tell whose API key this is, for a key that leaked. Exit code 3 if no account has it.')
    .worksOverApi()
    .argument('[key]', 'the key (default: standard input, which keeps it out of the shell history)')
    .example('quartermaster keys find < leaked.txt')
    .performs(io, () => import('./commands/keys/find.js'));

  const store = group('store', 'Import and export the store of one user.');
  make(
    store,
    'import',
    'Write entries from an NDJSON file. Keys that exist are skipped. Exit code 3 if lines are rejected.',
  )
    .worksOverApi()
    .argument('<owner>', 'username, e-mail or id')
    .argument('<file>', 'an entry a line: {"key": …, "value": …, "ttlSeconds": …}')
    .option('--replace', 'replace the values of keys that exist')
    .example('quartermaster store import ada store.ndjson')
    .performs(io, () => import('./commands/store/import.js'));
  make(store, 'export', 'Export all entries as NDJSON. Values keep every digit and the order of names.')
    .worksOverApi()
    .argument('<owner>', 'username, e-mail or id')
    .argument('[file]', 'a new file (default: standard output)')
    .example('quartermaster store export ada store.ndjson')
    .performs(io, () => import('./commands/store/export.js'));

  const audit = group('audit', 'Check the audit log.');
  make(audit, 'verify', 'Check that no entry was altered or removed. Exit code 3 if one was.')
    .worksOverApi()
    .option('--head <hash>', 'a head that was printed earlier, which must still be in the chain')
    .example('quartermaster audit verify')
    .performs(io, () => import('./commands/audit-verify.js'));

  const usage = group('usage', 'Export the usage ledger.');
  make(usage, 'export', 'Export units by hour, owner, key and meter, for bills.')
    .worksOverApi()
    .argument('[file]', 'a new file (default: standard output)')
    .addOption(formatOption())
    .option('--from <time>', 'a whole hour (default: the start of the month)')
    .option('--to <time>', 'a whole hour (default: now)')
    .example(
      'quartermaster usage export november.csv --format csv --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z',
    )
    .performs(io, () => import('./commands/usage-export.js'));

  make(program, 'backup', 'Write the whole database, as of one moment, into one file. Does not block the server.')
    .argument('<file>', 'a new file')
    .example('quartermaster backup quartermaster.backup')
    .performs(io, () => import('./commands/backup.js'));
  make(program, 'restore', 'Restore a backup into an empty database, and compare rows and checksums.')
    .argument('<file>', 'a file that `backup` wrote')
    .example('DATA_DIR=./restored SECRET_KEY_FILE=./data/secret-key quartermaster restore quartermaster.backup')
    .performs(io, () => import('./commands/restore.js'));
  make(
    program,
    'doctor',
    'Check configuration, database, clock, disk and port, and say what to do. Exit code 3 on a problem.',
  )
    .example('quartermaster doctor')
    .performs(io, () => import('./commands/doctor.js'));
  make(program, 'completion', 'Print a script that completes commands and options in a shell.')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh']))
    .example('eval "$(quartermaster completion bash)"')
    .performs(io, () => import('./commands/completion.js'));
  return program;
}

function formatOption(): Option {
  return new Option('--format <format>').choices(['ndjson', 'csv']).default('ndjson');
}
