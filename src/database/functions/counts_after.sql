-- Returns the counts of a flow after a charge: units are added to each window. Counts of ended windows restart at 0.
--
-- Parameters: the counts, and the moment of the last charge; the units; the starts of the current windows.
CREATE OR REPLACE FUNCTION counts_after(counts bigint[], at timestamptz, units bigint, starts timestamptz[])
RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
SELECT ARRAY[
  counts[1] + units,
  CASE WHEN at >= starts[2] THEN counts[2] ELSE 0 END + units,
  CASE WHEN at >= starts[3] THEN counts[3] ELSE 0 END + units,
  CASE WHEN at >= starts[4] THEN counts[4] ELSE 0 END + units,
  CASE WHEN at >= starts[5] THEN counts[5] ELSE 0 END + units
]
$$;
