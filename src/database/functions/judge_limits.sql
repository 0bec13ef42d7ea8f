-- Judges equal calls by the limits of one quota.
--
-- Parameters: the scope (u(ser), k(ey) or g (the platform)) and the meter; its limits; those of the owner's plan, which apply where
-- it has none; its counts, and the moment of the last charge; the starts of the current windows; the units of one call.
-- Returns how many calls have room, and each limit that was judged as <scope><window><meter><amount>:<used>; where scope may
-- also be p(lan), window is m(inute), h(our), d(ay), M(onth) or l(ifetime), and meter is s (the charged meter), * (all APIs) or o
-- (all objects; charge_gauge only).
CREATE OR REPLACE FUNCTION judge_limits(
  scope text, meter text, limits bigint[], planned bigint[], counts bigint[], at timestamptz, starts timestamptz[], cost bigint,
  OUT room bigint, OUT judged text
)
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
  amount bigint;
  used bigint;
BEGIN
  room := 9007199254740991;
  judged := '';
  FOR w IN 1 .. 5 LOOP
    amount := coalesce(limits[w], planned[w]);
    CONTINUE WHEN amount IS NULL OR amount < 0;
    used := CASE WHEN at >= starts[w] THEN counts[w] ELSE 0 END;
    room := least(room, greatest(amount - used, 0) / cost);
    judged := judged || CASE WHEN limits[w] IS NULL THEN 'p' ELSE scope END || substr('lmhdM', w, 1)
      || CASE meter WHEN 'api:*' THEN '*' ELSE 's' END || amount || ':' || used || ';';
  END LOOP;
END
$$;
