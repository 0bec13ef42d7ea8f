import { Button, Center, Paper, Skeleton, Table, Text, VisuallyHidden } from '@mantine/core';
import { Link, type LinkProps } from '@tanstack/react-router';
import { memo, type ReactNode } from 'react';
import type { Pages } from '../api/use-pages';
import classes from './data-table.module.css';
import { EmptyState } from './empty-state';
import { formatNumber } from './num';
import { ProblemAlert } from './problem-alert';

export interface Column<T> {
  header: string;
  render: (row: T) => ReactNode;
  /** Right for numbers. Default: left. */
  align?: 'left' | 'right';
  /** False hides the column at phone width. Default: true. */
  onPhone?: boolean;
  /** Keeps the header for screen readers only, e.g. over buttons. */
  hidesHeader?: boolean;
  width?: number | string;
}

interface DataTableProps<T> {
  /** Names the table for screen readers. */
  label: string;
  columns: Column<T>[];
  /** From `usePages`, or `rowsOf(query)` for a list without pages. */
  pages: Pages<T>;
  rowKey: (row: T) => string;
  /** Where a row leads. The first column becomes the link, and the whole row can be clicked. */
  rowLink?: (row: T) => LinkProps;
  /** Default: "Nothing here yet". */
  empty?: ReactNode;
  /** Default: a button that loads more, or the number of rows. */
  footer?: ReactNode;
}

const SKELETON_ROWS = 6;

function cell<T>({ align = 'left', onPhone = true, width }: Column<T>) {
  return { ta: align, w: width, ...(onPhone ? {} : { visibleFrom: 'sm' as const }) };
}

interface RowProps<T> extends Pick<DataTableProps<T>, 'columns'> {
  row: T;
  rowLink: DataTableProps<T>['rowLink'] | undefined;
}

function PlainRow<T>({ row, columns, rowLink }: RowProps<T>) {
  return (
    <Table.Tr className={classes.row}>
      {columns.map((column, index) => (
        <Table.Td key={column.header} {...cell(column)}>
          {index === 0 && rowLink !== undefined ? (
            <Link {...rowLink(row)} className={classes.link}>
              {column.render(row)}
            </Link>
          ) : (
            column.render(row)
          )}
        </Table.Td>
      ))}
    </Table.Tr>
  );
}

/** Rows stay as they are while more are loaded. The link of a row depends on the row alone. */
const Row = memo(
  PlainRow,
  (before, after) => before.row === after.row && before.columns === after.columns,
) as typeof PlainRow;

/** A list as a table: loading, error and empty states in its place, and more rows on demand. */
export function DataTable<T>({ label, columns, pages, rowKey, rowLink, empty, footer }: DataTableProps<T>) {
  const { rows, query } = pages;
  if (query.error !== null && rows.length === 0) {
    return <ProblemAlert error={query.error} onRetry={() => query.refetch()} />;
  }
  const hasFooter = footer !== undefined || query.hasNextPage || rows.length > 10;
  const isEmpty = !query.isPending && rows.length === 0;
  return (
    <>
      <Paper withBorder className={classes.frame}>
        {/* Keyboard users scroll it sideways. */}
        {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
        <div className={classes.scroll} role="region" aria-label={label} tabIndex={0}>
          <Table
            highlightOnHover={rowLink !== undefined}
            verticalSpacing="sm"
            horizontalSpacing="md"
            aria-busy={query.isPending || query.isPlaceholderData}
            className={classes.table}
            data-stale={query.isPlaceholderData || undefined}
          >
            <Table.Caption className={classes.caption}>{label}</Table.Caption>
            <Table.Thead>
              <Table.Tr>
                {columns.map((column) => (
                  <Table.Th key={column.header} {...cell(column)} scope="col">
                    {column.hidesHeader === true ? <VisuallyHidden>{column.header}</VisuallyHidden> : column.header}
                  </Table.Th>
                ))}
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {query.isPending &&
                Array.from({ length: SKELETON_ROWS }, (_, row) => (
                  <Table.Tr key={row}>
                    {columns.map((column) => (
                      <Table.Td key={column.header} {...cell(column)}>
                        <Skeleton height={20} />
                      </Table.Td>
                    ))}
                  </Table.Tr>
                ))}
              {rows.map((row) => (
                <Row key={rowKey(row)} row={row} columns={columns} rowLink={rowLink} />
              ))}
            </Table.Tbody>
          </Table>
        </div>
        {isEmpty && (empty ?? <EmptyState title="Nothing here yet" />)}
      </Paper>
      {hasFooter && (
        <Center mt="md">
          {footer}
          {footer === undefined && query.hasNextPage && (
            <Button variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
              Load more
            </Button>
          )}
          {footer === undefined && !query.hasNextPage && (
            <Text size="xs" c="dimmed">
              {formatNumber(rows.length)} rows, all shown
            </Text>
          )}
        </Center>
      )}
      {rows.length > 0 && <ProblemAlert error={query.error} onRetry={() => query.refetch()} />}
    </>
  );
}
