-- Whether the scopes of a key cover an API. A scope is a slug, the start of slugs and an asterisk, or an asterisk.
CREATE OR REPLACE FUNCTION is_in_scope(slug text, scopes text[])
RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
  scope text;
BEGIN
  FOREACH scope IN ARRAY scopes LOOP
    IF scope = slug OR (right(scope, 1) = '*' AND starts_with(slug, left(scope, -1))) THEN
      RETURN true;
    END IF;
  END LOOP;
  RETURN false;
END
$$;
