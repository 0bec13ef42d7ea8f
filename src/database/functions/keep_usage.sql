-- When a quota is deleted, moves the current hour of its usage to usage_hours, and gives back what it held of the platform's
-- quotas.
--
-- Locks: the platform's quotas, then the stripe of platform_totals.
CREATE OR REPLACE FUNCTION keep_usage()
RETURNS trigger
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  IF OLD.meter NOT LIKE 'api:%' THEN
    UPDATE platform_quotas SET counts[1] = counts[1] - OLD.counts[1]
    WHERE meter = OLD.meter OR (meter = 'objects' AND OLD.meter IN ('resources', 'store.entries', 'tasks'));
    IF OLD.counts[1] > 0 AND OLD.meter IN ('resources', 'store.entries', 'tasks') THEN
      PERFORM add_objects(OLD.meter, -OLD.counts[1]);
    END IF;
  ELSIF OLD.key_id <> no_key() AND OLD.meter <> 'api:*' AND (OLD.counts[3] > 0 OR OLD.hour_denied > 0) THEN
    INSERT INTO usage_hours AS h (owner_id, key_id, meter, hour, granted, denied)
    VALUES (OLD.owner_id, OLD.key_id, OLD.meter, window_start('hour', OLD.at), OLD.counts[3], OLD.hour_denied)
    ON CONFLICT ON CONSTRAINT usage_hours_pkey DO UPDATE
      SET granted = h.granted + excluded.granted, denied = h.denied + excluded.denied;
  END IF;
  RETURN OLD;
END
$$;

CREATE OR REPLACE TRIGGER quotas_keep_usage AFTER DELETE ON quotas
FOR EACH ROW EXECUTE FUNCTION keep_usage();
