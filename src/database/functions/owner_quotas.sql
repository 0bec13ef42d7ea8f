-- Returns what an owner may use and has used of each meter: of some meters always, of each API, and of deleted APIs for which
-- it has a flow. No row if the owner does not exist.
--
-- `limits` are the owner's own, `plan_limits` its plan's; `bonus` is added to a limit on tasks. `counts` has what was used in the
-- windows that contain the moment of the statement.
CREATE OR REPLACE FUNCTION owner_quotas(of_owner uuid, always text[])
RETURNS TABLE (meter text, limits bigint[], plan_limits bigint[], bonus float8, counts bigint[])
LANGUAGE plpgsql STABLE
AS $$
#variable_conflict use_column
DECLARE
  expired bigint[] := expired_entries_of(of_owner, now());
BEGIN
  FOR meter, limits, plan_limits, counts IN
    SELECT m.meter, CASE WHEN g.amount IS NULL THEN f.limits ELSE with_limit(NULL, 1, g.amount) END, p.limits,
      ARRAY[coalesce(g.used, 0), 0, 0, 0, 0]
    FROM (
      SELECT unnest(always) AS meter UNION SELECT 'api:' || a.slug FROM apis a
      UNION SELECT q.meter FROM flows q WHERE q.owner_id = of_owner AND q.key_id = no_key()
    ) m
    JOIN users u ON u.id = of_owner
    LEFT JOIN gauges g ON g.owner_id = of_owner AND g.meter = m.meter
    LEFT JOIN flows f ON f.owner_id = of_owner AND f.key_id = no_key() AND f.meter = m.meter
    LEFT JOIN plan_limits p ON p.plan = u.plan AND p.meter = m.meter
    ORDER BY array_position(always, m.meter), m.meter COLLATE "C"
  LOOP
    bonus := CASE meter WHEN 'tasks' THEN bonus_credits(of_owner, now()) ELSE 0 END;
    IF meter LIKE 'api:%' THEN
      counts := calls_used(of_owner, no_key(), meter, now());
    ELSIF meter = 'store.entries' THEN
      counts[1] := counts[1] - expired[1];
    ELSIF meter = 'store.bytes' THEN
      counts[1] := counts[1] - expired[2];
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;
