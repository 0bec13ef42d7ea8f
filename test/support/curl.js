// Replaces curl where it is not installed. Supports the options that the documentation uses.
const init = {
  method: '',
  headers: /** @type {Record<string, string>} */ ({}),
  body: /** @type {string | undefined} */ (undefined),
};
let url = '';
let format = '';
const args = process.argv.slice(2).values();
for (const arg of args) {
  const value = () => String(args.next().value);
  if (arg === '-H') {
    const [name = '', ...rest] = value().split(':');
    init.headers[name] = rest.join(':').trim();
  } else if (arg === '-d') init.body = value();
  else if (arg === '-X') init.method = value();
  else if (arg === '-w') format = value();
  else if (arg !== '-sS') url = arg;
}
const { body, headers } = init;
const method = init.method || (body === undefined ? 'GET' : 'POST');
const answer = await fetch(url, { method, headers, ...(body === undefined ? {} : { body }) });
process.stdout.write(
  (await answer.text()) + format.replaceAll('\\n', '\n').replace('%{http_code}', String(answer.status)),
);
