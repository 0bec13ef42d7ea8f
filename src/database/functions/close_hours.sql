-- Moves the usage of an hour that is over from flows to the ledger of past hours. charge_calls then starts the next hour.
--
-- Parameters: flows, of which only those of a key for one API matter; the moment of the calls.
CREATE OR REPLACE FUNCTION close_hours(owners uuid[], keys uuid[], meters text[], now timestamptz)
RETURNS void
LANGUAGE sql
AS $$
INSERT INTO usage_hours AS h (owner_id, key_id, meter, hour, granted, denied)
SELECT q.owner_id, q.key_id, q.meter, window_start('hour', q.at), q.counts[3], q.hour_denied
FROM unnest(owners, keys, meters) AS c (owner_id, key_id, meter)
JOIN flows q ON q.owner_id = c.owner_id AND q.key_id = c.key_id AND q.meter = c.meter
WHERE q.key_id <> no_key() AND q.meter <> 'api:*' AND q.at < window_start('hour', now)
  AND (q.counts[3] > 0 OR q.hour_denied > 0)
ON CONFLICT ON CONSTRAINT usage_hours_pkey DO UPDATE
  SET granted = h.granted + excluded.granted, denied = h.denied + excluded.denied
$$;
