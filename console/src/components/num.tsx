const GROUPED = new Intl.NumberFormat();
const COMPACT = new Intl.NumberFormat(undefined, { notation: 'compact', maximumFractionDigits: 1 });

/** Formats a number with grouped digits, or short (12.3K) for axes and tiles. */
export function formatNumber(value: number | bigint, short = false): string {
  return (short ? COMPACT : GROUPED).format(value);
}

/** Formats bytes in binary units. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  return `${formatNumber(Math.round((bytes / 1024 ** power) * 10) / 10)} ${units[power] ?? ''}`;
}

/** A number with grouped digits; `null` is unlimited in the API. */
export function Num({ value }: { value: number | null }) {
  return (
    <span style={{ fontVariantNumeric: 'tabular-nums' }}>{value === null ? 'unlimited' : formatNumber(value)}</span>
  );
}
