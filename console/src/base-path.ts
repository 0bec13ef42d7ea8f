// Not `new URL('..', import.meta.url)`, which Vite takes for the address of a file.
const here = import.meta.url;

/** The path of the console, without a slash at its end: it is one level above its files. */
export const CONSOLE_PATH = new URL('..', here).pathname.replace(/\/$/, '');

/** The address of the server, with its BASE_PATH. */
export const SERVER_URL = window.location.origin + CONSOLE_PATH.replace(/\/console$/, '');
