import { Group, Stack, Text, Title } from '@mantine/core';
import { IconChevronLeft } from '@tabler/icons-react';
import { Link, useMatch, type LinkProps } from '@tanstack/react-router';
import { useEffect, useRef, type ReactNode } from 'react';
import classes from './page-header.module.css';

interface PageHeaderProps {
  title: string;
  /** The list that the page belongs to. */
  parent?: { label: string; link: LinkProps };
  description?: ReactNode;
  /** Buttons, at the right. */
  actions?: ReactNode;
}

/** The path whose heading had the focus last. */
let announced: string | undefined;

/**
 * The heading of a page, which also names the document and takes the focus after a navigation. Each page renders exactly
 * one, at once, also while its data loads.
 */
export function PageHeader({ title, parent, description, actions }: PageHeaderProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  // The path of this page, which stays while the router loads the next one.
  const pathname = useMatch({ strict: false, select: (match) => match.pathname });

  useEffect(() => {
    document.title = `${title} – Quartermaster`;
  }, [title]);

  useEffect(() => {
    // The first page leaves the focus where the browser puts it.
    if (announced !== undefined && announced !== pathname) heading.current?.focus({ preventScroll: true });
    announced = pathname;
  }, [pathname]);

  return (
    <Group justify="space-between" align="flex-start" gap="md" mb="lg">
      <Stack gap={4} maw={680}>
        {parent !== undefined && (
          <Link {...parent.link} className={classes.parent}>
            <IconChevronLeft size={14} aria-hidden />
            {parent.label}
          </Link>
        )}
        <Title order={1} ref={heading} tabIndex={-1} style={{ outline: 'none', overflowWrap: 'anywhere' }}>
          {title}
        </Title>
        {description !== undefined && (
          <Text c="dimmed" size="sm" component="div">
            {description}
          </Text>
        )}
      </Stack>
      {actions !== undefined && <Group gap="xs">{actions}</Group>}
    </Group>
  );
}
