import { MantineProvider } from '@mantine/core';
import { ModalsProvider } from '@mantine/modals';
import { Notifications } from '@mantine/notifications';
import { QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { queryClient } from './api/query-client';
import { session } from './api/session';
import { useStore } from './api/store';
import { router } from './routes';
import { Starting } from './shell/starting';
import { cssVariables, theme } from './theme';

/** All providers, and the router once it is known whether somebody is signed in. */
export function App() {
  const { state } = useStore(session);
  return (
    <MantineProvider theme={theme} cssVariablesResolver={cssVariables} defaultColorScheme="auto">
      <QueryClientProvider client={queryClient}>
        <Notifications position="bottom-right" containerWidth={380} />
        <ModalsProvider>{state === 'starting' ? <Starting /> : <RouterProvider router={router} />}</ModalsProvider>
      </QueryClientProvider>
    </MantineProvider>
  );
}
