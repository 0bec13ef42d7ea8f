-- Returns the counts of a flow after a charge: units are added to each window. Counts of ended windows restart at 0.
--
-- Parameters: the counts, and the moment of the last charge; the units; the starts of the current windows.
--
-- A loop, and not an expression for each window: PostgreSQL would prepare all of them again at each charge.
CREATE OR REPLACE FUNCTION counts_after(counts bigint[], at timestamptz, units bigint, starts timestamptz[])
RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
  FOR w IN 1 .. 5 LOOP
    counts[w] := units + CASE WHEN at >= starts[w] THEN counts[w] ELSE 0 END;
  END LOOP;
  RETURN counts;
END
$$;
