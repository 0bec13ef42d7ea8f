// `npm start`: builds what is stale and becomes the server, in this one process, so that whoever signals it reaches it.
import { build } from './build.js';

const code = build(true);
if (code !== 0) process.exit(code);
await import('../dist/src/main.js');
