import { Alert } from '@mantine/core';
import { IconPlugConnectedX } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { useEffect } from 'react';
import { useStore } from '../api/store';
import { reachable, send } from '../api/transport';

const PROBE_MS = 3_000;

/** Says that the server does not answer, asks until it does, and then reads everything anew. */
export function ConnectionBanner() {
  const isReachable = useStore(reachable);
  const queries = useQueryClient();

  useEffect(() => {
    if (isReachable) return;
    const probe = async (): Promise<void> => {
      try {
        await send(new Request('/livez', { cache: 'no-store' }));
        await queries.invalidateQueries();
      } catch {
        // The next probe tries again.
      }
    };
    const timer = setInterval(() => void probe(), PROBE_MS);
    return () => clearInterval(timer);
  }, [isReachable, queries]);

  return (
    <div role="status">
      {!isReachable && (
        <Alert color="orange" radius={0} icon={<IconPlugConnectedX />} title="The server cannot be reached">
          What you have typed stays here. The console tries again every few seconds.
        </Alert>
      )}
    </div>
  );
}
