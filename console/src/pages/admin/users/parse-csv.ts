/**
 * Reads CSV text (RFC 4180) with commas or semicolons. Fields may be quoted; a quote within is doubled.
 * @returns the rows, without empty lines
 * @throws Error if a quote is not closed
 */
export function parseCsv(text: string): string[][] {
  const source = text.replace(/^\uFEFF/, '');
  const [first = ''] = source.split('\n', 1);
  const comma = first.split(';').length > first.split(',').length ? ';' : ',';
  const rows: string[][] = [];
  let row: string[] = [];
  let field = '';
  let isQuoted = false;

  const endField = (): void => {
    row.push(field);
    field = '';
  };
  const endRow = (): void => {
    endField();
    if (row.some((each) => each.trim() !== '')) rows.push(row);
    row = [];
  };

  for (let at = 0; at < source.length; at++) {
    const character = source[at] ?? '';
    if (isQuoted) {
      if (character !== '"') field += character;
      else if (source[at + 1] === '"') field += source[++at] ?? '';
      else isQuoted = false;
    } else if (character === '"' && field === '') isQuoted = true;
    else if (character === comma) endField();
    else if (character === '\n') endRow();
    else if (character !== '\r') field += character;
  }
  if (isQuoted) throw new Error('A quoted field is not closed.');
  endRow();
  return rows;
}

/** Writes rows as CSV. */
export function toCsv(rows: string[][]): string {
  const quote = (field: string): string => (/[",;\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field);
  return rows.map((row) => `${row.map(quote).join(',')}\r\n`).join('');
}
