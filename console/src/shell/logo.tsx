import { Group, Text } from '@mantine/core';
import { CONSOLE_PATH } from '../base-path';

/** The name of the product with its mark. */
export function Logo() {
  return (
    <Group gap={10} wrap="nowrap">
      <img src={`${CONSOLE_PATH}/icon.svg`} width={26} height={26} alt="" />
      <Text fw={600} span>
        Quartermaster
      </Text>
    </Group>
  );
}
