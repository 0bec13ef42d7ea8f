import { createTheme, type CSSVariablesResolver } from '@mantine/core';
import classes from './theme.module.css';

/** The header of a dialog is a <header>, which would be a second banner of the page. */
const DIALOG = {
  closeButtonProps: { 'aria-label': 'Close' },
  attributes: { header: { role: 'presentation' } },
  styles: { title: { fontWeight: 600, overflowWrap: 'anywhere' as const } },
};

/** One accent colour, the system's fonts, and colours of text that pass WCAG AA on both backgrounds. */
export const theme = createTheme({
  primaryColor: 'indigo',
  colors: {
    // A little blue in the greys of dark pages.
    dark: [
      '#d3d8e0',
      '#b9c0cb',
      '#98a1b0',
      '#5f6876',
      '#3d4552',
      '#2e3540',
      '#252b35',
      '#1b2028',
      '#151920',
      '#0f1217',
    ],
  },
  primaryShade: { light: 7, dark: 8 },
  respectReducedMotion: true,
  defaultRadius: 'md',
  cursorType: 'pointer',
  headings: { fontWeight: '600', sizes: { h1: { fontSize: '1.5rem', lineHeight: '1.3' } } },
  components: {
    Tooltip: { defaultProps: { withArrow: true, events: { hover: true, focus: true, touch: true } } },
    Modal: { defaultProps: { centered: true, ...DIALOG } },
    Drawer: { defaultProps: DIALOG },
    Notification: {
      defaultProps: { closeButtonProps: { 'aria-label': 'Close the notice' } },
      styles: { description: { color: 'var(--mantine-color-dimmed)' } },
    },
    Alert: { defaultProps: { variant: 'light' }, classNames: { root: classes.alert, message: classes.alertMessage } },
    // Its colours would lag behind those of the page when the scheme changes.
    SegmentedControl: { defaultProps: { transitionDuration: 0 } },
    // Never narrower than its text.
    Badge: { defaultProps: { variant: 'light', radius: 'sm', tt: 'none', fw: 500, miw: 'max-content' } },
    Card: { defaultProps: { withBorder: true, padding: 'lg' } },
    NavLink: { styles: { root: { borderRadius: 'var(--mantine-radius-md)' } } },
    Table: { classNames: { thead: classes.tableHead } },
  },
});

/** The colours that the console uses. */
const COLORS = ['indigo', 'gray', 'red', 'orange', 'yellow', 'green', 'teal', 'blue'];

const variables = (format: (color: string) => [string, string]): Record<string, string> =>
  Object.fromEntries(COLORS.map(format));

/** Adds `--qm-surface`: what lies behind cards and around the content. */
export const cssVariables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    '--mantine-color-body': '#fff',
    '--mantine-color-text': '#1b1f24',
    '--qm-surface': 'var(--mantine-color-gray-0)',
    '--mantine-color-dimmed': 'var(--mantine-color-gray-7)',
    '--mantine-color-placeholder': 'var(--mantine-color-gray-7)',
    '--mantine-color-error': 'var(--mantine-color-red-9)',
    // White on it is readable.
    '--mantine-color-red-filled': 'var(--mantine-color-red-9)',
    '--mantine-color-red-filled-hover': 'color-mix(in srgb, var(--mantine-color-red-9) 90%, #000)',
    ...variables((color) => [
      `--mantine-color-${color}-light-color`,
      `color-mix(in srgb, var(--mantine-color-${color}-9) 70%, #000)`,
    ]),
  },
  dark: {
    '--mantine-color-dimmed': 'var(--mantine-color-dark-2)',
    '--mantine-color-placeholder': 'var(--mantine-color-dark-2)',
    '--qm-surface': 'var(--mantine-color-dark-8)',
    // Lighter than cards and tables: the library's is nearly black.
    '--mantine-color-gray-light': 'var(--mantine-color-dark-4)',
    '--mantine-color-anchor': 'var(--mantine-color-indigo-3)',
    '--mantine-color-error': 'var(--mantine-color-red-4)',
    // The library's is the colour of cards, on which a disabled button would have no shape.
    '--mantine-color-disabled': 'var(--mantine-color-dark-5)',
    '--mantine-color-disabled-color': 'var(--mantine-color-dark-2)',
    ...variables((color) => [`--mantine-color-${color}-light-color`, `var(--mantine-color-${color}-2)`]),
  },
});
