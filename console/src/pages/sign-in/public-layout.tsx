import { Box, Center, Container, Group, Paper } from '@mantine/core';
import { Outlet } from '@tanstack/react-router';
import { ColorSchemeMenu } from '../../shell/color-scheme-menu';
import { ConnectionBanner } from '../../shell/connection-banner';
import { Logo } from '../../shell/logo';
import classes from './public-layout.module.css';

/** The frame of the pages for people who are not signed in. */
export function PublicLayout() {
  return (
    <Box className={classes.page}>
      <ConnectionBanner />
      <Group justify="flex-end" p="sm">
        <ColorSchemeMenu />
      </Group>
      <Container size={420} w="100%" pb="xl" component="main">
        <Center mb="xl">
          <Logo />
        </Center>
        <Paper withBorder p={{ base: 'lg', xs: 'xl' }} radius="lg" shadow="xs">
          <Outlet />
        </Paper>
      </Container>
    </Box>
  );
}
