import { Button, PasswordInput, Stack, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { ApiProblem } from '../../api/problem';
import { signIn } from '../../api/session';
import { formErrors } from '../../components/form-errors';
import { ProblemAlert } from '../../components/problem-alert';

interface SignInFormProps {
  /** Who signs in; the field is shown if missing. */
  login?: string;
  onSignedIn: () => void;
}

function codeOf(error: unknown): string | undefined {
  return error instanceof ApiProblem ? error.code : undefined;
}

/** Asks for the password and, where the account has two-factor sign-in, for the code. */
export function SignInForm({ login, onSignedIn }: SignInFormProps) {
  const form = useForm({ mode: 'uncontrolled', initialValues: { login: login ?? '', password: '', code: '' } });
  const [needsCode, setNeedsCode] = useState(false);
  const { mutate, isPending, error } = useMutation({
    mutationFn: (values: typeof form.values) =>
      signIn(values.login.trim(), values.password, needsCode ? values.code.trim() : undefined),
    onSuccess: onSignedIn,
    onError: (problem) => {
      form.setErrors(formErrors(problem));
      if (codeOf(problem) === 'totp_required') setNeedsCode(true);
      else if (codeOf(problem) === 'invalid_totp') form.setFieldValue('code', '');
      else setNeedsCode(false);
    },
  });

  return (
    <form onSubmit={form.onSubmit((values) => mutate(values))}>
      <Stack>
        {/* The code is a step of its own; the fields stay, so that a password manager can save them. */}
        <Stack display={needsCode ? 'none' : undefined}>
          <TextInput
            label="Username or e-mail address"
            autoComplete="username"
            autoCapitalize="none"
            spellCheck={false}
            maxLength={254}
            required
            withAsterisk={false}
            readOnly={login !== undefined}
            key={form.key('login')}
            {...form.getInputProps('login')}
          />
          <PasswordInput
            label="Password"
            autoComplete="current-password"
            required
            withAsterisk={false}
            data-autofocus
            key={form.key('password')}
            {...form.getInputProps('password')}
          />
        </Stack>
        {needsCode && (
          <>
            <Text size="sm">
              Two-factor sign-in is on for this account. Enter the six-digit code of your authenticator app, or one of
              your recovery codes.
            </Text>
            <TextInput
              label="Code"
              autoComplete="one-time-code"
              required
              withAsterisk={false}
              maxLength={64}
              // The step has changed because the user sent the password.
              // eslint-disable-next-line jsx-a11y/no-autofocus
              autoFocus
              key={form.key('code')}
              {...form.getInputProps('code')}
            />
          </>
        )}
        {codeOf(error) !== 'totp_required' && <ProblemAlert error={error} showsFields={false} />}
        <Button type="submit" loading={isPending} fullWidth>
          Sign in
        </Button>
        {needsCode && (
          <Button variant="subtle" onClick={() => setNeedsCode(false)}>
            Use another account
          </Button>
        )}
      </Stack>
    </form>
  );
}
