import { Modal } from '@mantine/core';
import type { components } from '../../../../sdk/src/schema';
import { CopyField } from '../../components/copy-field';
import { SecretOnce } from '../../components/secret-once';
import { useApiSlugs } from './api-choices';
import { SERVER_URL } from '../../base-path';

export type Issued = components['schemas']['IssuedKeyResponse'];

/** Whether a scope covers an API. */
function covers(scope: string, slug: string): boolean {
  return scope.endsWith('*') ? slug.startsWith(scope.slice(0, -1)) : scope === slug;
}

/** Shows the secret of a new or rotated key, this once, with a command that tries it. */
export function IssuedKey({ issued, onDone }: { issued: Issued | null; onDone: () => void }) {
  return (
    <Modal
      opened={issued !== null}
      onClose={() => undefined}
      withCloseButton={false}
      closeOnEscape={false}
      closeOnClickOutside={false}
      size="lg"
      title={`The secret of the key “${issued?.name ?? ''}”`}
    >
      {issued !== null && <Secret issued={issued} onDone={onDone} />}
    </Modal>
  );
}

function Secret({ issued, onDone }: { issued: Issued; onDone: () => void }) {
  const slugs = useApiSlugs();
  const slug = slugs.find((each) => issued.scopes.some((scope) => covers(scope, each)));
  return (
    <SecretOnce label="Key" secret={issued.key} onDone={onDone}>
      {slug !== undefined && (
        <CopyField
          label="Try it"
          description={`Calls the API ${slug} from a command line, which uses one unit.`}
          value={`curl -H 'X-API-Key: ${issued.key}' ${SERVER_URL}/call/${slug}`}
        />
      )}
    </SecretOnce>
  );
}
