/** What the code of a refused call means, and what to do. */
export const REASONS: Record<string, { title: string; next: string }> = {
  ok: { title: 'The call would be granted', next: 'A call now would charge these limits.' },
  quota_exceeded: {
    title: 'A limit was used up',
    next: 'Wait until it resets, or ask an administrator for a higher limit.',
  },
  scope_denied: {
    title: 'The scopes of the key do not cover this API',
    next: 'Use another key, or add the API to the scopes of this one.',
  },
  invalid_api_key: {
    title: 'The key is not valid',
    next: 'It is unknown, disabled or expired, or its secret was replaced. Compare it with the list of API keys.',
  },
  account_disabled: { title: 'The account is disabled', next: 'Ask an administrator to enable it.' },
  not_found: { title: 'There is no such API', next: 'Check the slug in the path: /call/<slug>.' },
};
