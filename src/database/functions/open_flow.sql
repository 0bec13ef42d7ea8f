-- Starts the counts of a flow that had no limit so far, of an owner or of a key for all APIs, with the sums of the flows below it.
--
-- Locks: the caller holds that of the owner.
CREATE OR REPLACE FUNCTION open_flow(of_owner uuid, of_key uuid, of_meter text, now timestamptz)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  used bigint[] := calls_used(of_owner, of_key, of_meter, now);
  latest timestamptz;
BEGIN
  SELECT max(f.at) INTO latest FROM flows f
  WHERE f.owner_id = of_owner AND f.key_id <> no_key() AND (of_key = no_key() OR f.key_id = of_key)
    AND f.meter <> 'api:*' AND (of_meter = 'api:*' OR f.meter = of_meter);
  -- After the clock was set back, the later windows of the summed flows stay current.
  INSERT INTO flows AS f (owner_id, key_id, meter, counts, at)
  VALUES (of_owner, of_key, of_meter, used, greatest(now, latest))
  ON CONFLICT ON CONSTRAINT flows_pkey DO UPDATE SET counts = excluded.counts, at = excluded.at;
END
$$;
