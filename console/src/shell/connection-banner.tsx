import { Alert } from '@mantine/core';
import { IconPlugConnectedX } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { useRouter } from '@tanstack/react-router';
import { useEffect } from 'react';
import { useStore } from '../api/store';
import { probeServer, reachable } from '../api/transport';

const PROBE_MS = 3_000;

/** Says that the server does not answer, asks until it does, and then reads everything anew. */
export function ConnectionBanner() {
  const isReachable = useStore(reachable);
  const queries = useQueryClient();
  const router = useRouter();

  useEffect(() => {
    if (isReachable) return;
    const probe = async (): Promise<void> => {
      try {
        await probeServer();
        await Promise.all([queries.invalidateQueries(), router.invalidate()]);
      } catch {
        // The next probe tries again.
      }
    };
    const timer = setInterval(() => void probe(), PROBE_MS);
    return () => clearInterval(timer);
  }, [isReachable, queries, router]);

  return (
    <div role="status">
      {!isReachable && (
        <Alert color="orange" mb="lg" icon={<IconPlugConnectedX />} title="The server cannot be reached">
          What you have typed stays here. The console tries again every few seconds.
        </Alert>
      )}
    </div>
  );
}
