// `npm run prometheus:check`: whether docs/prometheus and docs/grafana.json are what Prometheus understands.
// `npm run prometheus:check -- http://127.0.0.1:3000`: also whether they fit that running server. A Prometheus of its own
// scrapes it for some seconds, and is asked everything that the dashboard and the alerts ask. METRICS_TOKEN as there.
// PROMTOOL and PROMETHEUS say where the two programs are, if not on the PATH. Ends what it starts and leaves no file.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from './free-port.js';

const docs = fileURLToPath(new URL('../docs/', import.meta.url));
const alerts = join(docs, 'prometheus', 'alerts.yml');

/** What Grafana puts in the place of its variables. @type {Record<string, string>} */
const VARIABLES = { instance: '.+', __rate_interval: '1m', __interval: '15s', __range: '5m' };
/** Names that Prometheus makes, not the server. */
const OF_PROMETHEUS = ['up', 'ALERTS'];
/** How many scrapes are waited for, one a second, and how long at most. */
const SCRAPES = 8;
const PATIENCE_MS = 60_000;
/** Requests that need no account; a refusal counts as well as an answer. */
const VISITS = ['/livez', '/readyz', '/v1/metrics', '/v1/apis', '/v1/resources', '/call/nothing', '/nothing-is-here'];

/** @typedef {{ where: string, expr: string }} Query where: for people */
/** @typedef {{ x: number, y: number, w: number, h: number }} Rectangle */
/** @typedef {{ title: string, gridPos: Rectangle, targets?: { refId: string, expr: string }[], panels?: Panel[] }} Panel */

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop.abort());

