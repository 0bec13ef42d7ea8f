import { createRootRoute, createRoute, createRouter, Outlet, redirect } from '@tanstack/react-router';
import { session } from './api/session';
import { lazyPage } from './lazy-page';
import { PublicLayout } from './pages/sign-in/public-layout';
import { PageError } from './shell/page-error';
import { Shell } from './shell/shell';
import { CONSOLE_PATH } from './base-path';

declare module '@tanstack/react-router' {
  interface StaticDataRouteOption {
    /** For administrators only; the title is shown to others above the reason. */
    adminOnly?: boolean;
    title?: string;
  }
  interface Register {
    router: typeof router;
  }
}

/** Takes these parameters of the query, if they are texts. The router reads a number or a word of JSON as such. */
function texts<Name extends string>(...names: Name[]) {
  return (search: Record<string, unknown>): Partial<Record<Name, string>> =>
    Object.fromEntries(
      names
        .filter((name) => ['string', 'number', 'boolean'].includes(typeof search[name]) && search[name] !== '')
        .map((name) => [name, String(search[name])]),
    ) as Partial<Record<Name, string>>;
}

const root = createRootRoute({ component: Outlet });

// Pages for people who are not signed in.
const publicPages = createRoute({ getParentRoute: () => root, id: 'public', component: PublicLayout });
const getPublic = () => publicPages;

const publicRoutes = [
  createRoute({
    getParentRoute: getPublic,
    path: '/sign-in',
    validateSearch: ({ next }: Record<string, unknown>): { next?: string } =>
      // Only a path of the console: anything else could lead to another site.
      typeof next === 'string' && next.startsWith(`${CONSOLE_PATH}/`) && /^[\w/?=&%.-]*$/.test(next) ? { next } : {},
    component: lazyPage(() => import('./pages/sign-in/sign-in')),
  }),
  createRoute({
    getParentRoute: getPublic,
    path: '/forgot-password',
    component: lazyPage(() => import('./pages/sign-in/forgot-password')),
  }),
  createRoute({
    getParentRoute: getPublic,
    path: '/reset-password',
    component: lazyPage(() => import('./pages/sign-in/reset-password')),
  }),
  createRoute({
    getParentRoute: getPublic,
    path: '/confirm-email',
    component: lazyPage(() => import('./pages/sign-in/confirm-email')),
  }),
  createRoute({
    getParentRoute: getPublic,
    path: '/register',
    component: lazyPage(() => import('./pages/sign-in/register')),
  }),
];

// Pages within the shell.
const shell = createRoute({
  getParentRoute: () => root,
  id: 'shell',
  component: Shell,
  beforeLoad: ({ location }) => {
    if (session.get().state !== 'signed-out') return;
    const next = CONSOLE_PATH + location.href;
    throw redirect({ to: '/sign-in', search: location.pathname === '/' ? {} : { next }, replace: true });
  },
});
const getShell = () => shell;

const start = createRoute({
  getParentRoute: getShell,
  path: '/',
  beforeLoad: () => {
    const now = session.get();
    throw redirect({ to: 'user' in now && now.user.role === 'admin' ? '/overview' : '/usage', replace: true });
  },
});

const adminRoutes = [
  createRoute({
    getParentRoute: getShell,
    path: '/overview',
    staticData: { adminOnly: true, title: 'Overview' },
    validateSearch: texts('period'),
    component: lazyPage(() => import('./pages/admin/overview')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/users',
    staticData: { adminOnly: true, title: 'Users' },
    validateSearch: texts('query', 'role', 'status', 'plan', 'create'),
    component: lazyPage(() => import('./pages/admin/users')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/users/import',
    staticData: { adminOnly: true, title: 'Import users' },
    component: lazyPage(() => import('./pages/admin/import-users')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/users/$user',
    staticData: { adminOnly: true, title: 'User' },
    validateSearch: texts('tab'),
    component: lazyPage(() => import('./pages/admin/user')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/plans',
    staticData: { adminOnly: true, title: 'Plans' },
    validateSearch: texts('create'),
    component: lazyPage(() => import('./pages/admin/plans')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/plans/$slug',
    staticData: { adminOnly: true, title: 'Plan' },
    component: lazyPage(() => import('./pages/admin/plan')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/apis',
    staticData: { adminOnly: true, title: 'APIs' },
    validateSearch: texts('create'),
    component: lazyPage(() => import('./pages/admin/apis')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/apis/$slug',
    staticData: { adminOnly: true, title: 'API' },
    component: lazyPage(() => import('./pages/admin/api')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/platform',
    staticData: { adminOnly: true, title: 'Platform' },
    component: lazyPage(() => import('./pages/admin/platform')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/audit',
    staticData: { adminOnly: true, title: 'Audit' },
    validateSearch: texts('actor', 'action', 'target', 'refreshes'),
    component: lazyPage(() => import('./pages/admin/audit')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/export',
    staticData: { adminOnly: true, title: 'Export' },
    component: lazyPage(() => import('./pages/admin/export')),
  }),
];

const userRoutes = [
  createRoute({
    getParentRoute: getShell,
    path: '/usage',
    component: lazyPage(() => import('./pages/user/usage')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/keys',
    component: lazyPage(() => import('./pages/user/keys')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/keys/$id',
    component: lazyPage(() => import('./pages/user/key')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/store',
    validateSearch: ({ prefix }: Record<string, unknown>): { prefix?: string } =>
      typeof prefix === 'string' && prefix !== '' ? { prefix } : {},
    component: lazyPage(() => import('./pages/user/store')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/resources',
    component: lazyPage(() => import('./pages/user/resources')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/tasks',
    component: lazyPage(() => import('./pages/user/tasks')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/account',
    component: lazyPage(() => import('./pages/user/account')),
  }),
  createRoute({
    getParentRoute: getShell,
    path: '/refusals',
    validateSearch: texts('requestId', 'user', 'api'),
    component: lazyPage(() => import('./pages/user/refusals')),
  }),
  // Any other address.
  createRoute({ getParentRoute: getShell, path: '$', component: lazyPage(() => import('./shell/not-found')) }),
];

export const router = createRouter({
  routeTree: root.addChildren([
    publicPages.addChildren(publicRoutes),
    shell.addChildren([start, ...adminRoutes, ...userRoutes]),
  ]),
  basepath: CONSOLE_PATH,
  scrollRestoration: true,
  defaultPreload: 'intent',
  defaultErrorComponent: PageError,
});
