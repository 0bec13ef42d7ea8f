/** Headers that another caller of the same request would send too. */
const HEADERS = ['content-type', 'if-match'];

/** Bodies longer than this are read from a file instead. */
const MAX_BODY = 2_000;

/** A password that a form has sent is not shown. */
const PASSWORD = /("\w*[pP]assword"\s*:\s*)"(?:[^"\\]|\\.)*"/g;

function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** Writes a request as a command line of curl. */
export async function curlOf(request: Request): Promise<string> {
  const { method, url, headers } = request;
  const body = (await request.clone().text()).replaceAll(PASSWORD, '$1"…"');
  const sent = HEADERS.flatMap((name) => (headers.has(name) ? [`-H ${quoted(`${name}: ${headers.get(name)}`)}`] : []));
  return [
    `curl ${method === 'GET' ? '' : `-X ${method} `}${quoted(url)}`,
    '-H "authorization: Bearer $TOKEN"',
    ...sent,
    ...(body === '' ? [] : [`-d ${body.length > MAX_BODY ? '@body.json' : quoted(body)}`]),
  ].join(' \\\n  ');
}