const promtool = found('promtool', process.env.PROMTOOL);
const target = process.argv[2] === undefined ? undefined : new URL(process.argv[2].replace(/\/*$/, '/'));
const prometheus = target && found('prometheus', process.env.PROMETHEUS);
const count = { passed: 0, failed: 0 };
const folder = mkdtempSync(join(tmpdir(), 'quartermaster-prometheus-'));
try {
  const dashboard = JSON.parse(readFileSync(join(docs, 'grafana.json'), 'utf8'));
  const queries = queriesOf(dashboard);
  await check('prometheus.yml', () => tool(['check', 'config', join(docs, 'prometheus', 'prometheus.yml')]));
  await check('alerts.yml', () => tool(['check', 'rules', alerts]));
  await check('alerts.test.yml', () => tool(['test', 'rules', join(docs, 'prometheus', 'alerts.test.yml')]));
  await check('grafana.json: every query can be read', () => parse(queries));
  await check('grafana.json: no panel covers another', () => layOut(dashboard.panels));
  if (target && prometheus) await live(prometheus, target, queries);
} catch (error) {
  if (!stop.signal.aborted) throw error;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${count.passed} passed, ${count.failed} failed${stop.signal.aborted ? ', interrupted' : ''}`);
process.exit(stop.signal.aborted ? 130 : count.failed > 0 ? 1 : 0);

/**
 * One line of the report. What the check throws is its failure, what it returns a remark.
 * @param {string} what
 * @param {() => Promise<string | void> | string | void} test
 */
async function check(what, test) {
  try {
    const remark = await test();
    count.passed++;
    console.log(`ok      ${what}${remark ? ` (${remark})` : ''}`);
  } catch (error) {
    stop.signal.throwIfAborted();
    count.failed++;
    const reason = error instanceof Error ? messageOf(error) : String(error);
    console.log(`FAILED  ${what}\n${reason.trim().replace(/^/gm, '        ')}`);
  }
}

/**
 * fetch says only "fetch failed" and has the reason in its cause.
 * @param {Error} error
 */
function messageOf({ message, cause }) {
  if (!(cause instanceof Error)) return message;
  return `${message}: ${cause.message || ('code' in cause ? String(cause.code) : cause.name)}`;
}

/**
 * Ends the process with 2 where the program is missing.
 * @param {string} name
 * @param {string | undefined} path
 * @returns {string} the command
 */
function found(name, path) {
  const command = path || name;
  if (spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0) return command;
  console.error(
    `${command} cannot be run. It is part of Prometheus: \`apt-get install prometheus\` on Debian and Ubuntu, \`brew install\n` +
      `prometheus\` on macOS, or https://prometheus.io/download/. ${name.toUpperCase()} may say where it is.`,
  );
  process.exit(2);
}

/**
 * Runs promtool.
 * @param {string[]} args
 * @param {(output: string) => string} [readable] what makes its output so
 * @throws Error with all it printed
 */
function tool(args, readable = (output) => output) {
  const { status, stdout, stderr } = spawnSync(promtool, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(readable(`${stdout}\n${stderr}`));
}

/**
 * All that the dashboard asks Prometheus, with values in the place of variables.
 * @param {{ panels: Panel[], annotations: { list: { name: string, expr?: string }[] },
 *   templating: { list: { name: string, type: string, query: string | { query: string } }[] } }} dashboard
 * @returns {Query[]}
 */
function queriesOf({ panels, annotations, templating }) {
  /** @type {Query[]} */
  const queries = [];
  const visit = (/** @type {Panel} */ panel) => {
    for (const { refId, expr } of panel.targets ?? []) queries.push({ where: `${panel.title} ${refId}`, expr });
    panel.panels?.forEach(visit);
  };
  panels.forEach(visit);
  for (const { name, expr } of annotations.list) if (expr) queries.push({ where: `annotation ${name}`, expr });
  for (const { name, type, query } of templating.list) {
    if (type !== 'query') continue;
    // Grafana's own function around a selector.
    const expr = /^label_values\((.+),\s*\w+\)$/.exec(typeof query === 'string' ? query : query.query)?.[1];
    if (expr === undefined) throw new Error(`The variable ${name} is not of the form label_values(selector, label)`);
    queries.push({ where: `variable ${name}`, expr });
  }
  return queries.map(({ where, expr }) => ({ where, expr: substituted(where, expr) }));
}

/**
 * @param {string} where
 * @param {string} expr
 */
function substituted(where, expr) {
  return expr.replace(/\$(?:\{(\w+)(?::\w+)?\}|(\w+))/g, (_all, braced, plain) => {
    const value = VARIABLES[braced ?? plain];
    if (value === undefined) throw new Error(`${where} has the variable ${braced ?? plain}, which is not known here`);
    return value;
  });
}

/**
 * promtool reads queries only as rules. JSON is YAML.
 * @param {Query[]} queries
 */
function parse(queries) {
  const rules = queries.map(({ expr }, i) => ({ record: `query:${i}`, expr }));
  const file = join(folder, 'queries.yml');
  writeFileSync(file, JSON.stringify({ groups: [{ name: 'grafana', rules }] }));
  tool(['check', 'rules', file], (output) =>
    output.replace(/query:(\d+)/g, (all, i) => queries[Number(i)]?.where ?? all),
  );
  return `${queries.length} queries`;
}

/** @param {Panel[]} panels */
function layOut(panels) {
  for (const [i, { title, gridPos: a }] of panels.entries()) {
    if (a.x < 0 || a.x + a.w > 24) throw new Error(`${title} leaves the grid`);
    const other = panels
      .slice(i + 1)
      .find(({ gridPos: b }) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h);
    if (other) throw new Error(`${title} and ${other.title} overlap`);
  }
  return `${panels.length} panels`;
}

/**
 * The checks against a running server.
 * @param {string} command
 * @param {URL} server
 * @param {Query[]} queries
 */
async function live(command, server, queries) {
  const { METRICS_TOKEN: token } = process.env;
  const address = new URL('metrics', server);
  let text = '';
  await check('/metrics answers in the text format', async () => {
    const headers = token ? { authorization: `Bearer ${token}` } : undefined;
    const answer = await fetch(address, { ...(headers && { headers }), signal: stop.signal });
    const body = await answer.text();
    if (answer.status !== 200) throw new Error(`${address.href} answers ${answer.status}: ${body.slice(0, 200)}`);
    text = body;
    // Prometheus 3 no longer guesses.
    const type = answer.headers.get('content-type') ?? 'no content type';
    if (!/^text\/plain;.*version=0\.0\.4/.test(type)) throw new Error(`It has ${type}`);
  });
  if (text === '') return;
  await check('/metrics passes promtool', () => lint(text));
  const names = namesIn(text);
  await check('grafana.json: every metric exists', () => exist(names, queries));

  const port = await freePort();
  const api = `http://127.0.0.1:${port}/api/v1/`;
  const child = start(command, port, {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [alerts],
    scrape_configs: [
      {
        job_name: 'quartermaster',
        scheme: address.protocol.slice(0, -1),
        metrics_path: address.pathname,
        static_configs: [{ targets: [address.host] }],
        ...(token && { authorization: { credentials: token } }),
      },
    ],
  });
  const exited = once(child, 'exit');
  try {
    await check(`Prometheus scrapes it ${SCRAPES} times, and up is 1`, () => scraped(child, api, server));
    await check('grafana.json: every query is answered', async () => {
      let filled = 0;
      for (const { where, expr } of queries) {
        const { result } = await ask(api, 'query', { query: expr }).catch((error) => {
          throw new Error(`${where}: ${messageOf(error)}\n${expr}`);
        });
        if (result.length > 0) filled++;
      }
      return `${filled} of ${queries.length} have data by now`;
    });
    /** @type {Rule[]} */
    let rules = [];
    await check('alerts.yml: every rule is evaluated', async () => {
      const { groups } = await ask(api, 'rules');
      rules = groups.flatMap((/** @type {{ rules: Rule[] }} */ group) => group.rules);
      return healthy(rules);
    });
    const asked = rules.map(({ name, query }) => ({ where: name, expr: query }));
    await check('alerts.yml: every metric exists', () => exist(names, asked));
  } finally {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
    await exited;
    clearTimeout(timer);
  }
}

/** @typedef {{ name: string, query: string, health: string, state: string, lastError?: string }} Rule */

/** @param {string} text */
function lint(text) {
  const { status, stdout, stderr } = spawnSync(promtool, ['check', 'metrics'], { input: text, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${stdout}${stderr}`);
}

/**
 * What can be asked for: a family that is announced counts also before its first sample.
 * @param {string} text
 */
function namesIn(text) {
  const names = new Set(OF_PROMETHEUS);
  for (const [, name, type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    const suffixes =
      type === 'histogram' ? ['_bucket', '_sum', '_count'] : type === 'summary' ? ['', '_sum', '_count'] : [''];
    for (const suffix of suffixes) names.add(`${name}${suffix}`);
  }
  return names;
}

/**
 * @param {Set<string>} names
 * @param {Query[]} queries
 */
function exist(names, queries) {
  if (queries.length === 0) throw new Error('Nothing asks for any');
  const used = new Set();
  const missing = [];
  for (const { where, expr } of queries) {
    for (const name of metricsIn(expr)) {
      used.add(name);
      if (!names.has(name)) missing.push(`${name} of ${where}`);
    }
  }
  if (missing.length > 0) throw new Error(missing.join('\n'));
  return `${used.size} names`;
}

/**
 * The names of metrics in a query: all words that are neither labels, functions, durations nor operators.
 * @param {string} expr
 */
function metricsIn(expr) {
  const bare = expr
    .replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g, '')
    .replace(/\{[^}]*\}|\[[^\]]*\]/g, ' ')
    .replace(/\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, ' ');
  const words = bare.match(/(?<![\w:.])[a-zA-Z_:][\w:]*\b(?!\s*\()/g) ?? [];
  return words.filter((word) => !/^(and|or|unless|bool|offset|atan2|inf|nan)$/i.test(word));
}

/**
 * @param {string} command
 * @param {number} port
 * @param {object} config
 */
function start(command, port, config) {
  const file = join(folder, 'prometheus.yml');
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
  const log = openSync(join(folder, 'prometheus.log'), 'a');
  const child = spawn(
    command,
    [
      `--config.file=${file}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    { cwd: folder, stdio: ['ignore', log, log] },
  );
  closeSync(log);
  return child;
}

/**
 * Waits for the scrapes, and makes some requests meanwhile so that there is something to count.
 * @param {import('node:child_process').ChildProcess} child
 * @param {string} api
 * @param {URL} server
 */
async function scraped(child, api, server) {
  const done = `sum_over_time(up{job="quartermaster"}[5m]) >= ${SCRAPES} and up == 1`;
  const deadline = performance.now() + PATIENCE_MS;
  let reason = 'Prometheus does not answer';
  while (performance.now() < deadline) {
    if (child.exitCode !== null) throw new Error(readFileSync(join(folder, 'prometheus.log'), 'utf8'));
    for (const path of VISITS) {
      const answer = await fetch(new URL(path.slice(1), server), { signal: stop.signal }).catch(() => null);
      await answer?.arrayBuffer();
    }
    await sleep(250, undefined, { signal: stop.signal });
    const state = await ask(api, 'query', { query: done }).catch(() => null);
    if (state?.result.length > 0) return;
    const targets = state && (await ask(api, 'targets'));
    if (targets) reason = targets.activeTargets[0]?.lastError || 'Too few scrapes within a minute';
  }
  throw new Error(reason);
}

/** @param {Rule[]} rules */
function healthy(rules) {
  if (rules.length === 0) throw new Error('There are none');
  const ill = rules.filter(({ health }) => health !== 'ok');
  if (ill.length > 0) throw new Error(ill.map((each) => `${each.name} ${each.health}: ${each.lastError}`).join('\n'));
  const raised = rules.filter(({ state }) => state !== 'inactive').map(({ name, state }) => `, ${name} is ${state}`);
  return `${rules.length} rules${raised.join('')}`;
}

/**
 * @param {string} api
 * @param {string} path
 * @param {Record<string, string>} parameters
 * @returns {Promise<any>} its data
 */
async function ask(api, path, parameters = {}) {
  const answer = await fetch(`${api}${path}?${new URLSearchParams(parameters)}`, { signal: stop.signal });
  const { status, error, data } = /** @type {any} */ (await answer.json());
  if (status !== 'success') throw new Error(error);
  return data;
}
