-- Judges calls by one quota.
--
-- Parameters: the quota; what it has used before the calls, by window; units that earlier calls of the batch were granted;
-- the starts of the current windows; the units of one call.
-- Returns how many calls have room, and each limit that was judged as <scope><window><meter><amount>:<used>; where scope is
-- u(ser), p(lan), k(ey) or g (the platform), window is m(inute), h(our), d(ay), M(onth) or l(ifetime), and meter is s (the
-- API) or * (all APIs).
CREATE OR REPLACE FUNCTION judge_quota(
  quota applying_quota, used bigint[], extra bigint, starts timestamptz[], cost bigint, OUT room bigint, OUT limits text
)
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
  amount bigint;
  spent bigint;
BEGIN
  room := 9007199254740991;
  limits := '';
  FOR place IN 1 .. 5 LOOP
    amount := coalesce(quota.limits[place], quota.plan_limits[place]);
    CONTINUE WHEN amount IS NULL OR amount < 0;
    -- What was used of a window that is over does not count.
    spent := extra + CASE WHEN coalesce(quota.at, '-infinity') = '-infinity' OR quota.at >= starts[place]
      THEN coalesce(used[place], 0) ELSE 0 END;
    room := least(room, greatest(amount - spent, 0) / cost);
    limits := limits || CASE WHEN quota.limits[place] IS NULL THEN 'p' ELSE quota.scope END || substr('lmhdM', place, 1)
      || CASE quota.meter WHEN 'api:*' THEN '*' ELSE 's' END || amount || ':' || spent || ';';
  END LOOP;
END
$$;
