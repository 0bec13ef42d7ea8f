import { Badge, Button, Card, Group, ScrollArea, Skeleton, Tabs } from '@mantine/core';
import { IconChevronDown } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useParams, useSearch } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { answer, tagged } from '../../api/answer';
import { api } from '../../api/client';
import { PageHeader } from '../../components/page-header';
import { ProblemAlert } from '../../components/problem-alert';
import { QuotaPanel } from '../../components/quota-panel';
import { AuditList } from './audit/audit-list';
import { UserCredits } from './user/credits';
import { UserKeys } from './user/keys';
import { UserObjects } from './user/objects';
import { UserProfile } from './user/profile';
import { UserSecurity } from './user/security';
import { UserUsage } from './user/usage';
import { UserActions } from './users/user-actions';
import { nameOf } from './users/user-name';

const TABS = {
  quotas: 'Quotas',
  usage: 'Usage',
  profile: 'Profile',
  keys: 'API keys',
  objects: 'Objects',
  security: 'Security',
  audit: 'Audit',
};

/** On a phone the tabs are wider than the page. */
function scrollIntoView(tab: HTMLElement | null): void {
  tab?.scrollIntoView({ block: 'nearest', inline: 'center' });
}

/** One account: its quotas first, because they are what is changed most. */
export default function UserPage(): ReactNode {
  const { user: id = '' }: { user?: string } = useParams({ strict: false });
  const { tab = 'quotas' } = useSearch({ from: '/shell/users/$user' });
  const navigate = useNavigate({ from: '/users/$user' });
  const query = useQuery({
    queryKey: ['users', id],
    queryFn: ({ signal }) => tagged(api.GET('/v1/users/{user}', { params: { path: { user: id } }, signal })),
  });
  const user = query.data?.value;
  const params = { path: { user: id } };
  const slug = user?.plan ?? '';
  const plan = useQuery({
    queryKey: ['plans', slug, 'limits'],
    queryFn: ({ signal }) => answer(api.GET('/v1/plans/{slug}', { params: { path: { slug } }, signal })),
    enabled: slug !== '',
  });

  return (
    <>
      <PageHeader
        title={user === undefined ? 'User' : nameOf(user)}
        parent={{ label: 'Users', link: { to: '/users' } }}
        description={
          user === undefined ? (
            query.isPending && <Skeleton height={20} width={200} />
          ) : (
            <Group gap={6}>
              {[user.firstName, user.lastName].filter(Boolean).join(' ')}
              <Badge color={user.status === 'active' ? 'green' : 'gray'}>{user.status}</Badge>
              <Badge color={user.role === 'admin' ? 'indigo' : 'gray'}>{user.role}</Badge>
              <Badge color="gray">{user.plan === null ? 'no plan' : `plan ${user.plan}`}</Badge>
            </Group>
          )
        }
        actions={
          user !== undefined && (
            <UserActions
              user={user}
              onDeleted={() => void navigate({ to: '/users', replace: true })}
              target={
                <Button variant="default" rightSection={<IconChevronDown size={16} />}>
                  Actions
                </Button>
              }
            />
          )
        }
      />
      <ProblemAlert error={query.error} onRetry={() => query.refetch()} />
      {query.error === null && (
        <Tabs
          value={tab in TABS ? tab : 'quotas'}
          onChange={(next) => void navigate({ search: next === 'quotas' ? {} : { tab: next ?? '' }, replace: true })}
          keepMounted={false}
        >
          <ScrollArea type="never" mb="lg">
            <Tabs.List style={{ flexWrap: 'nowrap', minWidth: 'max-content' }}>
              {Object.entries(TABS).map(([value, label]) => (
                <Tabs.Tab key={value} value={value} ref={value === tab ? scrollIntoView : undefined}>
                  {label}
                </Tabs.Tab>
              ))}
            </Tabs.List>
          </ScrollArea>
          <Tabs.Panel value="quotas">
            <QuotaPanel
              title="Quotas"
              queryKey={['quotas', id]}
              list={(signal) => answer(api.GET('/v1/users/{user}/quotas', { params, signal }))}
              set={({ meter, window, limit }) =>
                answer(
                  api.PUT('/v1/users/{user}/quotas/{meter}', {
                    params: { path: { user: id, meter } },
                    body: { window, limit },
                  }),
                )
              }
              unset={(meter, window) =>
                api.DELETE('/v1/users/{user}/quotas/{meter}', {
                  params: { path: { user: id, meter }, query: { window } },
                })
              }
              scope="user"
              overrides="plan"
              isOverride={({ meter, window }) =>
                plan.data?.limits.some((limit) => limit.meter === meter && limit.window === window) === true
              }
              afterRemoval="The limit of the plan applies again, if it has one. Otherwise the meter is unlimited."
              empty="Nothing limits this user. Set a quota, or assign a plan on the tab Profile."
            />
            {user !== undefined && <UserCredits user={user} />}
          </Tabs.Panel>
          <Tabs.Panel value="usage">
            <UserUsage user={id} />
          </Tabs.Panel>
          <Tabs.Panel value="profile">
            <Card maw={760}>
              {query.data === undefined ? <Skeleton height={420} /> : <UserProfile query={query} loaded={query.data} />}
            </Card>
          </Tabs.Panel>
          <Tabs.Panel value="keys">
            <UserKeys user={id} />
          </Tabs.Panel>
          <Tabs.Panel value="objects">
            <UserObjects user={id} />
          </Tabs.Panel>
          <Tabs.Panel value="security">{user !== undefined && <UserSecurity user={user} />}</Tabs.Panel>
          <Tabs.Panel value="audit">
            <AuditList filter={{ target: id }} />
          </Tabs.Panel>
        </Tabs>
      )}
    </>
  );
}
