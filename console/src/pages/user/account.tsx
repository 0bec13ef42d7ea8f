import { Stack } from '@mantine/core';
import { PageHeader } from '../../components/page-header';
import { DeleteAccount } from './account/delete-account';
import { Password } from './account/password';
import { Profile } from './account/profile';
import { Sessions } from './account/sessions';
import { SigningKeys } from './account/signing-keys';
import { TwoFactor } from './account/two-factor';

/** The user's own account. */
export default function Account() {
  return (
    <>
      <PageHeader title="Account" description="Who you are, and how you and your programs sign in." />
      <Stack>
        <Profile />
        <Password />
        <TwoFactor />
        <Sessions />
        <SigningKeys />
        <DeleteAccount />
      </Stack>
    </>
  );
}
