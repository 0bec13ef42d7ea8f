import { Tooltip, VisuallyHidden } from '@mantine/core';
import { useId, useRef, useState } from 'react';
import classes from './time.module.css';

const DAY = { month: 'short', day: 'numeric' } as const;
const TIME = { hour: 'numeric', minute: '2-digit' } as const;
const YEAR = { year: 'numeric' } as const;

const FORMATS = {
  time: new Intl.DateTimeFormat(undefined, { ...DAY, ...TIME }),
  day: new Intl.DateTimeFormat(undefined, DAY),
};
const WITH_YEAR = {
  time: new Intl.DateTimeFormat(undefined, { ...DAY, ...TIME, ...YEAR }),
  day: new Intl.DateTimeFormat(undefined, { ...DAY, ...YEAR }),
};
const SECONDS = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const RELATIVE = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
];

/** Formats a time as the distance from now: "in 3 hours". */
export function formatRelative(at: string, now = Date.now()): string {
  const seconds = (Date.parse(at) - now) / 1_000;
  const [unit, size] = UNITS.find(([, each]) => Math.abs(seconds) >= each) ?? ['second', 1];
  return RELATIVE.format(Math.round(seconds / size), unit);
}

/** Whether a time is over. */
export function isPast(at: string): boolean {
  return Date.parse(at) <= Date.now();
}

/** Formats a time in the reader's zone; the year only if it is another than now. */
export function formatTime(at: string, as: keyof typeof FORMATS = 'time'): string {
  const time = new Date(at);
  const formats = time.getFullYear() === new Date().getFullYear() ? FORMATS : WITH_YEAR;
  return formats[as].format(time);
}

interface TimeProps {
  /** ISO 8601; null shows `none`. */
  at: string | null;
  /** Default: date and time. `seconds` is the time of day. */
  as?: 'time' | 'day' | 'relative' | 'seconds';
  /** What null means here. Default: never. */
  none?: string;
}

/** A time in the reader's zone; hover or focus shows it in UTC. */
export function Time({ at, as = 'time', none = 'never' }: TimeProps) {
  const element = useRef<HTMLTimeElement>(null);
  const [isWanted, setWanted] = useState(false);
  const description = useId();
  if (at === null) return <span className={classes.none}>{none}</span>;
  const shown =
    as === 'relative' ? formatRelative(at) : as === 'seconds' ? SECONDS.format(new Date(at)) : formatTime(at, as);
  const utc = `${at.slice(0, 19).replace('T', ' ')} UTC`;
  const label = as === 'relative' ? `${formatTime(at)} (${utc})` : utc;
  return (
    <>
      {/* The focus is what shows the tooltip without a mouse. */}
      <time
        ref={element}
        dateTime={at}
        aria-describedby={isWanted ? description : undefined}
        // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex
        tabIndex={0}
        className={classes.time}
        onPointerEnter={() => setWanted(true)}
        onPointerLeave={() => setWanted(false)}
        onFocus={() => setWanted(true)}
        onBlur={() => setWanted(false)}
      >
        {shown}
      </time>
      {/* A list has hundreds of times, so their tooltips exist only while they are seen. */}
      {isWanted && (
        <>
          <VisuallyHidden id={description}>{label}</VisuallyHidden>
          <Tooltip target={element} opened label={label} />
        </>
      )}
    </>
  );
}
