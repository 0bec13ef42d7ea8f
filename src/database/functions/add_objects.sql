-- Adds to the platform's number of objects of a kind: users, tasks, resources or store.entries.
--
-- Locks: the connection's stripe of platform_totals. Charges take it last.
CREATE OR REPLACE FUNCTION add_objects(kind text, units bigint)
RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  IF kind NOT IN ('users', 'tasks', 'resources', 'store.entries') THEN
    RAISE EXCEPTION 'platform_totals has no column for %', kind;
  END IF;
  LOOP
    UPDATE platform_totals t SET
      users = t.users + CASE kind WHEN 'users' THEN units ELSE 0 END,
      tasks = t.tasks + CASE kind WHEN 'tasks' THEN units ELSE 0 END,
      resources = t.resources + CASE kind WHEN 'resources' THEN units ELSE 0 END,
      store_entries = t.store_entries + CASE kind WHEN 'store.entries' THEN units ELSE 0 END
    WHERE t.stripe = pg_backend_pid() % 64;
    EXIT WHEN FOUND;
    INSERT INTO platform_totals (stripe) VALUES (pg_backend_pid() % 64) ON CONFLICT ON CONSTRAINT platform_totals_pkey DO NOTHING;
  END LOOP;
END
$$;
