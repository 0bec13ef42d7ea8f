-- A changed e-mail address is not confirmed. Compares the address, not its folded form: look-alikes are different mailboxes.
CREATE OR REPLACE FUNCTION unconfirm_email()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  NEW.email_confirmed_at := NULL;
  RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER users_email_unconfirmed BEFORE UPDATE OF email ON users
FOR EACH ROW WHEN (lower(NEW.email) IS DISTINCT FROM lower(OLD.email)) EXECUTE FUNCTION unconfirm_email();
