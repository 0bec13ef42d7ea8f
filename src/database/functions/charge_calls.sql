-- Charges the units of granted calls, and the number of denied calls, to the flows of an owner that count these calls: that of the
-- key for this API, which is the ledger, and those above it that are open (see open_flow).
--
-- Parameters: the owner, the key and the meter; the ledger as it is (NULL: it does not exist); what to charge; the starts of the
-- current windows; the moment of the calls.
--
-- Locks: the caller holds that of the owner. Takes rows of usage_hours when an hour is over.
CREATE OR REPLACE FUNCTION charge_calls(
  of_owner uuid, of_key uuid, of_meter text, ledger flows, units bigint, denials bigint, starts timestamptz[], now timestamptz
)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
  IF ledger.at IS NULL THEN
    INSERT INTO flows (owner_id, key_id, meter) VALUES (of_owner, of_key, of_meter);
  ELSIF ledger.at < starts[3] AND (ledger.counts[3] > 0 OR ledger.hour_denied > 0) THEN
    INSERT INTO usage_hours AS h (owner_id, key_id, meter, hour, granted, denied)
    VALUES (of_owner, of_key, of_meter, window_start('hour', ledger.at), ledger.counts[3], ledger.hour_denied)
    ON CONFLICT ON CONSTRAINT usage_hours_pkey DO UPDATE
      SET granted = h.granted + excluded.granted, denied = h.denied + excluded.denied;
  END IF;
  UPDATE flows f SET
    counts = counts_after(f.counts, f.at, units, starts),
    at = greatest(f.at, now),
    denied = f.denied + denials,
    hour_denied = CASE WHEN f.at >= starts[3] THEN f.hour_denied ELSE 0 END + denials
  WHERE f.owner_id = of_owner AND f.key_id IN (no_key(), of_key) AND f.meter IN ('api:*', of_meter)
    AND (f.at > '-infinity' OR (f.key_id = of_key AND f.meter = of_meter));
END
$$;
