/** In this order, because browsers also name those that they imitate. */
const BROWSERS = ['Edg', 'OPR', 'Firefox', 'Chrome', 'Safari'];
const SYSTEMS = ['Android', 'iPhone', 'iPad', 'Windows', 'Mac OS', 'Linux'];

const NAMES: Record<string, string> = { Edg: 'Edge', OPR: 'Opera', 'Mac OS': 'macOS' };

/** Says in a few words what a User-Agent stands for; a program that is no browser is named as it names itself. */
export function deviceOf(userAgent: string | null): string {
  if (userAgent === null) return 'unknown device';
  const find = (names: string[]): string | undefined => names.find((name) => userAgent.includes(name));
  const [browser, system] = [find(BROWSERS), find(SYSTEMS)];
  if (browser === undefined || system === undefined) return userAgent.slice(0, 40);
  return `${NAMES[browser] ?? browser} on ${NAMES[system] ?? system}`;
}
