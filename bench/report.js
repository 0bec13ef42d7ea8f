// Medians and the Markdown table.

/**
 * @typedef {object} Sample one case at one number of connections in one round
 * @property {string} name
 * @property {number} connections
 * @property {number} round
 * @property {number} rate
 * @property {number} p50
 * @property {number} p99
 * @property {number} unexpected answers with another status than expected, and errors
 * @property {{ server: number, postgres: number, load: number, others: number }} cores busy on average
 */

/** @param {number[]} values */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? NaN) + upper) / 2;
}

/**
 * One row a case and number of connections.
 * @param {Sample[]} samples
 * @param {readonly string[]} baselines the cases whose rate in the same round, at as many connections, is 1
 */
export function table(samples, baselines) {
  const groups = new Set(samples.map(({ connections, name }) => `${connections} ${name}`));
  const rows = [...groups].map((group) =>
    row(
      samples.filter(({ connections, name }) => `${connections} ${name}` === group),
      samples,
      baselines,
    ),
  );
  const ratios = baselines.map((baseline) => `× ${baseline}`).join(' | ');
  return [
    `| case | connections | answers/s | of the rounds | ${ratios} | p50 ms | p99 ms | cores: server + PostgreSQL + load (+ others) | unexpected |`,
    `|---|--:|--:|---|${'--:|'.repeat(baselines.length)}--:|--:|---|--:|`,
    ...rows,
  ].join('\n');
}

/**
 * @param {Sample[]} group
 * @param {Sample[]} samples
 * @param {readonly string[]} baselines
 */
function row(group, samples, baselines) {
  const [{ name, connections } = { name: '', connections: 0 }] = group;
  const rates = group.map((sample) => sample.rate);
  const ratioTo = (/** @type {string} */ baseline) => {
    const ratios = group.flatMap(({ rate, round }) => {
      const base = samples.find(
        (one) => one.name === baseline && one.connections === connections && one.round === round,
      );
      return base ? [rate / base.rate] : [];
    });
    return ratios.length > 0 ? median(ratios).toFixed(2) : '–';
  };
  const cores = (/** @type {keyof Sample['cores']} */ who) =>
    median(group.map((sample) => sample.cores[who])).toFixed(2);
  const cells = [
    name,
    connections,
    count(median(rates)),
    `${count(Math.min(...rates))} to ${count(Math.max(...rates))}`,
    ...baselines.map(ratioTo),
    milliseconds(median(group.map((sample) => sample.p50))),
    milliseconds(median(group.map((sample) => sample.p99))),
    `${cores('server')} + ${cores('postgres')} + ${cores('load')} (+ ${cores('others')})`,
    group.reduce((sum, sample) => sum + sample.unexpected, 0),
  ];
  return `| ${cells.join(' | ')} |`;
}

/** @param {number} value */
export function count(value) {
  return Math.round(value).toLocaleString('en');
}

/** @param {number} value */
function milliseconds(value) {
  return value < 10 ? value.toFixed(2) : value.toFixed(1);
}
