-- A change of the password or the e-mail address makes tokens and waiting e-mails of the account invalid.
CREATE OR REPLACE FUNCTION void_tokens()
RETURNS trigger
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  UPDATE account_tokens SET token_hash = NULL
  WHERE owner_id = NEW.id AND token_hash IS NOT NULL
    AND (kind <> 'confirm' OR lower(NEW.email) IS DISTINCT FROM lower(OLD.email));
  DELETE FROM mail_outbox
  WHERE owner_id = NEW.id
    AND (kind = 'reset' OR kind = 'confirm' AND lower(NEW.email) IS DISTINCT FROM lower(OLD.email));
  RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER users_tokens_void AFTER UPDATE OF email, password_hash ON users
FOR EACH ROW WHEN (lower(NEW.email) IS DISTINCT FROM lower(OLD.email) OR NEW.password_hash IS DISTINCT FROM OLD.password_hash)
EXECUTE FUNCTION void_tokens();
