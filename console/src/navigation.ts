import {
  IconActivity,
  IconApi,
  IconBox,
  IconChartBar,
  IconChecklist,
  IconDatabase,
  IconDownload,
  IconFileImport,
  IconFileText,
  IconHandStop,
  IconKey,
  IconSettings,
  IconStack2,
  IconShieldCheck,
  IconUserCircle,
  IconUserPlus,
  IconUsers,
  type TablerIcon,
} from '@tabler/icons-react';
import type { User } from './api/session';

/** An entry of the navigation and of the command palette. */
export interface NavigationEntry {
  label: string;
  to: string;
  icon: TablerIcon;
  /** One sentence for the command palette. */
  description: string;
}

const ADMIN: NavigationEntry[] = [
  { label: 'Overview', to: '/overview', icon: IconActivity, description: 'What the platform does now' },
  { label: 'Users', to: '/users', icon: IconUsers, description: 'Accounts, their plans, credits and quotas' },
  { label: 'Plans', to: '/plans', icon: IconStack2, description: 'Limits that users share' },
  { label: 'APIs', to: '/apis', icon: IconApi, description: 'The catalogue of metered APIs' },
  { label: 'Platform', to: '/platform', icon: IconSettings, description: 'Settings and limits of the platform' },
  { label: 'Audit', to: '/audit', icon: IconFileText, description: 'Who changed what' },
  { label: 'Export', to: '/export', icon: IconDownload, description: 'Usage as CSV or NDJSON' },
];

const REFUSALS: NavigationEntry = {
  label: 'Refusals',
  to: '/refusals',
  icon: IconHandStop,
  description: 'Why a call was refused',
};

const OWN: NavigationEntry[] = [
  { label: 'Usage', to: '/usage', icon: IconChartBar, description: 'What you have used and what is left' },
  { label: 'API keys', to: '/keys', icon: IconKey, description: 'Your keys, their scopes and limits' },
  { label: 'Store', to: '/store', icon: IconDatabase, description: 'Your JSON key-value store' },
  { label: 'Resources', to: '/resources', icon: IconBox, description: 'Your resources' },
  { label: 'Tasks', to: '/tasks', icon: IconChecklist, description: 'Your tasks and credits' },
  { label: 'Account', to: '/account', icon: IconUserCircle, description: 'Profile, password, sessions, second factor' },
];

/** What an administrator does often, for the command palette. `create` opens the dialog of the page. */
export const ADMIN_ACTIONS = [
  { label: 'New user', to: '/users', search: { create: 'yes' }, icon: IconUserPlus },
  { label: 'Import users', to: '/users/import', search: {}, icon: IconFileImport },
  { label: 'New plan', to: '/plans', search: { create: 'yes' }, icon: IconStack2 },
  { label: 'New API', to: '/apis', search: { create: 'yes' }, icon: IconApi },
  { label: 'Export usage', to: '/export', search: {}, icon: IconDownload },
  { label: 'Verify the audit chain', to: '/audit', search: {}, icon: IconShieldCheck },
  { label: 'Find a refused call', to: '/refusals', search: {}, icon: IconHandStop },
] as const;

/** The sections that a user sees, in order. */
export function navigationOf({ role }: Pick<User, 'role'>): { label: string; entries: NavigationEntry[] }[] {
  if (role !== 'admin') return [{ label: 'Your account', entries: OWN.toSpliced(-1, 0, REFUSALS) }];
  return [
    { label: 'Platform', entries: [...ADMIN, REFUSALS] },
    { label: 'Your account', entries: OWN },
  ];
}
