-- The ledger of all owners together, by API and hour. An hour can have several rows.
CREATE OR REPLACE VIEW usage_of_platform AS
SELECT meter, hour, granted, denied FROM platform_hours
UNION ALL
SELECT u.meter, u.hour, u.granted, u.denied FROM usage u WHERE u.hour >= (SELECT usage_until FROM platform_settings);
