-- Updates the account of a user whose credits or grants changed.
CREATE OR REPLACE FUNCTION credits_changed()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  PERFORM recount_credits(ARRAY[NEW.owner_id]);
  RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER quotas_credits_insert AFTER INSERT ON quotas
FOR EACH ROW WHEN (NEW.meter = 'tasks' AND NEW.limits IS NOT NULL) EXECUTE FUNCTION credits_changed();

CREATE OR REPLACE TRIGGER quotas_credits_update AFTER UPDATE OF limits ON quotas
FOR EACH ROW WHEN (NEW.meter = 'tasks' AND OLD.limits IS DISTINCT FROM NEW.limits) EXECUTE FUNCTION credits_changed();

CREATE OR REPLACE TRIGGER credit_grants_insert AFTER INSERT ON credit_grants
FOR EACH ROW EXECUTE FUNCTION credits_changed();
