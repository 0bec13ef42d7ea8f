import { useLocation, useNavigate } from '@tanstack/react-router';

/**
 * Returns the token of a link from an e-mail; empty if there is none. It is in the fragment of the address, which browsers
 * do not send.
 */
export function useLinkToken(): { token: string; forget: () => Promise<void> } {
  const { hash } = useLocation();
  const navigate = useNavigate();
  return {
    token: new URLSearchParams(hash.replace(/^#/, '')).get('token') ?? '',
    forget: () => navigate({ to: '.', hash: '', replace: true }),
  };
}
