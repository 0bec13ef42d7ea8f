-- The ledger: granted units and denied calls by owner, key, API and hour. The current hour of a key and an API is in its flow.
CREATE OR REPLACE VIEW usage AS
SELECT owner_id, key_id, meter, hour, granted, denied FROM usage_hours
UNION ALL
SELECT owner_id, key_id, meter, window_start('hour', at), counts[3], hour_denied FROM flows
WHERE key_id <> '00000000-0000-0000-0000-000000000000' AND meter <> 'api:*' AND (counts[3] > 0 OR hour_denied > 0);
