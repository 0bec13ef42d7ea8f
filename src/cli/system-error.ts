import { getSystemErrorMap } from 'node:util';

/** Describes an error of the operating system, such as `no space left on device (ENOSPC)`. */
export function reasonOf({ code = '', errno = 0, message }: NodeJS.ErrnoException): string {
  const text = getSystemErrorMap().get(errno)?.[1];
  return text === undefined ? message : `${text} (${code})`;
}
