-- Judges equal calls by one quota.
--
-- Parameters: the quota; what it has used before the calls, by window; units that earlier runs of the batch were granted;
-- the starts of the current windows; the units of one call.
-- Returns how many calls have room, and each limit that was judged as <scope><window><meter><amount>:<used>; where scope is
-- u(ser), p(lan), k(ey) or g (the platform), window is m(inute), h(our), d(ay), M(onth) or l(ifetime), and meter is s (the
-- charged meter), * (all APIs) or o (all objects; charge_gauge only).
CREATE OR REPLACE FUNCTION judge_quota(
  quota applying_quota, used bigint[], batch_units bigint, starts timestamptz[], cost bigint, OUT room bigint, OUT limits text
)
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
  amount bigint;
  spent bigint;
BEGIN
  room := 9007199254740991;
  limits := '';
  FOR w IN 1 .. 5 LOOP
    amount := coalesce(quota.limits[w], quota.plan_limits[w]);
    CONTINUE WHEN amount IS NULL OR amount < 0;
    -- What was used of a window that is over does not count.
    spent := batch_units + CASE WHEN coalesce(quota.at, '-infinity') = '-infinity' OR quota.at >= starts[w]
      THEN coalesce(used[w], 0) ELSE 0 END;
    room := least(room, greatest(amount - spent, 0) / cost);
    limits := limits || CASE WHEN quota.limits[w] IS NULL THEN 'p' ELSE quota.scope END || substr('lmhdM', w, 1)
      || CASE quota.meter WHEN 'api:*' THEN '*' ELSE 's' END || amount || ':' || spent || ';';
  END LOOP;
END
$$;
