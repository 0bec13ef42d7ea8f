-- Writes what a ledger has counted in the hour of its last charge to the ledger of past hours. The charge that follows starts the
-- counts of the new hour.
--
-- Locks: the caller holds that of the owner. Takes the row of usage_hours.
CREATE OR REPLACE FUNCTION close_hour(of_owner uuid, ledger flows)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
  IF ledger.counts[3] > 0 OR ledger.hour_denied > 0 THEN
    INSERT INTO usage_hours AS h (owner_id, key_id, meter, hour, granted, denied)
    VALUES (of_owner, ledger.key_id, ledger.meter, window_start('hour', ledger.at), ledger.counts[3], ledger.hour_denied)
    ON CONFLICT ON CONSTRAINT usage_hours_pkey DO UPDATE
      SET granted = h.granted + excluded.granted, denied = h.denied + excluded.denied;
  END IF;
END
$$;
