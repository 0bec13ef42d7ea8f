-- Starts the counts of a flow above the ledgers, when a limit first applies to it.
--
-- Parameters: the owner; the key (no_key: the flow counts all keys) and the meter; its counts (see calls_used); the moment.
--
-- Locks: the caller holds that of the owner.
CREATE OR REPLACE FUNCTION open_flow(of_owner uuid, of_key uuid, of_meter text, used bigint[], now timestamptz)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  latest timestamptz;
BEGIN
  SELECT max(f.at) INTO latest FROM flows f
  WHERE f.owner_id = of_owner AND f.key_id <> no_key() AND (of_key = no_key() OR f.key_id = of_key)
    AND f.meter <> 'api:*' AND (of_meter = 'api:*' OR f.meter = of_meter);
  -- After the clock was set back, the later windows of the summed flows stay current.
  UPDATE flows f SET counts = used, at = greatest(now, latest)
  WHERE f.owner_id = of_owner AND f.key_id = of_key AND f.meter = of_meter;
END
$$;
