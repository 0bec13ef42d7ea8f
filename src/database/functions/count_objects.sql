-- Returns the number of all objects of the platform: users, tasks, resources and entries of the store, also expired ones.
CREATE OR REPLACE FUNCTION count_objects()
RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT (SELECT count(*) FROM users)
  + (SELECT coalesce(sum(used), 0) FROM gauges WHERE meter IN ('resources', 'store.entries', 'tasks'))::bigint
$$;
