-- Returns limits with the one at a place set; NULL if no limit remains.
CREATE OR REPLACE FUNCTION with_limit(limits bigint[], place integer, amount bigint)
RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
SELECT nullif(
  ARRAY(SELECT CASE WHEN n = place THEN amount ELSE limits[n] END FROM generate_series(1, 5) AS n ORDER BY n),
  '{NULL,NULL,NULL,NULL,NULL}')
$$;
