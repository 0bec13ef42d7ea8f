import type { ComponentType, ReactNode } from 'react';
import { probeServer } from './api/transport';

/**
 * A page that is loaded when it is first wanted. The router's own `lazyRouteComponent` loads the whole console anew if that
 * fails, and what is typed elsewhere would be lost while the server is away; this one fails like any other page.
 */
export function lazyPage(load: () => Promise<{ default: ComponentType }>): ((props: object) => ReactNode) & {
  preload: () => Promise<void>;
} {
  let Loaded: ComponentType | undefined;
  const preload = async (): Promise<void> => {
    try {
      Loaded = (await load()).default;
    } catch (error) {
      await probeServer();
      throw error;
    }
  };
  function LazyPage() {
    // The router shows a page only after its preload.
    return Loaded && <Loaded />;
  }
  return Object.assign(LazyPage, { preload });
}
