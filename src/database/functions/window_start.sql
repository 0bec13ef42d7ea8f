-- Returns the start of the calendar window (UTC) that contains a moment.
CREATE OR REPLACE FUNCTION window_start(period text, moment timestamptz)
RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT CASE period WHEN 'lifetime' THEN '-infinity'::timestamptz ELSE date_trunc(period, moment, 'UTC') END
$$;
