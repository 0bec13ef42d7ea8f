-- Locks the platform's quotas on calls of APIs, by meter.
CREATE OR REPLACE FUNCTION lock_shared_calls(slugs text[])
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
  PERFORM FROM platform_quotas p
  WHERE p.meter = 'api:*' OR p.meter = ANY(ARRAY(SELECT 'api:' || s FROM unnest(slugs) AS s))
  ORDER BY p.meter FOR UPDATE;
END
$$;
