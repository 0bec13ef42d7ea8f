-- Returns the starts of the windows that contain a moment: lifetime, minute, hour, day, month.
CREATE OR REPLACE FUNCTION window_starts(moment timestamptz)
RETURNS timestamptz[]
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT ARRAY[
  window_start('lifetime', moment), window_start('minute', moment), window_start('hour', moment),
  window_start('day', moment), window_start('month', moment)
]
$$;
