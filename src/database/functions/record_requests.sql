-- Records the requests that a process has counted: by user, by route and class of status, and in total.
--
-- Parameters: by user: requests and failed requests; by route: method, route, class of status, requests, and the sum of their
-- durations in milliseconds. Requests of deleted users count only in the total.
--
-- Locks, in this order: users (FOR KEY SHARE, as the foreign key takes it), request_counts by owner, request_routes by key,
-- request_totals.
CREATE OR REPLACE FUNCTION record_requests(
  owners uuid[], totals bigint[], faults bigint[], methods text[], routes text[], statuses smallint[],
  counts bigint[], durations float8[]
)
RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  this_hour timestamptz := window_start('hour', clock_timestamp());
  -- Owners without a row, or with one of a past hour.
  opening uuid[] := ARRAY(
    SELECT w.owner_id FROM unnest(owners) AS w (owner_id)
    WHERE NOT EXISTS (SELECT FROM request_counts c WHERE c.owner_id = w.owner_id AND c.hour >= this_hour)
  );
BEGIN
  IF cardinality(opening) > 0 THEN
    -- Inserts lock the user (foreign key). Locks users first, like the deletion of a user. FOR KEY SHARE waits for a concurrent
    -- deletion; then the user has no row.
    PERFORM FROM users u WHERE u.id = ANY(opening) ORDER BY u.id FOR KEY SHARE;
    INSERT INTO request_counts (owner_id, total, errors, hour, hour_total, hour_errors)
    SELECT u.id, 0, 0, this_hour, 0, 0 FROM users u WHERE u.id = ANY(opening) ORDER BY u.id
    ON CONFLICT ON CONSTRAINT request_counts_pkey DO NOTHING;
  END IF;
  PERFORM FROM request_counts c WHERE c.owner_id = ANY(owners) ORDER BY c.owner_id FOR UPDATE;
  IF cardinality(opening) > 0 THEN
    INSERT INTO request_hours AS h (owner_id, hour, total, errors)
    SELECT c.owner_id, c.hour, c.hour_total, c.hour_errors FROM request_counts c
    WHERE c.owner_id = ANY(opening) AND c.hour < this_hour AND c.hour_total > 0
    ORDER BY c.owner_id
    ON CONFLICT ON CONSTRAINT request_hours_pkey DO UPDATE
      SET total = h.total + excluded.total, errors = h.errors + excluded.errors;
  END IF;
  UPDATE request_counts c SET
    total = c.total + w.total,
    errors = c.errors + w.errors,
    hour = greatest(c.hour, this_hour),
    hour_total = CASE WHEN c.hour >= this_hour THEN c.hour_total ELSE 0 END + w.total,
    hour_errors = CASE WHEN c.hour >= this_hour THEN c.hour_errors ELSE 0 END + w.errors
  FROM unnest(owners, totals, faults) AS w (owner_id, total, errors)
  WHERE c.owner_id = w.owner_id;
  INSERT INTO request_routes AS r (hour, method, route, status, requests, milliseconds)
  SELECT this_hour, w.method, w.route, w.status, w.requests, w.milliseconds
  FROM unnest(methods, routes, statuses, counts, durations) AS w (method, route, status, requests, milliseconds)
  ORDER BY w.method, w.route, w.status
  ON CONFLICT ON CONSTRAINT request_routes_pkey DO UPDATE
    SET requests = r.requests + excluded.requests, milliseconds = r.milliseconds + excluded.milliseconds;
  UPDATE request_totals t SET total = t.total + w.total, errors = t.errors + w.errors
  FROM (
    SELECT coalesce(sum(w.requests), 0) AS total, coalesce(sum(w.requests) FILTER (WHERE w.status >= 4), 0) AS errors
    FROM unnest(statuses, counts) AS w (status, requests)
  ) w;
END
$$;
