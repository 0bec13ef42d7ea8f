-- Computes anew, from the rows that they summarize: the numbers of objects, also under the limit on all objects; the ranks; and the
-- sum of credits. For programs that write rows past the API. Blocks all writes until the transaction ends.
CREATE OR REPLACE FUNCTION recount_platform()
RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
  sums record;
  moment timestamptz := clock_timestamp();
BEGIN
  -- Transactions that create or delete users or change credits hold this lock (LOCK in platform.repository.ts).
  PERFORM pg_advisory_xact_lock(1902997619);
  LOCK TABLE quotas IN EXCLUSIVE MODE;
  LOCK TABLE users IN EXCLUSIVE MODE;
  UPDATE quotas q SET rank = q.counts[1] WHERE q.meter IN ('resources', 'store.entries', 'tasks') AND q.rank <> q.counts[1];
  UPDATE quotas q SET rank = s.granted
  FROM (
    SELECT k.owner_id, sum(k.counts[1])::bigint AS granted FROM quotas k
    WHERE k.key_id <> no_key() AND k.meter LIKE 'api:%' AND k.meter <> 'api:*' GROUP BY k.owner_id
  ) s
  WHERE q.owner_id = s.owner_id AND q.key_id = no_key() AND q.meter = 'api:*' AND q.rank <> s.granted;
  SELECT (SELECT count(*) FROM users) AS users,
    coalesce(sum(q.counts[1]) FILTER (WHERE q.meter = 'tasks'), 0)::bigint AS tasks,
    coalesce(sum(q.counts[1]) FILTER (WHERE q.meter = 'resources'), 0)::bigint AS resources,
    coalesce(sum(q.counts[1]) FILTER (WHERE q.meter = 'store.entries'), 0)::bigint AS entries
  INTO sums FROM quotas q WHERE q.key_id = no_key() AND q.meter IN ('resources', 'store.entries', 'tasks');
  UPDATE platform_totals SET users = 0, tasks = 0, resources = 0, store_entries = 0;
  INSERT INTO platform_totals AS t (stripe, users, tasks, resources, store_entries)
  VALUES (0, sums.users, sums.tasks, sums.resources, sums.entries)
  ON CONFLICT ON CONSTRAINT platform_totals_pkey DO UPDATE SET
    users = excluded.users, tasks = excluded.tasks, resources = excluded.resources, store_entries = excluded.store_entries;
  UPDATE platform_quotas SET counts[1] = sums.users + sums.tasks + sums.resources + sums.entries WHERE meter = 'objects';
  UPDATE platform_settings SET credits_at = moment, credits = (SELECT coalesce(sum(c.amount), 0) FROM user_credits(moment) c)
  WHERE credits IS NOT NULL;
END
$$;
