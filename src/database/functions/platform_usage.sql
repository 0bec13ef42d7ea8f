-- The ledger of all owners together, in stripes.
CREATE OR REPLACE VIEW platform_usage AS
SELECT meter, hour, granted, denied FROM platform_hours
UNION ALL
SELECT meter, hour, hour_granted, hour_denied FROM platform_calls;
