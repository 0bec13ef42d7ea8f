/** The part of Swagger UI's immutable list or map that the page uses. */
interface Collection<T> {
  get(name: string): unknown;
  getIn(path: string[]): unknown;
  filter(test: (each: T) => boolean): Collection<T>;
  map(change: (each: Collection<T>, name: string) => Collection<T>): Collection<Collection<T>>;
  update(name: string, change: (value: Collection<T>) => Collection<T>): Collection<T>;
  size: number;
}

/** The Swagger UI system that plugins receive. */
interface System {
  React: {
    createElement(tag: unknown, properties: object, ...children: unknown[]): unknown;
    useEffect(effect: () => () => void, dependencies: unknown[]): void;
    useRef<T>(value: T): { current: T };
  };
}

interface EditorProperties {
  onChange: (text: string) => void;
}

interface FilterProperties {
  layoutSelectors: { currentFilter(): unknown };
  layoutActions: { updateFilter(phrase: string): void };
}

interface SwaggerUi {
  authActions: {
    authorizeWithPersistOption(authorized: object): void;
    logoutWithPersistOption(schemes: string[]): void;
  };
}

interface Answer {
  url: string;
  ok: boolean;
  body?: { accessToken?: string };
}

/**
 * Runs in the browser, from the text of this function: it must not use anything outside itself. Starts Swagger UI, uses
 * the token of a sign-in on the page, and makes the filter search paths and summaries, not only tags.
 */
function startPage(basePath: string): void {
  const browser = globalThis as unknown as { SwaggerUIBundle: (options: object) => SwaggerUi };

  /** Every word of the filter must be in the tag, the method, the path or the summary. */
  const opsFilter = (tags: Collection<Collection<never>>, phrase: string): unknown => {
    const words = phrase.toLowerCase().split(/\s+/);
    const isMeant = (tag: string, each: Collection<never>): boolean => {
      const texts = [tag, each.get('method'), each.get('path'), each.getIn(['operation', 'summary'])];
      const text = texts.join(' ').toLowerCase();
      return words.every((word) => text.includes(word));
    };
    return tags
      .map((group, tag) => group.update('operations', (all) => all.filter((each) => isMeant(tag, each))))
      .filter((group) => (group.get('operations') as Collection<never>).size > 0);
  };

  const label = 'Filter by words of the path or summary';
  const FilterContainer =
    ({ React }: System) =>
    ({ layoutSelectors, layoutActions }: FilterProperties): unknown => {
      const filter = layoutSelectors.currentFilter();
      return React.createElement(
        'div',
        { className: 'filter wrapper' },
        React.createElement('input', {
          ...{ className: 'operation-filter-input', type: 'search', placeholder: label, 'aria-label': label },
          value: typeof filter === 'string' ? filter : '',
          onChange: (event: { target: { value: string } }) => {
            layoutActions.updateFilter(event.target.value);
          },
        }),
      );
    };

  /**
   * Debounces the body editor: reports the text when the user pauses or leaves the editor, because each report makes
   * the page render all operations again.
   */
  const RequestBodyEditor =
    (Original: unknown, { React }: System) =>
    (properties: EditorProperties): unknown => {
      const latest = React.useRef(properties);
      latest.current = properties;
      const state = React.useRef<{ isTyping: boolean; text?: string; timer?: ReturnType<typeof setTimeout> }>({
        isTyping: false,
      });
      const tell = (): void => {
        const { timer, text } = state.current;
        clearTimeout(timer);
        state.current = { isTyping: false };
        if (text !== undefined) latest.current.onChange(text);
      };
      const onChange = (text: string): void => {
        const { isTyping, timer } = state.current;
        clearTimeout(timer);
        state.current = { isTyping, text };
        if (isTyping) state.current.timer = setTimeout(tell, 300);
        else tell();
      };
      React.useEffect(() => tell, []);
      const onInputCapture = (): void => {
        state.current.isTyping = true;
      };
      return React.createElement(
        'div',
        { onInputCapture, onBlur: tell },
        React.createElement(Original, { ...properties, onChange }),
      );
    };

  const ui = browser.SwaggerUIBundle({
    url: `${basePath}/docs/page.json`,
    dom_id: '#swagger-ui',
    deepLinking: true,
    displayRequestDuration: true,
    persistAuthorization: true,
    tryItOutEnabled: true,
    filter: true,
    defaultModelsExpandDepth: -1,
    plugins: [
      (system: System) => ({
        fn: { opsFilter },
        components: { FilterContainer: FilterContainer(system) },
        wrapComponents: { RequestBodyEditor },
      }),
    ],
    responseInterceptor: (answer: Answer): Answer => {
      const { accessToken } = answer.body ?? {};
      if (answer.ok && answer.url.endsWith('/v1/auth/logout')) ui.authActions.logoutWithPersistOption(['bearer']);
      if (answer.ok && accessToken && /\/v1\/auth\/(login|refresh)$/.test(answer.url)) {
        const schema = { type: 'http', scheme: 'bearer' };
        ui.authActions.authorizeWithPersistOption({ bearer: { name: 'bearer', schema, value: accessToken } });
      }
      return answer;
    },
  });
}

export const pageScript = (basePath: string): string => `(${startPage.toString()})(${JSON.stringify(basePath)});\n`;
